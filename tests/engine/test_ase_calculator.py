"""The ASE calculator: what ASE makes of our potentials is what the engine makes of them."""

import numpy as np
import pytest
from ase import units as ase_units
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from conftest import rattled, sheared

from engine import units
from engine.ase import EngineCalculator
from engine.build import state_from_atoms
from engine.errors import InputError
from engine.simulation import Simulation
from engine.testing import evaluate
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones


def argon():
    return LennardJones(epsilon=0.0104, sigma=3.4, cutoff=7.0, truncation="shifted")


def test_equals_the_engine_and_finite_differences():
    """Energy, forces, stress with its sign and order, and per-atom energies."""
    atoms = rattled(sheared(bulk("Cu", cubic=True)))
    atoms.calc = EngineCalculator(ZhouEAM())
    ours = evaluate(ZhouEAM(), atoms)
    assert atoms.get_potential_energy() == pytest.approx(ours.energy[0], rel=1e-13)
    assert np.allclose(atoms.get_forces(), ours.forces, atol=1e-12)
    assert np.allclose(atoms.get_stress(voigt=False), -ours.virial[0] / atoms.get_volume(), atol=1e-12)
    assert np.allclose(atoms.get_potential_energies(), ours.atom_energy, atol=1e-12)
    assert np.allclose(atoms.get_stresses().sum(0), atoms.get_stress(), atol=1e-10)
    assert np.allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-5)
    assert np.allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-6)


def test_follows_whatever_is_done_to_the_atoms():
    """Moves (far beyond the skin, and out of the cell), strains, and other atoms give what a new calculator gives."""
    atoms = rattled(bulk("Cu", cubic=True).repeat(2))
    atoms.calc = EngineCalculator(ZhouEAM())
    rng = np.random.default_rng(1)

    def moved(a):
        a.positions += rng.normal(scale=0.03, size=a.positions.shape)

    def far(a):
        a.positions[::2] += 2 * a.cell[0] - a.cell[2]

    def strained(a):
        a.set_cell(a.cell[:] @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True)

    def alloyed(a):
        a.symbols[:3] = "Ag"

    def open_slab(a):
        a.pbc = [True, True, False]

    def fewer(a):
        del a[5]

    for change in (moved, far, moved, strained, alloyed, moved, open_slab, moved, fewer):
        change(atoms)
        fresh = atoms.copy()
        fresh.calc = EngineCalculator(ZhouEAM())
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), rel=1e-12), change.__name__
        assert np.allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-10), change.__name__


def test_lists_are_kept():
    atoms = rattled(bulk("Cu", cubic=True).repeat(2))
    atoms.calc = EngineCalculator(ZhouEAM())
    for _ in range(10):
        atoms.get_forces()
        atoms.positions += np.random.default_rng(2).normal(scale=0.01, size=atoms.positions.shape)
    assert atoms.calc._forces.domain.rebuilds == 1


def test_relaxation_and_clusters():
    """ASE's relaxation finds the Lennard-Jones dimer and, with the cell, the crystal that our own forces call relaxed."""
    dimer = molecule("O2")
    dimer.symbols[:] = "Ar"
    dimer.set_distance(0, 1, 3.5)
    dimer.calc = EngineCalculator(argon())
    BFGS(dimer, logfile=None).run(fmax=1e-6)
    assert dimer.get_distance(0, 1) == pytest.approx(2 ** (1 / 6) * 3.4, abs=1e-4)
    with pytest.raises(NotImplementedError, match="open"):
        dimer.get_stress()
    crystal = bulk("Cu", cubic=True, a=3.7)
    crystal.calc = EngineCalculator(ZhouEAM())
    crystal.set_constraint(FixAtoms([0]))
    BFGS(FrechetCellFilter(crystal), logfile=None).run(fmax=1e-5)
    assert crystal.cell[0, 0] == pytest.approx(3.615, abs=2e-3)
    assert np.abs(crystal.get_stress()).max() < 1e-5


def test_two_programs_move_alike():
    """ASE's velocity Verlet with our forces and the engine's own, step by step."""
    atoms = rattled(bulk("Cu", cubic=True).repeat(2), 0.05)
    sim = Simulation(state_from_atoms(atoms), ZhouEAM(), NVE(timestep=2.0))
    atoms.calc = EngineCalculator(ZhouEAM())
    VelocityVerlet(atoms, 2.0 * ase_units.fs).run(30)
    sim.run(30)
    assert np.allclose(sim.array("unwrapped"), atoms.positions, atol=1e-7)  # ASE's constants are of another year
    assert np.allclose(sim.array("velocities") * (1000 * units.fs), atoms.get_velocities() * 1000 * ase_units.fs, atol=1e-4)


def test_sums_and_mistakes():
    atoms = rattled(bulk("Ar", cubic=True, a=5.3))
    single = atoms.copy()
    single.calc = EngineCalculator(argon())
    atoms.calc = EngineCalculator({"one": argon(), "two": argon()})
    assert atoms.get_potential_energy() == pytest.approx(2 * single.get_potential_energy())
    single.symbols[0] = "Xe"
    assert np.isfinite(single.get_potential_energy())
    with pytest.raises(InputError, match="Cu"):
        bad = bulk("Ne")
        bad.calc = EngineCalculator(ZhouEAM())
        bad.get_potential_energy()
