"""ASE both ways: its calculators as our potential, our potentials as its calculator."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from conftest import rattled, sheared

from engine.ase import EngineCalculator
from engine.errors import InputError, PhysicsError
from engine.testing import evaluate
from potentials.ase_calculator import ASE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.morse import Morse

CLASS = "ase.calculators.emt:EMT"


def copper(repeat=2):
    return rattled(sheared(bulk("Cu", cubic=True) * ((repeat,) * 3), amplitude=0.03), 0.1)


def test_a_calculator_is_a_potential():
    atoms = copper()
    ours = evaluate(ASE(calculator=CLASS), atoms)
    atoms.calc = EMT()
    assert ours.energy[0] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(ours.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(ours.virial[0], -atoms.get_stress(voigt=False) * atoms.get_volume(), atol=1e-9)
    np.testing.assert_allclose(ours.atom_energy, atoms.get_potential_energies(), atol=1e-12)


def test_our_potential_through_ase_and_back():
    """Twice around is where one started: a potential, as a calculator, as a potential."""
    atoms = copper()
    direct = evaluate(ZhouEAM(), atoms)
    around = evaluate(ASE(calculator=lambda: EngineCalculator(ZhouEAM())), atoms)
    for name in ("energy", "forces", "virial", "atom_energy"):
        np.testing.assert_allclose(getattr(around, name), getattr(direct, name), atol=1e-9)


def test_calculator_keeps_its_lists_right():
    """Moves, long moves, another cell, other atoms: always what a fresh evaluation gives."""
    atoms, calculator = copper(), EngineCalculator(ZhouEAM())
    atoms.calc = calculator
    rng = np.random.default_rng(0)
    for change in (lambda a: None, lambda a: a.rattle(0.05), lambda a: a.translate([30.0, -7.0, 3.0]),
                   lambda a: a.rattle(0.2, seed=3), lambda a: a.set_cell(a.cell[:] * 1.02, scale_atoms=True),
                   lambda a: a.symbols.__setitem__(0, "Ni"), lambda a: a.set_pbc([True, True, False]),
                   lambda a: a.__delitem__(5), lambda a: a.set_positions(a.positions + rng.normal(scale=0.03, size=(len(a), 3)))):
        change(atoms)
        expected = evaluate(ZhouEAM(), atoms)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy[0], rel=1e-10)
        np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-9)
        if atoms.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(voigt=False), -expected.virial[0] / atoms.get_volume(), atol=1e-10)
    with pytest.raises(NotImplementedError, match="open"):
        atoms.get_stress()


def test_ase_moves_and_relaxes_with_it():
    atoms = copper()
    atoms.calc = EngineCalculator(ZhouEAM())
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=60)
    assert np.abs(atoms.get_forces()).max() < 1e-3
    atoms.set_velocities(np.random.default_rng(1).normal(scale=0.01, size=(len(atoms), 3)))
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 0.1).run(30)
    assert atoms.get_total_energy() == pytest.approx(before, abs=2e-3)


def test_weighted_sum_in_a_calculator():
    atoms, morse = copper(), Morse(depth=0.3, alpha=1.4, r0=2.9, cutoff=6.0)
    atoms.calc = EngineCalculator({"a": ZhouEAM(), "b": morse}, {"a": 1.0, "b": -0.25})
    expected = evaluate(ZhouEAM(), atoms).forces - 0.25 * evaluate(morse, atoms).forces
    np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-10)


def test_errors_name_the_cause():
    with pytest.raises(InputError, match="module:Class"):
        evaluate(ASE(calculator="ase.calculators.emt"), copper(1))
    with pytest.raises(InputError, match="cannot be made"):
        evaluate(ASE(calculator=lambda asap_cutoff: EMT(), parameters={"asap_cutof": True}), copper(1))
    water = molecule("H2O")
    water.symbols[0] = "W"
    with pytest.raises(PhysicsError, match="EMT.*failed"):
        evaluate(ASE(calculator=CLASS), water, {"energy"})
    with pytest.raises(InputError, match="three periodic directions"):
        evaluate(ASE(calculator=CLASS), molecule("H2O"), {"virial"})
