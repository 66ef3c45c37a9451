"""Polar modes of a diatomic crystal, where all is known: one triply degenerate optical mode."""

import numpy as np
import pytest
from ase.build import bulk

from engine import units
from engine.build import state_from_atoms
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.dielectric.mode_spectrum import ModeSpectrum
from plugins.dielectric.modes import WAVENUMBER, modes
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.pair.morse import Morse

CHARGES = {"Na": 0.7, "Cl": -0.7}


@pytest.fixture(scope="module")
def found():
    atoms = bulk("NaCl", "rocksalt", a=5.3)
    potentials = {"core": Morse(depth=0.4, alpha=1.2, r0=2.6, cutoff=4.5, truncation="force-shifted"),
                  "ions": FixedCharges(CHARGES),
                  "bonds": PolarizableBonds([Bond("Na-Cl", parallel=0.3, perpendicular=0.3)], cutoff=4.5)}
    return atoms, modes(atoms, potentials)


def test_one_optical_mode_with_all_the_intensity(found):
    atoms, m = found
    assert np.abs(m.frequencies[:3]).max() < 0.05
    optical = m.frequencies[3:]
    assert np.ptp(optical) < 1e-3 * optical[0] and optical[0] > 50
    reduced = 1 / (1 / m.masses).sum()
    assert np.allclose(m.charges[:, 3:] @ m.charges[:, 3:].T, 0.49 / reduced * np.eye(3))
    assert np.allclose(m.charges[:, :3], 0, atol=1e-5)


def test_static_permittivity_and_lyddane_sachs_teller(found):
    atoms, m = found
    reduced = 1 / (1 / m.masses).sum()
    omega = m.frequencies[3] / WAVENUMBER
    expected = m.optical[0, 0] + 0.49 / (reduced * omega**2 * units.epsilon0 * m.volume)
    assert np.allclose(m.static(), expected * np.eye(3), rtol=1e-4)
    for q in ([1, 0, 0], [1, 2, -1]):
        up = m.longitudinal(q)
        assert np.allclose(up[3:5], m.frequencies[3], rtol=1e-3)
        assert (up[5] / m.frequencies[3]) ** 2 == pytest.approx(expected / m.optical[0, 0], rel=1e-3)


def test_projection_takes_a_motion_apart(found):
    _, m = found
    amplitudes = np.arange(6.0)
    velocities = np.einsum("nam,m->na", m.vectors, amplitudes) / np.sqrt(m.masses)[:, None]
    assert np.allclose(m.projected(velocities), amplitudes)


def test_energy_of_each_mode_while_a_run_goes(found, tmp_path):
    """One mode set in motion keeps its energy to itself, at its own frequency; what is no file of modes is refused."""
    atoms, m = found
    m.save(tmp_path / "modes.npz")
    state = state_from_atoms(atoms)
    energy, potential = 2e-4, Morse(depth=0.4, alpha=1.2, r0=2.6, cutoff=4.5, truncation="force-shifted")
    state.velocities[:] = np.sqrt(2 * energy) * m.vectors[:, :, 4] / np.sqrt(m.masses)[:, None]
    sim = Simulation(state, potential, NVE(timestep=1.0))
    sim.hooks.append(hook := ModeSpectrum(modes=str(tmp_path / "modes.npz"), every=4, block=1024))
    sim.run(4 * 1024)
    out = {name: series.values for name, series in hook.result(sim).items()}
    assert np.allclose(out["harmonic"], m.frequencies[3:])
    assert out["kinetic_energy"][1] == pytest.approx(energy / 2, rel=0.02)  # half of it is kinetic
    assert out["kinetic_energy"][[0, 2]].max() < 0.01 * energy
    peak = out["wavenumber"][np.argmax(out["power"][1])]
    assert peak == pytest.approx(m.frequencies[4], abs=1.5 * out["wavenumber"][1])
    (tmp_path / "other.npz").write_bytes(b"PK nothing of the kind")
    with pytest.raises(InputError, match="not a file of modes"):
        ModeSpectrum(modes=str(tmp_path / "other.npz")).start(sim)
    sim = Simulation(state_from_atoms(atoms.repeat(2)), potential, NVE(timestep=1.0))
    with pytest.raises(InputError, match="2 atoms, the run 16"):
        ModeSpectrum(modes=str(tmp_path / "modes.npz")).start(sim)
