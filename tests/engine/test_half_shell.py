"""Ghosts for half lists only: half as many, the same forces and trajectories, and no list that would be incomplete."""

import numpy as np
import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine.errors import InputError
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.analysis.rdf import RadialDistribution
from potentials.eam.zhou import ZhouEAM
from potentials.manybody.stillinger_weber import StillingerWeber


def copper(half):
    atoms = sheared(rattled(bulk("Cu", cubic=True) * (3, 2, 3)))
    simulation = Simulation.from_atoms(atoms, ZhouEAM(), NVE(timestep=2.0), temperature=900, seed=5)
    assert simulation.domain.half
    simulation.domain.half = half
    return simulation


def test_the_same_physics_with_half_of_the_ghosts():
    less, more = copper(True), copper(False)
    before = less.conserved(), more.conserved()
    assert before[0] == pytest.approx(before[1], abs=1e-10)
    assert less.state.n_ghost == pytest.approx(0.5 * more.state.n_ghost, rel=0.05)
    for simulation in (less, more):
        simulation.run(200)
    assert less.domain.rebuilds == more.domain.rebuilds > 3
    assert np.abs(less.array("unwrapped") - more.array("unwrapped")).max() < 1e-9
    assert less.conserved() == pytest.approx(more.conserved(), abs=1e-9)
    assert np.abs(less.pressure_tensor() - more.pressure_tensor()).max() < 1e-9


def test_a_full_list_of_half_of_the_ghosts_is_refused():
    simulation = copper(True)
    simulation.potential_energy()
    for ask in (simulation.domain.neighbors.full, simulation.domain.neighbors.edges):
        with pytest.raises(InputError, match="lists = \"full\""):
            ask(4.0)


def test_whoever_reads_other_lists_gets_all_ghosts(shared_data):
    silicon = StillingerWeber(file=str(next(shared_data.glob("01-potentials/lammps-data/Si.sw"))))
    assert not Simulation.from_atoms(bulk("Si", cubic=True) * 2, silicon).domain.half
    atoms = rattled(bulk("Cu", cubic=True) * (3, 3, 3))
    assert not Simulation.from_atoms(atoms, ZhouEAM(), exclusions=[(0, 1)]).domain.half
    assert not Simulation.from_atoms(atoms, ZhouEAM(), hooks=[RadialDistribution(every=10, cutoff=5.0)]).domain.half
    later = Simulation.from_atoms(atoms, ZhouEAM(), NVE(timestep=1.0))
    later.run(1)
    ghosts = later.state.n_ghost
    later.attach(RadialDistribution(every=1, cutoff=5.0))
    later.run(1)
    assert not later.domain.half and later.state.n_ghost == pytest.approx(2 * ghosts, rel=0.05)
