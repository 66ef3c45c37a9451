"""Observers against what is known exactly, and against brute force over a stored trajectory."""

import re
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import bulk
from toys import gas, simulation

from engine import units
from engine.build import state_from_atoms
from engine.config.ramp import Ramp
from engine.errors import InputError
from engine.run import Run, from_checkpoint
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from plugins.analysis.msd import MeanSquareDisplacement
from plugins.analysis.profile import Profile
from plugins.analysis.rdf import RadialDistribution
from plugins.analysis.stress import StressAutocorrelation
from plugins.analysis.vacf import VelocityAutocorrelation

TRICLINIC = [[14.0, 0.0, 0.0], [3.0, 13.0, 0.0], [-2.0, 4.0, 12.0]]
PS = 1000.0 * units.fs  # internal velocity to Å/ps


def test_rdf_of_an_ideal_gas_is_one():
    """Every bin of every pair of species is 1 within counting error, cutoff beyond half the box included."""
    rdf = RadialDistribution(every=1, cutoff=9.0, bins=30)
    sim = simulation(gas("He60Ne90", TRICLINIC), NVE(timestep=2000.0), hooks=[rdf])
    sim.run(60)
    g = rdf.result(sim)["g"]
    edges = np.linspace(0, 9.0, 31)
    shell = 4 / 3 * np.pi * np.diff(edges**3) / np.linalg.det(TRICLINIC)
    pairs = np.array([60 * 59 / 2, 60 * 90, 90 * 89 / 2])  # He-He, He-Ne, Ne-Ne
    error = 1.0 / np.sqrt(61 * pairs[:, None] * shell)
    z = (g.values - 1.0) / error
    assert g.labels == ("He-He", "He-Ne", "Ne-Ne")
    assert np.abs(z[:, 3:]).max() < 5
    inside = z[:, 3:20]  # beyond half the box, counts of one pair's images go together
    assert 0.6 < (inside**2).mean() < 1.5


def test_rdf_of_a_crystal_counts_its_shells():
    """fcc has 12, 6, 24, 12 neighbors at a·√(k/2), whatever the box, here one cell of four atoms."""
    rdf = RadialDistribution(every=1, cutoff=5.4, bins=540)
    sim = simulation(bulk("Cu", cubic=True, a=3.6), NVE(timestep=1.0), temperature=0.0, hooks=[rdf])
    sim.run(2)
    found = rdf.result(sim)
    n = np.interp([2.8, 3.9, 4.6, 5.3], found["radius"].values, found["coordination"].values[0])
    assert np.allclose(n, [12, 18, 42, 54])


def test_rdf_reaches_beyond_the_potential():
    """A hook that looks further than the potential's cutoff gets its ghosts, also when attached late."""
    late, early = (RadialDistribution(every=1, cutoff=7.0, bins=7) for _ in range(2))
    sim = simulation(gas("He40", TRICLINIC), NVE(timestep=1.0), hooks=[early])
    sim.run(3)
    other = simulation(gas("He40", TRICLINIC), NVE(timestep=1.0))
    other.hooks.append(late)
    other.run(3)
    assert early.counts.sum() > 0
    assert np.array_equal(early.counts, late.counts)


def windowed(x, difference):
    """Brute force over all origins of a trajectory (looks, n, 3): mean over origins, atoms."""
    out = []
    for lag in range(len(x)):
        a, b = x[: len(x) - lag], x[lag:]
        out.append((((b - a) ** 2) if difference else a * b).sum(-1).mean())
    return np.array(out)


@pytest.mark.parametrize("kind", [MeanSquareDisplacement, VelocityAutocorrelation])
def test_correlations_equal_brute_force(kind):
    """With every look an origin, the streamed average is that over the stored trajectory."""
    hook = kind(every=3, lags=12, origins=12)
    sim = simulation(gas("Ar5", np.eye(3) * 4.0), Langevin(5.0, 900.0, 0.01), hooks=[hook])
    stored = []
    vectors = (lambda s: s.state.unwrapped()) if hook.difference else (lambda s: s.state.velocities * PS)
    sim.attach(lambda s: stored.append(vectors(s)[np.argsort(s.state.tags[: s.state.n])].copy()), every=3)
    sim.run(33)
    result = hook.result(sim)
    values = result["msd" if hook.difference else "vacf"].values[0]
    assert len(stored) == 12
    assert np.allclose(values, windowed(np.array(stored), hook.difference), rtol=1e-12)
    assert np.allclose(result["time"].values, 0.015 * np.arange(12))


def test_msd_of_one_group_and_without_drift():
    """Alike motion of all atoms is no diffusion; atoms of other groups do not enter."""
    atoms = gas("He6Ne6", np.eye(3) * 5.0)
    kept, taken = MeanSquareDisplacement(every=1, lags=5, origins=1), MeanSquareDisplacement(
        every=1, lags=5, origins=1, drift=False, name="relative")
    sim = simulation(atoms, NVE(timestep=10.0), hooks=[kept, taken], temperature=0.0)
    sim.state.velocities[:] = [0.3, -0.2, 0.1]
    sim.run(4)
    moved = 0.14 * (10.0 * units.fs * np.arange(5)) ** 2
    assert np.allclose(kept.result(sim)["msd"].values, moved)
    assert np.allclose(taken.result(sim)["msd"].values, 0.0, atol=1e-12)


def test_langevin_particles_diffuse_and_forget():
    """Ornstein–Uhlenbeck: C(t) = 3kT/m e^{−γt}, <Δr²> = 6kT/(mγ²)(γt − 1 + e^{−γt}), across boundaries."""
    T, gamma, N = 400.0, 0.01, 1500
    msd, vacf = MeanSquareDisplacement(every=10, lags=60, origins=20), VelocityAutocorrelation(every=10, lags=60, origins=20)
    sim = simulation(gas(f"Ar{N}", np.eye(3) * 4.0), Langevin(2.0, T, gamma), temperature=T, hooks=[msd, vacf])
    sim.run(2500)
    assert np.abs(sim.state.images).max() > 2
    kT_m = units.kB * T / sim.state.masses[0] * PS**2  # Å²/ps²
    t = msd.result(sim)["time"].values
    g = gamma * 1000.0
    error = 1.0 / np.sqrt(3 * N * 2500 * 2.0 * gamma / 2.0)  # of a mean square, correlated over 1/2γ
    C = vacf.result(sim)["vacf"].values[0]
    assert abs(C[0] / (3 * kT_m) - 1) < 4 * np.sqrt(2) * error
    assert np.abs(C / (3 * kT_m) - np.exp(-g * t)).max() < 6 * error
    exact = 6 * kT_m / g**2 * (g * t - 1 + np.exp(-g * t))
    found = msd.result(sim)["msd"].values[0]
    assert np.allclose(found[1:], exact[1:], rtol=0.03)
    slope = 6 * kT_m / g * (1 - np.exp(-g * t)).reshape(2, -1)[1].mean()  # of the exact curve, over its second half
    assert msd.result(sim)["diffusion"].values[0] == pytest.approx(slope / 6, rel=0.04)


def test_density_of_states_of_oscillators():
    """Peaks at √(k/m)/2π for each species; three states an atom."""
    stiffness = 2.0
    hook = VelocityAutocorrelation(every=2, lags=800, origins=8)
    sim = simulation(gas("Al20Cu20", np.eye(3) * 20.0), NVE(timestep=2.0), stiffness=stiffness, hooks=[hook])
    sim.run(4000)
    result = hook.result(sim)
    frequency, dos = result["frequency"].values, result["dos"].values
    resolution = 1.0 / result["time"].values[-1]
    for row, symbol in zip(dos, ("Al", "Cu"), strict=False):
        mass = sim.state.masses[sim.state.species[: sim.state.n] == sim.state.species_names.index(symbol)][0]
        expected = np.sqrt(stiffness / mass) / (2 * np.pi) * PS  # THz
        assert abs(frequency[np.argmax(row)] - expected) < 0.6 * resolution
    width = frequency[1]
    total = dos.sum(-1) * width - 0.5 * width * (dos[:, 0] + dos[:, -1])
    assert np.allclose(total, 3.0, atol=1e-9)
    assert result["dos"].labels == ("Al", "Cu", "total")


def test_stress_of_langevin_particles():
    """Free particles: <P_xy²> = N(kT)²/V², decaying as e^{−2γt}, so that η = NkT/2γV. Sixteen systems at two temperatures."""
    T, gamma, N, L, S = np.array([300.0] * 8 + [600.0] * 8), 0.02, 40, 10.0, 16
    hook = StressAutocorrelation(every=5, lags=40)
    atoms = [gas(f"Ar{N}", np.eye(3) * L, seed=k) for k in range(S)]
    sim = simulation(atoms, Langevin(5.0, Ramp(T, T), gamma), temperature=T, hooks=[hook])
    sim.run(5000)
    result = hook.result(sim)
    t, C = result["time"].values, result["shear"].values
    exact = N * (units.kB * T / units.GPa) ** 2 / L**6
    ratio = (C / exact[:, None]).mean(0)
    decay = np.exp(-2000.0 * gamma * t)
    error = np.sqrt(2.0 / (5 * S * 5000 * 5.0 * 2 * gamma))  # of a variance: five components, correlated over 1/2γ
    assert np.abs(ratio - decay).max() < 5 * error
    assert np.abs(C[8:].mean(0)[0] / C[:8].mean(0)[0] - 4.0) < 1.0
    # bins of 5 fs·5 against a decay of 25 fs: the trapezoidal rule has an error of its own, (Δt/τ)²/12
    step = 2.0 * gamma * 25.0
    viscosity = N * units.kB * T / units.GPa / L**3 / (2 * gamma * 1000.0) * (step / 2) / np.tanh(step / 2)
    assert (result["viscosity"].values[:, -1] / viscosity).mean() == pytest.approx(1.0, abs=0.1)


def test_profile_of_layers():
    """Layers at known heights and temperatures; the density adds up to all atoms."""
    atoms = bulk("Cu", cubic=True, a=4.0).repeat((3, 3, 5))
    atoms.positions[:, 2] += 0.5
    state = state_from_atoms(atoms)
    hook = Profile(every=1, bins=20, along="c")
    sim = Simulation(state, simulation(atoms, NVE(1.0)).potentials, NVE(timestep=1e-6), hooks=[hook])
    rng = np.random.default_rng(3)
    hot = atoms.positions[:, 2] > 9.0
    T = np.where(hot, 500.0, 100.0)
    v = rng.normal(size=(len(atoms), 3))
    for layer in np.unique(atoms.positions[:, 2].round(3)):
        rows = np.isclose(atoms.positions[:, 2], layer, atol=1e-3)
        v[rows] -= v[rows].mean(0)
        v[rows] *= np.sqrt(3 * units.kB * T[rows] / state.masses[rows] / (v[rows] ** 2).sum(1).mean())[:, None]
    state.velocities[:] = v + [0.0, 0.0, 0.05]
    sim.run(2)
    result = hook.result(sim)
    z, number, found = result["position"].values, result["number_density"].values[0], result["temperature"].values
    slab = np.linalg.det(atoms.cell[:]) / 20
    assert number.sum() * slab == pytest.approx(len(atoms))
    assert np.allclose(number.reshape(-1, 2).sum(1) * slab, 18)  # a layer every 2 Å, 18 atoms each
    filled = number > 0
    expected = np.where(z > 9.0, 500.0, 100.0) + state.masses[0] * 0.05**2 / (3 * units.kB)
    assert np.allclose(found[filled], expected[filled], rtol=1e-6)
    mean = (result["velocity"].values[2] * result["density"].values).sum() / result["density"].values.sum()
    assert mean == pytest.approx(state.velocities[:, 2].mean() * PS)


INPUT = """
[system]
crystal = { structure = "rocksalt", species = "NaCl", a = 5.6 }
replicate = [2, 2, 2]
velocities = { temperature = 300 }
[potential]
kind = "lj"
epsilon = 0.01
sigma = 2.6
cutoff = 5.0
[output]
file = "run.h5md"
thermo = 10
trajectory = false
checkpoint = 1000
[[stage]]
integrator = "langevin"
steps = 60
timestep = 2.0
temperature = 300
friction = 0.01
[[stage]]
integrator = "nve"
steps = 30
timestep = 2.0
[[hook]]
kind = "rdf"
every = 3
cutoff = "0.7 nm"
[[hook]]
kind = "msd"
every = 2
lags = 20
origins = 5
[[hook]]
kind = "msd"
name = "sodium"
group = "sodium"
every = 2
stages = [1]
drift = false
[[hook]]
kind = "vacf"
every = 1
lags = 30
[[hook]]
kind = "stress"
every = 2
lags = 20
[[hook]]
kind = "profile"
every = 4
along = "a"
bins = 8
write = 20
""".replace("velocities =", 'groups = { sodium = { species = "Na" } }\nvelocities =')


def observed(path):
    found = {}
    with h5py.File(path) as file:
        file["observers"].visititems(lambda name, x: found.update({name: x[()]}) if isinstance(x, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize("stop", [7, 60, 71])
def test_stopping_changes_nothing(stop, tmp_path, monkeypatch):
    """A run that is stopped and resumed leaves the same observations, bit for bit."""
    runs = {}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        run = Run(tomllib.loads(INPUT), tmp_path / name)
        if name == "parts":
            opened = run.open_output

            def open_output(*arguments, run=run, opened=opened):
                opened(*arguments)
                run.watch.reason = lambda: "the test" if run.simulation.state.step == stop else None

            run.open_output = open_output
        run.execute(quiet=True)
        if name == "parts":
            assert run.simulation.state.step == stop
            again, found = from_checkpoint(tmp_path / name / "run.h5md")
            again.execute(quiet=True, tree=found)
        runs[name] = observed(tmp_path / name / "run.h5md")
    assert set(runs["whole"]) == set(runs["parts"]) and "sodium/msd" in runs["whole"] and "stress/viscosity" in runs["whole"]
    for name, values in runs["whole"].items():
        assert np.array_equal(values, runs["parts"][name]), name


@pytest.mark.parametrize("hook, words", [
    ('kind = "msd"\ngroup = "iron"', ["iron"]), ('kind = "msd"\nlags = 5\norigins = 9', ["origins = 9"]),
    ('kind = "rdf"\n[[hook]]\nkind = "rdf"', ["two hooks", "rdf", "name"]), ('kind = "rdf"\nbins = 0', ["bins", "0"]),
    ('kind = "profile"\nalong = "z"', ["along", "z", "'c'"]), ('kind = "vacf"\nevery = 0', ["every", "0"]),
])
def test_wrong_hooks_are_refused(hook, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = INPUT[: INPUT.index("[[hook]]")] + "[[hook]]\n" + hook + "\n"
    with pytest.raises(InputError) as error:
        Run(tomllib.loads(text), tmp_path).execute(quiet=True)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_the_hooks_of_the_page_run(tmp_path, monkeypatch):
    """docs/analysis.md: its input is accepted, and writes what its table says."""
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()
    hooks = re.search(r"```toml\n(.*?)```", page, re.S)[1]
    stage = '[[stage]]\nintegrator = "nve"\nsteps = 20\ntimestep = 1.0\n'
    text = ('[system]\ncrystal = { structure = "fcc", species = "Cu", a = 3.6 }\nreplicate = [2, 2, 2]\n'
            'velocities = { temperature = 300 }\n[potential]\nkind = "eam/zhou"\n' + 2 * stage + hooks)
    monkeypatch.chdir(tmp_path)
    Run(tomllib.loads(text), tmp_path).execute(quiet=True)
    with h5py.File("run.h5md") as file:
        for kind, names in re.findall(r"^\| (rdf|msd|vacf|stress|profile) \| (.*?) \|", page, re.M):
            group = file["observers"]["across" if kind == "profile" else kind]
            expected = set(re.findall(r"`(\w+)`", names)) - ({"diffusion"} if kind == "msd" else set())  # needs eight lags
            assert expected <= set(group) and group.attrs["samples"] > 0
