"""SCHA and TD-SCHA as stages of a run: sampled, exact and plain-array results agree, fields, resume, refusals."""

import tomllib

import h5py
import numpy as np
import pytest
from conftest import virial_by_strain
from quartic_crystal import write

from engine import registry, units
from engine.errors import InputError
from engine.run import Run, from_checkpoint
from engine.simulation import Simulation
from engine.testing import check_forces, check_needs, check_virial, evaluate
from integrators.gaussian.averages import SampledAverages
from integrators.gaussian.lattice import Lattice
from integrators.gaussian.propagators import propagate
from integrators.gaussian.recorder import GaussianRecorder, read
from integrators.gaussian.sampling import correlated_normals
from integrators.nve import NVE
from integrators.tdscha import TDSCHA
from plugins.lattice.scha_stage import SCHA
from potentials.fields import Constant
from potentials.force_constants import ForceConstants


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for kind, name, thing in (("potentials", "force-constants", ForceConstants), ("integrators", "tdscha", TDSCHA),
                              ("hooks", "gaussian", GaussianRecorder), ("stages", "scha", SCHA)):
        if name not in registry.names(kind):
            monkeypatch.setitem(registry._added, (kind, name), thing)


INPUT = """
[system]
structure = "crystal.extxyz"
copies = {copies}
[potential]
kind = "force-constants"
file = "model.h5"
[output]
file = "run.h5md"
trajectory = false
thermo = 5
checkpoint = 10
[run]
seed = 11
{field}
[[hook]]
kind = "gaussian"
every = 1
full = 10
scattering = [[1, 0, 0], [4, 0, 0]]
[[stage]]
kind = "scha"
start = "lattice.h5"
temperature = {temperature}
tolerance = 0.01
averages = "{averages}"
steps = 15
hessian = true
[[stage]]
integrator = "tdscha"
timestep = {timestep}
steps = {steps}
averages = "{averages}"
{more}
"""
FIELD = """
[[field]]
kind = "gaussian-pulse"
amplitude = 0.5
direction = [1, 0.5, 0]
center = 30
width = 10
period = 60
"""


def text(**kind):
    usual = dict(copies=40, field="", temperature=0.0, averages="sampled", timestep=1.0, steps=40, more="")
    return INPUT.format(**(usual | kind))


def run(folder, monkeypatch, **kind):
    folder.mkdir(exist_ok=True)
    write(folder)
    monkeypatch.chdir(folder)
    job = Run(tomllib.loads(text(**kind)), folder)
    assert job.execute(quiet=True) is None
    return job.simulation


def rows(folder, name):
    return read(folder / "run.h5md")[name]


def test_force_constants_keep_the_contract(tmp_path):
    """Forces are −∂E/∂x and the virial −∂E/∂ε, at a strained cell too; S systems equal one by one; Z* gives field forces."""
    atoms, polynomial = write(tmp_path)
    potential = ForceConstants(str(tmp_path / "model.h5"))
    rng = np.random.default_rng(5)
    atoms.positions += 0.1 * rng.normal(size=(4, 3))
    check_forces(potential, atoms)
    check_needs(potential, atoms)
    check_virial(potential, atoms)
    strained = atoms.copy()
    strained.set_cell(atoms.cell[:] @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    check_forces(potential, strained)
    one, two, both = (evaluate(potential, a) for a in (atoms, strained, [atoms, strained]))
    assert both.energy == pytest.approx([one.energy[0], two.energy[0]])
    assert both.forces == pytest.approx(np.vstack([one.forces, two.forces]))
    shifted = atoms.copy()
    shifted.positions[1] += atoms.cell[0]  # another image is the same atom
    assert evaluate(potential, shifted).energy == pytest.approx(evaluate(potential, atoms).energy, abs=1e-12)


@pytest.mark.parametrize("fixes", ["E", "D"])
def test_force_constants_in_a_field_and_a_strained_cell(tmp_path, fixes):
    """The virial is −∂F/∂ε with the reduced field, or the charge through the faces, held; P, Z* and forces belong together."""
    atoms, _ = write(tmp_path)
    atoms.positions += 0.1 * np.random.default_rng(5).normal(size=(4, 3))
    sim = Simulation.from_atoms(atoms, ForceConstants(str(tmp_path / "model.h5")), NVE(timestep=1.0),
                                fields=[Constant([0.1, -0.05, 0.15], fixes=fixes)])
    sim.run(1)
    virial, found = virial_by_strain(sim, np.array([[0.02, 0.01, 0.0], [-0.02, 0.01, 0.0], [0.01, 0.0, -0.02]]), 1e-4)
    assert found == pytest.approx(virial, abs=1e-6 * np.abs(virial).max())
    state, Z, forces = sim.state, sim.quantity("born_charges").copy(), sim.array("forces")
    P, U = np.zeros((2, 3)), np.zeros(2)
    for k, sign in enumerate((1, -1)):
        state.positions[1, 2] += sign * 1e-4
        sim.forces.stale = True
        P[k], U[k] = sim.quantity("polarization")[0], sim.potential_energy()[0]
        state.positions[1, 2] -= sign * 1e-4
    assert (P[0] - P[1]) / 2e-4 == pytest.approx(Z[1, :, 2], abs=1e-8)
    potential, place = next(iter(sim.potentials.values())), state.positions[:4]
    strained = state.cells[0] @ (np.eye(3) + np.diag([0.03, 0.02, 0.0]))  # what TD-SCHA's exact averages know is the same P
    P0, slope = potential.polarization(place, np.eye(12), strained)
    state.cells[0] = strained
    sim.domain.invalidate()
    sim.forces.stale = True
    assert P0 == pytest.approx(sim.quantity("polarization")[0], abs=1e-10)
    assert slope == pytest.approx(sim.quantity("born_charges").transpose(1, 0, 2).reshape(3, 12), abs=1e-10)
    assert -(U[0] - U[1]) / 2e-4 == pytest.approx(forces[1, 2], abs=1e-6)


def test_averages_of_the_polynomial_are_right():
    """Closed-form averages against Gauss–Hermite quadrature in two dimensions, and after a shift and a projection."""
    rng = np.random.default_rng(2)
    t3, t4 = rng.normal(size=(2, 2, 2)), rng.normal(size=(2, 2, 2, 2))
    t3 = sum(t3.transpose(p) for p in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
    import itertools

    from potentials.polynomial import Polynomial

    t4 = sum(t4.transpose(p) for p in itertools.permutations(range(4)))
    poly = Polynomial.from_tensors(np.array([[1.0, 0.2], [0.2, 2.0]]), t3, t4, linear=np.array([0.3, -0.1]), constant=0.7)
    m, L = np.array([0.2, -0.3]), np.array([[0.5, 0.1], [0.0, 0.4]])
    A = L @ L.T
    z, w = np.polynomial.hermite_e.hermegauss(5)
    points = m + np.array([[a, b] for a in z for b in z]) @ L.T
    weights = np.array([a * b for a in w for b in w]) / (2 * np.pi)
    E, F = poly.evaluate(points)
    e, f, K = poly.averages(m, A)
    assert e == pytest.approx(weights @ E, abs=1e-12) and f == pytest.approx(weights @ F, abs=1e-12)
    assert pytest.approx(weights @ np.array([poly.hessian(p) for p in points]).reshape(25, 4)) == K.ravel()
    assert poly.shifted(m).evaluate(points - m)[0] == pytest.approx(E, abs=1e-12)
    B = rng.normal(size=(2, 3))
    v = rng.normal(size=(4, 3))
    there = poly.transformed(B)
    assert there.evaluate(v)[0] == pytest.approx(poly.evaluate(v @ B.T)[0], abs=1e-11)
    assert there.evaluate(v)[1] == pytest.approx(poly.evaluate(v @ B.T)[1] @ B, abs=1e-11)


def test_run_is_the_plain_propagation(tmp_path, monkeypatch):
    """Through files, domains and hooks the same numbers as with arrays alone."""
    sim = run(tmp_path / "a", monkeypatch, temperature=100.0)
    lattice = Lattice.load(tmp_path / "a/scha.h5")
    assert lattice.notes["converged"] and "free_energy_hessian" in lattice.notes
    c = lattice.coordinates()
    potential = ForceConstants(str(tmp_path / "a/model.h5"))
    polynomial, _ = potential.projected(c.reference, c.to_cartesian, lattice.cell)
    g = lattice.gaussian(c)
    propagate(g, SampledAverages(correlated_normals(40, c.size, 11), polynomial.evaluate), 1.0 * units.fs, 40)
    ours = sim.integrator.gaussian
    for k in "RPABG":
        assert getattr(ours, k) == pytest.approx(getattr(g, k), abs=1e-9)
    # SCHA is a stationary state of TD-SCHA, so what moved is within the self-consistency's tolerance
    assert np.abs(ours.R).max() < 1e-3
    bragg, diffuse = rows(tmp_path / "a", "scattering")[0]
    assert bragg[0] < 1e-6 * bragg[1] and 0.05 * bragg[1] > diffuse[1] > 0 and diffuse[0] > 0  # 4 0 0 is a Bragg spot
    E = rows(tmp_path / "a", "conserved")
    assert np.ptp(E) < 1e-7


@pytest.mark.parametrize("fixes", ["E", "D"])
def test_sampled_ensembles_approach_the_exact_run(tmp_path, monkeypatch, fixes):
    """In a pulse: centroid paths of 400 configurations and of the closed form agree; their energies are conserved."""
    field = FIELD + f'fixes = "{fixes}"'
    exact = run(tmp_path / "e", monkeypatch, copies=1, averages="exact", field=field, steps=80, timestep=1.0)
    sampled = run(tmp_path / "s", monkeypatch, copies=400, field=field, steps=80, timestep=1.0)
    a, b = rows(tmp_path / "e", "polarization"), rows(tmp_path / "s", "polarization")
    assert np.ptp(a[:, 0]) > 0.05
    assert np.abs(a - b).max() < 0.03 * np.ptp(a[:, 0])
    for folder, sim in (("e", exact), ("s", sampled)):
        E = rows(tmp_path / folder, "conserved")
        gained = rows(tmp_path / folder, "potential") + rows(tmp_path / folder, "kinetic")
        assert np.ptp(gained) > 0.01 and np.ptp(E) < 5e-3 * np.ptp(gained)
        # the engine's own conserved quantity counts the fluctuations from the start of the run: constant offset only
        start = np.trace(Lattice.load(tmp_path / folder / "scha.h5").gaussian(sim.integrator.coordinates).B) / 2
        shown = 0.0 if folder == "s" else rows(tmp_path / folder, "potential")[0]
        assert np.mean(sim.conserved()) + start + shown == pytest.approx(E[-1], abs=2e-4)


def test_displacement_stiffens_the_exact_averages(tmp_path, monkeypatch):
    """From a lattice file, D from the first step: energy, its ripple and stress in closed form are those of many samples."""
    found = {}
    for averages, copies in (("exact", 1), ("sampled", 500)):
        folder = tmp_path / averages
        folder.mkdir()
        write(folder)
        monkeypatch.chdir(folder)
        table = tomllib.loads(text(copies=copies, averages=averages, steps=60, more='lattice = "lattice.h5"',
                                   field='[[field]]\nkind = "constant"\nvector = [0.3, 0.1, 0]\nfixes = "D"'))
        table["stage"] = table["stage"][1:]
        job = Run(table, folder)
        assert job.execute(quiet=True) is None
        found[averages] = {name: rows(folder, name) for name in ("potential", "conserved", "stress", "polarization", "A")}
        assert np.ptp(found[averages]["conserved"]) < 1e-4
    exact, sampled = found["exact"], found["sampled"]
    assert np.ptp(exact["potential"]) > 0.01
    for name, values in exact.items():
        assert np.abs(values - sampled[name]).max() < 0.005 * np.abs(values).max(), name


@pytest.mark.parametrize("averages", ["exact", "sampled"])
def test_a_field_begins_after_the_scha(tmp_path, monkeypatch, averages):
    """The SCHA feels none, so a field acts from TD-SCHA on, whether `stages` says so or not; nothing is deposited at first."""
    field = '[[field]]\nkind = "constant"\nvector = [0.3, 0.1, 0]\n'
    copies = 1 if averages == "exact" else 20
    accounts = []
    for name, stages in (("all", ""), ("one", "stages = [1]")):
        sim = run(tmp_path / name, monkeypatch, copies=copies, averages=averages, field=field + stages, steps=0)
        accounts.append(sim.account.entries["field"])
        assert np.allclose(sim.electric.deposited(sim), 0, atol=1e-12)
    assert np.array_equal(*accounts)
    assert copies == 1 or np.abs(accounts[0]).max() > 1e-3


def test_field_work_is_second_order(tmp_path, monkeypatch):
    """Energy less ∫E·dP: its ripple falls with dt², for sampled averages."""
    ripple = []
    for k, dt in enumerate((2.0, 1.0)):
        run(tmp_path / f"{k}", monkeypatch, copies=40, field=FIELD, steps=round(100 / dt), timestep=dt)
        ripple.append(np.ptp(rows(tmp_path / f"{k}", "conserved")))
    assert np.log2(ripple[0] / ripple[1]) == pytest.approx(2.0, abs=0.35)


BONDS = """[potentials.lattice]
kind = "force-constants"
file = "model.h5"
[potentials.bonds]
kind = "polarizable-bonds"
cutoff = 4.0
[[potentials.bonds.bonds]]
pair = "Na-Cl"
charge = 0.9
parallel = 0.2
perpendicular = 0.1
length = 2.5
decay = 0.6
"""


def test_born_charges_of_the_configurations_are_averaged(tmp_path, monkeypatch):
    """Where charges hang on positions, the centroid feels <Z*>·E, not the charges at the centroid, and energy is conserved."""
    monkeypatch.setattr(f"{__name__}.INPUT", INPUT.replace('[potential]\nkind = "force-constants"\nfile = "model.h5"\n', BONDS))
    ripple = []
    for dt in (2.0, 1.0):
        sim = run(tmp_path / f"{dt}", monkeypatch, copies=40, field=FIELD, steps=round(80 / dt), timestep=dt)
        ripple.append(np.ptp(rows(tmp_path / f"{dt}", "conserved")))
    assert np.log2(ripple[0] / ripple[1]) == pytest.approx(2.0, abs=0.4)

    def at(strength):
        sim.forces.inputs.field = np.tile([[strength, 0.0, 0.0]], (40, 1))
        out = sim.forces.evaluate(frozenset({"forces", "born_charges"}), 0)
        rows = np.argsort(sim.state.tags[: sim.state.n])
        each = lambda x: x[rows].reshape(40, 4, *x.shape[1:])
        return each(out.forces[: sim.state.n]).mean(0), each(out.born_charges[: sim.state.n])

    (up, charges), (down, others) = at(0.01), at(-0.01)
    assert np.allclose((up - down) / 0.02, 0.5 * (charges + others).mean(0)[:, 0], atol=1e-8)
    sim.integrator.noise[:] = 0.0
    sim.integrator._place(sim)
    _, centroid = at(0.01)
    assert np.abs(charges.mean(0) - centroid.mean(0)).max() > 1e-3


def test_stresses_agree_in_equilibrium(tmp_path, monkeypatch):
    """Momentum flux and the published form are the same average at a SCHA minimum, exactly so in closed form."""
    run(tmp_path / "e", monkeypatch, copies=1, averages="exact", steps=1, temperature=200.0)
    flux, published = rows(tmp_path / "e", "stress")[0], rows(tmp_path / "e", "stress_published")[0]
    assert flux == pytest.approx(published, abs=1e-5) and np.abs(flux).max() > 0.02
    run(tmp_path / "s", monkeypatch, copies=400, steps=1, temperature=200.0)
    a, b = rows(tmp_path / "s", "stress")[0], rows(tmp_path / "s", "stress_published")[0]
    assert a == pytest.approx(b, abs=0.05 * np.abs(flux).max())
    assert a == pytest.approx(flux, abs=0.1 * np.abs(flux).max())


@pytest.mark.parametrize("stop", [7, 30])
def test_resume_is_bitwise(tmp_path, monkeypatch, stop):
    """Stopped inside the SCHA or inside the dynamics, the run goes on as if it had not been."""
    whole = run(tmp_path / "whole", monkeypatch, field=FIELD)
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder)
    monkeypatch.chdir(folder)
    job = Run(tomllib.loads(text(field=FIELD)), folder)
    opened = job.open_output

    def open_output(*arguments):
        opened(*arguments)
        job.simulation.attach(lambda s: setattr(s, "stop_reason", "test") if s.state.step == stop else None)

    job.open_output = open_output
    assert job.execute(quiet=True) == "test"
    again, tree = from_checkpoint(folder / "run.h5md")
    assert again.execute(quiet=True, tree=tree) is None
    for k in "RPABG":
        assert np.array_equal(getattr(whole.integrator.gaussian, k), getattr(again.simulation.integrator.gaussian, k))
    with h5py.File(tmp_path / "whole/run.h5md") as a, h5py.File(folder / "run.h5md") as b:
        for name in a["gaussian"]:
            assert np.array_equal(a["gaussian"][name][()], b["gaussian"][name][()]), name
        assert np.array_equal(a["gaussian_full/A"][()], b["gaussian_full/A"][()])


def test_classical_twin_and_fixed_spread(tmp_path, monkeypatch):
    """From the same input: a point follows −∂V alone; a fixed spread follows <f> with the initial A."""
    run(tmp_path / "c", monkeypatch, copies=2, field=FIELD, averages="exact", more='propagator = "classical"')
    A = rows(tmp_path / "c", "A")
    assert A[20:].max() == 0.0 and np.ptp(rows(tmp_path / "c", "conserved")) < 1e-3
    run(tmp_path / "f", monkeypatch, copies=2, field=FIELD, averages="exact", more='propagator = "fixed"')
    A = rows(tmp_path / "f", "A")
    assert np.ptp(A, axis=0).max() == 0.0
    assert np.abs(rows(tmp_path / "f", "R") - rows(tmp_path / "c", "R")).max() > 1e-4


def test_refusals(tmp_path, monkeypatch):
    def refused(match, change=lambda t: t, folder="r", **kind):
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        write(where)
        monkeypatch.chdir(where)
        with pytest.raises(InputError, match=match):
            Run(tomllib.loads(change(text(**kind))), where).execute(quiet=True, force=True)

    refused("too few for 9 modes.*at least 18", copies=10)
    refused("differ in their atoms", lambda t: t.replace('start = "lattice.h5"', 'start = "other.h5"') if other(tmp_path) else t)

    def charges(t):
        with h5py.File("model.h5", "a") as f:
            f["born"][0, 0, 0] += 0.01
        return t

    refused("Born charges sum to 0.01 e", charges, field=FIELD)


def other(tmp_path):
    lattice = Lattice.load(tmp_path / "r/lattice.h5")
    lattice.symbols = lattice.symbols[::-1]
    lattice.save(tmp_path / "r/other.h5")
    return True
