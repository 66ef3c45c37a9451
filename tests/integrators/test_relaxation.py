"""Minimisers: the minimum that is there, with and without the cell; many systems at once; restart."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from engine.build import state_from_atoms
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.fire import FIRE
from integrators.lbfgs import LBFGS
from integrators.relaxation import CONVERGED
from potentials.eam.zhou import ZhouEAM

METHODS = {"fire": FIRE, "lbfgs": LBFGS}
POTENTIAL = lambda: ZhouEAM(cutoff=6.0)  # between two shells: the published cutoff lies on the fifth, where the energy jumps


def rattled(a, seed, repeat=2, amplitude=0.1, strain=0.0):
    atoms = bulk("Cu", cubic=True, a=a) * ((repeat,) * 3)
    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(scale=amplitude, size=(len(atoms), 3))
    if strain:
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3))), scale_atoms=True)
    return atoms


@pytest.mark.parametrize("method", METHODS)
def test_two_atoms_find_their_distance(method):
    """A free dimer ends at the minimum of its pair energy, found here by scanning."""
    sim = Simulation(state_from_atoms(Atoms("Cu2", [[0, 0, 0], [2.6, 0.1, 0]])), POTENTIAL(), METHODS[method](force=1e-6))
    sim.run(500)
    assert sim.stop_reason == CONVERGED
    r = np.linalg.norm(np.diff(sim.state.positions[:2], axis=0))
    energies = []
    for d in (r - 0.01, r, r + 0.01):
        other = Simulation(state_from_atoms(Atoms("Cu2", [[0, 0, 0], [d, 0, 0]])), POTENTIAL(), METHODS[method]())
        energies.append(other.potential_energy()[0])
    assert energies[1] < min(energies[0], energies[2])


@pytest.mark.parametrize("method", METHODS)
def test_rattled_strained_crystals_return_to_the_lattice(method):
    """Three systems at once, each with its own rattle and strain, find the same perfect crystal; stress goes to P0."""
    systems = [rattled(a, seed, strain=0.03) for seed, a in enumerate((3.55, 3.62, 3.70))]
    for pressure in (0.0, 5.0):
        sim = Simulation(
            state_from_atoms(systems), POTENTIAL(), METHODS[method](force=1e-4, cell="flexible", pressure=pressure, stress=1e-3)
        )
        before = sim.potential_energy().copy()
        sim.run(600)
        assert sim.stop_reason == CONVERGED
        volume = sim.state.volume / 32
        np.testing.assert_allclose(sim.pressure_tensor(), np.broadcast_to(pressure * np.eye(3), (3, 3, 3)), atol=1.1e-3)
        np.testing.assert_allclose(volume, volume[0], rtol=1e-5)
        np.testing.assert_allclose(sim.potential_energy(), sim.potential_energy()[0], rtol=1e-7)
        if pressure == 0.0:
            np.testing.assert_allclose(volume[0], 3.615**3 / 4, rtol=2e-3)  # what the potential was fitted to
            np.testing.assert_allclose(sim.potential_energy() / 32, -3.54, atol=2e-3)
        np.testing.assert_allclose(sim.conserved(), before, rtol=1e-10)  # the account took all that was lost
        assert not sim.state.velocities.any()


def test_lbfgs_is_quick():
    """A rattled crystal of 256 atoms in few evaluations (this is what the memory is for)."""
    sim = Simulation(state_from_atoms(rattled(3.615, 4, repeat=4)), POTENTIAL(), LBFGS(force=1e-3))
    assert sim.run(100) < 40 and sim.stop_reason == CONVERGED


def test_isotropic_relaxation_keeps_the_shape():
    atoms = rattled(3.5, 1, amplitude=0.0, strain=0.02)
    sim = Simulation(state_from_atoms(atoms), POTENTIAL(), LBFGS(force=1e-3, cell="isotropic", stress=0.01))
    shape = sim.state.cells[0] / np.cbrt(sim.state.volume[0])
    sim.run(300)
    assert sim.stop_reason == CONVERGED
    np.testing.assert_allclose(sim.state.cells[0] / np.cbrt(sim.state.volume[0]), shape, atol=1e-10)
    assert abs(np.trace(sim.pressure_tensor()[0])) / 3 < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_restart_is_bitwise(method):
    make = lambda: Simulation(
        state_from_atoms(rattled(3.6, 2, strain=0.02)), POTENTIAL(), METHODS[method](force=1e-9, cell="flexible")
    )
    whole, half = make(), make()
    whole.run(12)
    half.run(5)
    tree = half.state_dict()
    rest = make()
    rest.load_state_dict(tree)
    whole_again = make()
    whole_again.run(5)
    whole_again.run(7)
    rest.run(7)
    assert np.array_equal(rest.state.positions[: rest.state.n], whole_again.state.positions[: rest.state.n])
    assert np.array_equal(rest.state.cells, whole_again.state.cells)
    np.testing.assert_allclose(whole.potential_energy(), rest.potential_energy(), rtol=1e-12)


def test_fixed_atoms_stay_and_refuse_a_moving_cell():
    atoms = rattled(3.615, 3)
    from ase.constraints import FixAtoms

    atoms.set_constraint(FixAtoms([0, 5]))
    sim = Simulation(state_from_atoms(atoms), POTENTIAL(), LBFGS(force=1e-3))
    sim.run(200)
    assert sim.stop_reason == CONVERGED
    moved = np.linalg.norm(sim.atoms().positions - atoms.get_positions(wrap=True), axis=1)
    assert moved[0] < 1e-12 and moved[5] < 1e-12 and moved.max() > 0.01
    with pytest.raises(InputError, match="fixed atoms"):
        Simulation(state_from_atoms(atoms), POTENTIAL(), LBFGS(cell="flexible"))


def test_relax_as_a_stage_goes_on_with_the_next(tmp_path, monkeypatch):
    """It ends as soon as it has converged, and leaves velocities to the stage that follows."""
    from engine.run import Run

    monkeypatch.chdir(tmp_path)
    raw = {
        "system": {
            "crystal": {"structure": "fcc", "species": "Cu", "a": 3.5},
            "replicate": [2, 2, 2],
            "velocities": {"temperature": 50},
        },
        "potential": {"kind": "eam/zhou", "cutoff": 6.0},
        "output": {"trajectory": False},
        "stage": [
            {"kind": "relax", "cell": "flexible", "pressure": 1.0, "stress": 0.001},
            {"integrator": "nve", "steps": 3, "timestep": 1.0},
        ],
    }
    run = Run(raw, ".", "input")
    assert run.execute(quiet=True) is None
    sim = run.simulation
    assert 5 < sim.state.step < 200 and sim.kinetic_energy()[0] > 0
    W = np.trace(sim.quantity("virial")[0]) / 3 / sim.state.volume[0] * 160.2177
    assert abs(W - 1.0) < 0.3  # thermal pressure aside
    raw["stage"][0]["steps"] = 2
    raw["output"]["file"] = "other.h5md"
    assert "has not converged in 2 steps" in Run(raw, ".", "input").execute(quiet=True)
