"""A weighted sum of potentials is a potential, and a level of multiple time steps is one."""

import numpy as np
import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine.build import state_from_atoms
from engine.errors import InputError
from engine.simulation import Simulation
from engine.testing import PotentialContract, evaluate
from engine.weighted import WeightedSum
from potentials.ase_calculator import ASE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.morse import Morse

MORSE = Morse(depth=0.3429, alpha=1.3588, r0=2.866, cutoff=6.0, truncation="force-shifted")


def copper():
    return rattled(sheared(bulk("Cu", cubic=True)), 0.1)


class TestContract(PotentialContract):
    any_species = True
    tolerance = 1e-5  # terms of several eV cancel

    def potential(self):
        return WeightedSum({"eam": ZhouEAM(cutoff=7.5), "pair": MORSE}, {"pair": -0.4})

    def structures(self):
        return [copper()]

    def test_unknown_species_are_refused(self):
        with pytest.raises(InputError, match="Xx"):
            self.potential().bind(["Xx"])


def test_sums_are_sums():
    atoms = copper()
    parts = {"eam": ZhouEAM(), "pair": MORSE, "emt": ASE(calculator="ase.calculators.emt:EMT")}
    weights = {"eam": 0.5, "pair": -2.0}
    total = evaluate(WeightedSum(parts, weights), atoms)
    for name in ("energy", "forces", "virial", "atom_energy"):
        expected = sum(weights.get(k, 1.0) * getattr(evaluate(p, atoms), name) for k, p in parts.items())
        np.testing.assert_allclose(getattr(total, name), expected, atol=1e-9)
    assert not hasattr(total, "atom_virial"), "EMT does not give it, so the sum cannot"


def test_a_level_is_the_same_sum():
    simulation = Simulation(state_from_atoms(copper()), {"a": ZhouEAM(), "b": MORSE}, levels=[{"a": 1.0, "b": -0.3}])
    simulation.forces.all_levels(frozenset({"energy", "virial"}))
    expected = evaluate(WeightedSum({"a": ZhouEAM(), "b": MORSE}, {"b": -0.3}), copper())
    assert simulation.forces.total("energy")[0] == pytest.approx(expected.energy[0], rel=1e-12)
    np.testing.assert_allclose(simulation.forces.total("virial"), expected.virial, atol=1e-10)


def test_a_potential_minus_itself_is_nothing():
    result = evaluate(WeightedSum({"a": ZhouEAM(), "b": ZhouEAM()}, {"b": -1.0}), copper())
    assert abs(result.energy[0]) < 1e-12 and np.abs(result.forces).max() < 1e-12


def test_weights_must_name_a_potential():
    with pytest.raises(InputError, match="did you mean 'large'"):
        WeightedSum({"large": MORSE}, {"lrge": 1.0})
