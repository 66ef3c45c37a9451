"""Polar modes of a diatomic crystal, where all is known: one triply degenerate optical mode."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from engine import units
from engine.build import state_from_atoms
from engine.errors import InputError
from engine.run import Run
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.dielectric.mode_spectrum import ModeSpectrum
from plugins.dielectric.modes import Modes, modes
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.pair.morse import Morse

CHARGES = {"Na": 0.7, "Cl": -0.7}


def potentials(across=0.3):
    return {"core": Morse(depth=0.4, alpha=1.2, r0=2.6, cutoff=4.5, truncation="force-shifted"), "ions": FixedCharges(CHARGES),
            "bonds": PolarizableBonds([Bond("Na-Cl", parallel=0.3, perpendicular=across)], cutoff=4.5)}


@pytest.fixture(scope="module")
def found():
    atoms = bulk("NaCl", "rocksalt", a=5.3)
    return atoms, modes(atoms, potentials())


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
    omega = m.frequencies[3] / units.per_cm
    expected = m.optical[0, 0] + 0.49 / (reduced * omega**2 * units.epsilon0 * m.volume)
    assert np.allclose(m.static(), expected * np.eye(3), rtol=1e-4)
    for q in ([1, 0, 0], [1, 2, -1]):
        up = np.sort(m.longitudinal(q))
        assert np.allclose(up[3:5], m.frequencies[3], rtol=1e-3)
        assert (up[5] / m.frequencies[3]) ** 2 == pytest.approx(expected / m.optical[0, 0], rel=1e-3)
        ((count, wave, intensity, shift, raman),) = m.lines(q)
        assert count == 3 and wave == pytest.approx(m.frequencies[3]) and intensity == pytest.approx(m.intensities().sum())
        assert shift == pytest.approx(up[5] - m.frequencies[5]) and raman < 1e-6  # every ion is a centre of inversion


def test_raman_activity_is_the_slope_of_the_polarizability():
    """Zincblende has no centre: its optical modes are of T2 and change α off the diagonal."""
    atoms = bulk("NaCl", "zincblende", a=5.6)
    m, alpha = modes(atoms, potentials(0.1)), []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * 1e-3 * m.vectors[:, :, 4] / np.sqrt(m.masses)[:, None]
        alpha.append(Simulation(state_from_atoms(moved), potentials(0.1)).quantity("polarizability")[0])
    slope = (alpha[0] - alpha[1]) / 2e-3
    assert np.abs(slope).max() > 1e-2 and np.allclose(m.raman[..., 4], slope, atol=1e-3 * np.abs(slope).max())
    assert abs(np.trace(slope)) < 1e-6
    assert m.activities()[4] == pytest.approx(7 * 1.5 * 14.3996**2 * (slope**2).sum(), rel=1e-2)
    assert m.lines([0, 0, 1])[0, 4] == pytest.approx(m.activities()[3:].sum())


def test_modes_of_what_light_does_not_see():
    with pytest.raises(InputError, match="no potential in use has Born charges"):
        modes(bulk("NaCl", "rocksalt", a=5.3), potentials()["core"])


INPUT = """
[system]
structure = "salt.extxyz"

[potentials.core]
kind = "morse"
depth = 0.4
alpha = 1.2
r0 = 2.6
cutoff = 4.5
truncation = "force-shifted"

[potentials.ions]
kind = "fixed-charges"
charges = { Na = 0.7, Cl = -0.7 }

[output]
trajectory = false

STAGE
[[stage]]
kind = "modes"
direction = [0, 1, 1]
"""


RELAX = '[[stage]]\nkind = "relax"\n'


@pytest.mark.parametrize("first, complaint", [(RELAX, None), ("", "a force of .* is left")])
def test_modes_as_a_stage(first, complaint, tmp_path, monkeypatch, capsys):
    """Relax, then a table and the file that mode-spectrum reads; without relaxing, a line."""
    monkeypatch.chdir(tmp_path)
    atoms = bulk("NaCl", "rocksalt", a=5.3)
    atoms.positions[1, 0] += 0.1
    atoms.write("salt.extxyz")
    job = Run(tomllib.loads(INPUT.replace("STAGE", first)), ".")
    if complaint:
        with pytest.raises(InputError, match=complaint):
            job.execute(quiet=True)
        return
    assert job.execute() is None
    m = Modes.load("modes.npz")
    assert np.allclose(m.intensities(), modes(job.simulation.atoms(), job.simulation.potentials).intensities())
    out = capsys.readouterr().out
    assert "LO shift along 0 1 1, 1/cm" in out and f"{m.frequencies[3:].mean():.2f}" in out
    assert f"{m.longitudinal([0, 1, 1]).max() - m.frequencies[5]:.2f}" in out


WATCHED = """
[[stage]]
integrator = "nve"
timestep = 2.0
steps = 40

[[hook]]
kind = "mode-spectrum"
modes = "modes.npz"
every = 1
block = 16
stages = [2]
"""


def test_modes_and_a_run_that_they_watch(tmp_path, monkeypatch):
    """One input; a second run replaces the modes of the first only where it is told to."""
    monkeypatch.chdir(tmp_path)
    bulk("NaCl", "rocksalt", a=5.3).write("salt.extxyz")
    text = tomllib.loads(INPUT.replace("STAGE", RELAX) + WATCHED)
    job = Run(text, ".")
    assert job.execute(quiet=True) is None
    (hook,) = (h for h in job.simulation.hooks if isinstance(h, ModeSpectrum))
    assert hook.blocks == 2 and np.allclose(hook.frequencies, Modes.load("modes.npz").frequencies[3:])
    for path in Path().glob("run.*"):
        path.unlink()
    with pytest.raises(InputError, match="modes.npz exists, and a stage writes it; .*--force"):
        Run(text, ".").execute(quiet=True)
    (bulk("NaCl", "rocksalt", a=5.3) * (2, 1, 1)).write("salt.extxyz")  # the old modes are of other atoms
    assert Run(text, ".").execute(quiet=True, force=True) is None
    for path in Path().glob("run.*"):
        path.unlink()
    text["hook"][0]["modes"] = "other.npz"  # which nothing writes: told before anything runs
    with pytest.raises(InputError, match="other.npz does not exist"):
        Run(text, ".").execute(quiet=True, force=True)
    text["hook"][0]["modes"] = "modes.npz"
    Path("modes.npz").unlink(missing_ok=True)
    text["hook"][0]["stages"] = None
    with pytest.raises(InputError, match='modes.npz does not exist; a stage of kind = "modes" writes it'):
        Run(text, ".").execute(quiet=True)


def test_modes_are_those_of_the_forces_of_the_run(tmp_path, monkeypatch):
    """Pairs that are excluded do not act in them either; atoms that are fixed are refused."""
    monkeypatch.chdir(tmp_path)
    atoms = Atoms("Na2Cl2", [[0, 0, 0], [2.6, 0, 0], [0, 6, 0], [2.6, 6, 0]], cell=[12, 12, 12], pbc=True)
    atoms.symbols[:] = ["Na", "Cl", "Na", "Cl"]
    atoms.write("salt.extxyz")
    text = tomllib.loads(INPUT.replace("STAGE", RELAX).replace("0.7", "1e-6"))
    text["system"]["exclusions"] = {"pairs": [[0, 1]]}
    assert Run(text, ".").execute(quiet=True) is None
    assert (Modes.load("modes.npz").frequencies > 50).sum() == 1  # the other pair's
    Path("modes.npz").unlink()
    for path in Path().glob("run.*"):
        path.unlink()
    atoms.set_constraint(FixAtoms([0]))
    atoms.write("salt.extxyz")
    with pytest.raises(InputError, match="modes: this stage moves all atoms, and some are fixed"):
        Run(text, ".").execute(quiet=True)


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
    with pytest.raises(InputError, match="2, and the run has 16"):
        ModeSpectrum(modes=str(tmp_path / "modes.npz")).start(sim)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """(file of modes, their atoms): eight ions."""
    atoms, path = bulk("NaCl", "rocksalt", a=5.3, cubic=True), tmp_path_factory.mktemp("cube") / "modes.npz"
    modes(atoms, potentials()).save(path)
    return str(path), atoms


@pytest.mark.parametrize("change, complaint", [
    ("warm", None), ("drifted", None), ("other masses", "has a mass of"), ("swapped", "from its place"),
    ("larger", "cell differs by 20 %"),
])
def test_modes_belong_to_their_crystal(cube, change, complaint):
    """Heat, a drift of the whole and images are no obstacle."""
    path, atoms = cube[0], cube[1].copy()
    atoms.rattle(0.2, seed=1)
    if change == "drifted":
        atoms.translate([0.3, 4.0, -9.0])
        atoms.wrap()
    elif change == "other masses":
        atoms = atoms[::-1]
    elif change == "swapped":
        atoms = atoms[[2, 1, 0, *range(3, 8)]]
    elif change == "larger":
        atoms.set_cell(1.2 * atoms.cell[:], scale_atoms=True)
    sim = Simulation(state_from_atoms([atoms, atoms]), potentials())
    hook = ModeSpectrum(modes=path)
    if complaint:
        with pytest.raises(InputError, match=complaint):
            hook.start(sim)
    else:
        hook.start(sim)


def test_signal_takes_a_motion_apart(cube):
    path, atoms = cube
    m, amplitudes = Modes.load(path), np.arange(24.0)
    state = state_from_atoms(atoms)
    state.velocities[:] = np.einsum("nam,m->na", m.vectors, amplitudes) / np.sqrt(m.masses)[:, None]
    hook = ModeSpectrum(modes=path, select=[3, 7, 20])
    hook.start(sim := Simulation(state, potentials()))
    assert np.allclose(hook.signal(sim), [[3, 7, 20]])


def test_kinetic_energies_scatter_as_those_of_blocks_do(cube):
    """Not as if bins were independent, which a window and a line make them not."""
    hook, rng = ModeSpectrum(modes=cube[0], block=64), np.random.default_rng(5)
    hook.interval, energies = 0.004, []
    for _ in range(3):
        hook.buffer = np.cumsum(rng.normal(size=(64, 1, 2)), axis=0)
        hook._transform()
        energies.append(hook.total[0, :, -1] - np.sum(energies, axis=0))
    mean, error = hook.power()
    assert np.allclose(mean[0, :, -1], np.mean(energies, axis=0))
    assert np.allclose(error[0, :, -1], np.std(energies, axis=0, ddof=1) / np.sqrt(3))
    window = np.hanning(65)[:-1]
    x = (hook.buffer - hook.buffer.mean(0))[:, 0] * window[:, None]
    assert np.allclose(energies[-1], 0.5 * (x**2).sum(0) / (window**2).sum())
