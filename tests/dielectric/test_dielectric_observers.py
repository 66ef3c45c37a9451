"""Observers of polarization on matter whose answers are known: charges on springs, and a double well."""

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.config import plugins
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from plugins.dielectric.hysteresis import Hysteresis, crossing
from plugins.dielectric.permittivity import Permittivity, finite_field
from plugins.dielectric.spectra import Conductivity, Infrared, Raman, current
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.fields import Constant, Sine

STIFFNESS, MASS, CHARGE, LENGTH = 4.0, 20.0, 1.3, 12.0


@dataclass
class Well(Potential):
    """Σ ½ k |u|² + ¼ c u_z⁴ about the first places."""

    stiffness: tuple = (STIFFNESS, STIFFNESS, STIFFNESS)
    fourth: float = 0.0

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none")

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        n, x, k = atoms.n, atoms.unwrapped(), np.array(self.stiffness)
        if not hasattr(self, "places"):
            self.places = np.empty_like(x)
            self.places[atoms.tags[:n]] = x
        u = x - self.places[atoms.tags[:n]]
        out.forces[:n] -= k * u
        out.forces[:n, 2] -= self.fourth * u[:, 2] ** 3
        if "energy" in needs:
            each = 0.5 * (k * u * u).sum(1) + 0.25 * self.fourth * u[:, 2] ** 4
            out.energy += np.bincount(atoms.system[:n], each, atoms.n_systems)
        if "virial" in needs:
            out.virial += 0.0


def ions(count, temperature, seed=1, systems=1, **options):
    atoms = Atoms(f"Na{count}", cell=[LENGTH] * 3, pbc=True, scaled_positions=np.random.default_rng(seed).random((count, 3)))
    state = state_from_atoms([atoms] * systems)
    state.masses[:], state.charges[: state.n] = MASS, CHARGE
    thermalise(state, temperature, seed)
    fields = options.pop("fields", [])
    return Simulation(state, {"well": Well(**options), "charges": FixedCharges()}, fields=fields, seed=seed)


@pytest.mark.parametrize("source", ["polarization", "current"])
def test_infrared_peak_and_sum_rule(source):
    """∫ ω Im ε dω = (π/2) Σ q²/(ε0 V m) for any harmonic solid, and one line at √(k/m)."""
    count, systems = 4, 30
    sim = ions(count, 300, systems=systems)
    hook = Infrared(every=4, block=1024, source=source)
    sim.hooks.append(hook)
    sim.set_integrator(Langevin(timestep=1.0, temperature=300, friction=0.002))
    sim.run(500 + 4 * 1024)
    out = {name: series.values for name, series in hook.result(sim).items()}
    omega = 2 * np.pi * 0.0299792458 * out["wavenumber"]  # 1/ps
    line = np.sqrt(STIFFNESS / MASS) * units.fs * 1000
    k = np.argmax(out["absorption"].mean(0))
    assert omega[k] == pytest.approx(line, abs=1.05 * omega[1])  # the next bin at most
    area = (omega * out["epsilon_imaginary"].mean((0, 1))).sum() * omega[1]
    exact = 0.5 * np.pi * count * CHARGE**2 / (units.epsilon0 * LENGTH**3 * MASS) * (units.fs * 1000) ** 2
    assert area == pytest.approx(exact, rel=0.2)  # 90 oscillators for 8 ps, each known to its own noise
    strength, ratio = 2 * exact / np.pi, np.array([0.4, 2.0])  # the line's shape in phase: q²/(ε0 V m)/(ω0² − ω²)
    real = out["epsilon_real"].mean((0, 1))[np.searchsorted(omega, ratio * line)]
    assert real - 1 == pytest.approx(strength / line**2 / (1 - ratio**2), rel=0.25)
    speed = 0.0299792458  # of light, cm/ps: n α = ω Im ε/c, of which the field of light sees a third along each axis
    assert np.allclose(out["absorption"], omega * out["epsilon_imaginary"].mean(1) / speed)
    x = 6.582119569e-4 * omega[k] / (units.kB * hook.sums[0] / hook.samples)
    assert np.allclose(out["absorption_uncorrected"][:, k] / out["absorption"][:, k], -np.expm1(-x) / x)


def test_permittivity_by_fluctuation_and_by_field():
    """ε − 1 = Σ q²/(k ε0 V), whatever the temperature."""
    count = 8
    exact = 1 + count * CHARGE**2 / (STIFFNESS * units.epsilon0 * LENGTH**3)
    sim = ions(count, 300)
    hook = Permittivity(every=7)
    sim.hooks.append(hook)
    sim.set_integrator(Langevin(timestep=2.0, temperature=300, friction=0.03))
    sim.run(8000)
    out = hook.result(sim)
    found, error = np.diag(out["static"].values).mean(), np.diag(out["static_error"].values).mean() / np.sqrt(3)
    assert error < 0.12 * (exact - 1)
    assert abs(found - exact) < 3 * error + 0.005 * exact
    ends = []
    for sign in (1, -1):
        sim = ions(count, 1e-6, fields=[Constant([0, 0, 0.05 * sign])])
        sim.set_integrator(Langevin(timestep=3.0, temperature=0.0, friction=0.05))
        sim.run(400)
        ends.append(sim.quantity("polarization")[0])
    assert finite_field(*ends, np.array([0, 0, 0.05]), LENGTH**3)[2] == pytest.approx(exact, rel=1e-5)


def test_hysteresis_of_a_double_well():
    """Slow field, hardly any heat: P turns where the well vanishes, |E| = (2a/3q) √(a/3c); at E = 0 it is q √(a/c)."""
    a, c = 1.0, 4.0
    limit, rest = 2 * a / (3 * CHARGE) * np.sqrt(a / (3 * c)), CHARGE * np.sqrt(a / c)
    field = Sine(amplitude=0.25, period=8000.0, phase=90)
    sim = ions(1, 1e-3, stiffness=(STIFFNESS, STIFFNESS, -a), fourth=c, fields=[field])
    sim.state.masses[:] = 1.0
    hook = Hysteresis(every=2, period=8000.0, points=200)
    sim.hooks.append(hook)
    sim.set_integrator(Langevin(timestep=2.0, temperature=0.01, friction=0.02))
    middle = 1602.176634 * CHARGE * sim.state.unwrapped()[0, 2] / LENGTH**3  # P is counted from the origin
    sim.run(2 * 4000)
    out = {name: series.values for name, series in hook.result(sim).items()}
    assert out["coercive_field"] == pytest.approx(100 * limit, rel=0.1)
    assert out["remanence"] == pytest.approx(1602.176634 * rest / LENGTH**3, rel=0.03)
    assert out["middle"] == pytest.approx(middle, abs=0.02 * out["remanence"])
    E = out["field"]
    assert abs(E.max() - 25) < 0.1 and abs(E.min() + 25) < 0.1


def driven(hook, periods, **options):
    """A stiff spring in a field that begins in the second stage, after 200 fs, at its largest value."""
    field = Sine(amplitude=0.2, period=400.0, phase=90, stages=[1], **options)
    sim = ions(1, 1e-3, fields=[field])
    sim.hooks.append(hook)
    sim.set_integrator(Langevin(timestep=1.0, temperature=0.0, friction=0.015))
    sim.run(200)
    sim.stage = 1
    sim.run(round(400 * periods))
    return {name: series.values for name, series in hook.result(sim).items()}


@pytest.mark.parametrize("start", [0.0, 100.0])
def test_a_loop_begins_with_its_field(start):
    """What is looked at before is in no bin; charges on a spring have no remanence, wherever the origin is."""
    hook = Hysteresis(every=2, period=400.0, points=20)
    out = driven(hook, 2.5, start=start)
    assert hook.loops[0, 0, :, 0].min() >= 9 and hook.loops[0, 0, :, 0].max() <= 10
    angle = 2 * np.pi * (np.arange(20) + 0.5) / 20
    assert np.allclose(out["field"], 20 * np.cos(angle), atol=0.4)
    largest = np.abs(out["polarization"]).max()
    assert largest > 0.05 and abs(out["middle"]) > 5 * largest
    assert out["remanence"] < 0.3 * largest


def test_a_run_without_a_loop_says_so(capsys):
    assert driven(Hysteresis(every=2, period=400.0, points=20), 1) == {}
    assert "no full period of 400 fs after the first 1 (skip)" in capsys.readouterr().out


SINE = dict(amplitude=0.2, period=400.0)


@pytest.mark.parametrize("hook, field, complaint", [
    (Hysteresis(period=300.0), Sine(**SINE), "period = 300 fs is no whole multiple of the field's 400 fs"),
    (Hysteresis(period=0.0), Sine(**SINE), "must be positive"),
    (Hysteresis(period=400.0, every=10), Sine(**SINE), "points = 40 at most"),
    (Hysteresis(period=400.0, every=2, direction=(0, 0, 0)), Sine(**SINE), "not all zero"),
    (Hysteresis(period=400.0), Constant([0, 0, 0.1]), "no \\[\\[field\\]\\] changes in time"),
    (Hysteresis(period=400.0, stages=[0]), Sine(stages=[1], **SINE), "no \\[\\[field\\]\\] changes in time"),
    (Permittivity(), Sine(**SINE), "no fluctuation"), (Infrared(), Sine(**SINE), "no fluctuation"),
    (Conductivity(), Constant([0, 0, 0.1]), "in which there are no fields"),
    (Permittivity(), Constant([0, 0, 0.1], fixes="D"), "prescribes the displacement"),
    (Infrared(), Constant([0, 0, 0.1], fixes="D"), "prescribes the displacement"),
    (Conductivity(), Constant([0, 0, 0.1], fixes="D"), "prescribes the displacement"),
])
def test_what_would_be_wrong_is_refused(hook, field, complaint):
    sim = ions(1, 300, fields=[field])
    sim.hooks.append(hook)
    sim.set_integrator(NVE(timestep=1.0))
    with pytest.raises(InputError, match=complaint):
        sim.run(1)


def test_permittivity_after_a_pulse():
    """A field that changes in another stage is no obstacle, nor is one that does not change."""
    sim = ions(1, 300, fields=[Sine(stages=[0], **SINE), Constant([0, 0, 0.1])])
    sim.hooks.append(Permittivity(stages=[1]))
    sim.set_integrator(NVE(timestep=1.0))
    assert sim.run(1) == 1


def test_current_is_the_derivative_along_the_velocities():
    """Σ Z*·v of bonds that cross the boundaries, in a field; nothing is left of the displaced atoms."""
    rng = np.random.default_rng(3)
    atoms = Atoms("Na4Cl4", cell=[6.0, 6.2, 6.4], pbc=True, scaled_positions=rng.random((8, 3)))
    state = state_from_atoms([atoms, atoms])
    thermalise(state, 300, 1)
    bonds = PolarizableBonds([Bond("Na-Cl", charge=0.8, parallel=0.3, perpendicular=0.1, length=2.4)], cutoff=4.0)
    sim = Simulation(state, {"bonds": bonds}, NVE(timestep=1.0), fields=[Constant([0.1, 0, 0.2])])
    sim.run(2)
    Z, v, before = sim.quantity("born_charges"), state.velocities[: state.n], state.positions.copy()
    expected = state.sum_by_system(np.einsum("nab,nb->na", Z, v)) * 1000 * units.fs
    assert np.allclose(current(sim), expected, rtol=0, atol=2e-4 * np.abs(expected).max())
    assert np.array_equal(state.positions, before) and not sim.forces.stale


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_error_bars_of_few_blocks(blocks, capsys):
    """No block: a line; one: an error that is not known; more: one for every series."""
    sim = ions(2, 300)
    sim.hooks.append(hook := Infrared(every=1, block=64))
    sim.set_integrator(NVE(timestep=1.0))
    sim.run(max(64 * blocks, 40))
    out = {name: series.values for name, series in hook.result(sim).items()}
    assert ("there is no spectrum yet" in capsys.readouterr().out) == (blocks == 0)
    errors = [name for name in out if name.endswith("_error")]
    assert len(errors) == (4 if blocks else 0) and 2 * len(errors) + bool(blocks) == len(out)
    for name in errors:
        assert np.isnan(out[name]).all() if blocks == 1 else (np.abs(out[name]) < np.abs(out[name[:-6]]).max()).all()


@pytest.mark.parametrize("block", [1, 2, 9])
def test_blocks_that_have_no_spectrum(block):
    with pytest.raises(InputError, match="block"):
        plugins.check(Infrared(block=block))


def test_crossing():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    assert crossing(np.sin(angle - 0.3), np.sin(angle)) == pytest.approx(np.sin(0.3), rel=1e-3)
    assert np.isnan(crossing(np.ones(5), np.arange(5)))


def test_raman_of_a_breathing_trace():
    """A polarizability that oscillates as a multiple of one is isotropic, a sheared one anisotropic."""
    hook = Raman(every=1, block=256)
    hook.interval = 0.004
    t = np.arange(256) * 0.004
    wave = np.cos(2 * np.pi * 10 * t)
    for matrix, isotropic in ((np.eye(3), True), (np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]]), False)):
        hook.blocks, hook.buffer = 0, wave[:, None, None] * matrix.reshape(1, 1, 9)
        hook._transform()
        power = hook.power()[0][0, :2].sum(1)
        assert (power[0] > 0) == isotropic and (power[1] < 1e-12 * power.max()) == isotropic
        expected = 1.0 if isotropic else 3.0  # ½·3·(1 + 1)
        assert power.max() / (np.abs(np.fft.rfft((wave - wave.mean()) * np.hanning(257)[:-1])) ** 2).sum() == pytest.approx(
            expected * 0.004 / (np.hanning(257)[:-1] ** 2).sum())


def test_raman_has_the_quantum_correction():
    """45 ā² + 7 γ² times x/(1 − e^−x), which is one at zero frequency."""
    hook = Raman(every=1, block=8)
    hook.interval = 0.002
    mean, kT = np.ones((1, 3, 5)), np.full((1, 1), 0.025)
    out = hook.spectra(mean, 0 * mean, kT, None)
    x = 6.582119569e-4 * hook.omega / 0.025
    assert out["isotropic"].values.shape[-1] == 5 and out["isotropic"].values.ravel()[0] == 1.0
    assert np.allclose(out["unpolarised"].values.ravel()[1:], x[1:] / (1 - np.exp(-x[1:])))


def test_conductivity_of_free_ions():
    """Ions that only feel friction: σ(ω) = n q²/(m γ)/(1 + ω²/γ²)."""
    count, friction = 6, 0.02
    sim = ions(count, 300, systems=40, stiffness=(0.0, 0.0, 0.0))
    hook = Conductivity(every=2, block=1024)
    sim.hooks.append(hook)
    sim.set_integrator(Langevin(timestep=2.0, temperature=300, friction=friction))
    sim.run(2 * 1024)
    sigma = hook.result(sim)["conductivity"].values.mean(0)
    exact = count * CHARGE**2 / (LENGTH**3 * MASS * friction) * units.fs**2 * 1000 * 1602.176634
    assert sigma[0] == pytest.approx(exact, rel=0.3)
    omega = 2 * np.pi * hook.result(sim)["frequency"].values / 1000  # 1/fs
    low = omega < 1.5 * friction
    assert sigma[low].mean() == pytest.approx((exact / (1 + (omega[low] / friction) ** 2)).mean(), rel=0.1)


def test_conductivity_is_refused_for_a_polarization_of_the_structure():
    sim = ions(2, 300)
    sim.potentials["bonds"] = PolarizableBonds([Bond("Na-Na")])
    sim.potentials["bonds"].bind(["Na"])
    with pytest.raises(InputError, match="no direct current"):
        Conductivity().start(sim)


def test_polarization_of_a_local_model_does_not_jump_at_the_boundary():
    """Atoms that are carried through the cell: charges take P along, bonds come back to where they were."""
    atoms = Atoms("NaCl", positions=[[0, 0, 0], [0, 0.4, 2.2]], cell=[8.0, 8, 8], pbc=True)
    bonds = PolarizableBonds([Bond("Na-Cl", charge=0.5, parallel=0.2, length=2.4)])
    sim = Simulation(state_from_atoms(atoms), {"bonds": bonds, "charges": FixedCharges({"Na": 1.0, "Cl": 0.0})})
    start = sim.quantity("polarization")[0].copy()
    step, last = np.array([0.0, 0.13, 0.3]), start
    for _ in range(59):
        sim.state.positions[: sim.state.n] += step
        sim.domain.invalidate()
        sim.forces.stale = True
        P = sim.quantity("polarization")[0].copy()
        assert np.allclose(P - last, step, atol=1e-10)  # of the one charged atom; the bond's does not change
        last = P
    assert sim.state.images.any()


def test_columns_of_the_thermo_table():
    from engine.output.columns import COLUMNS

    sim = ions(3, 300, fields=[Sine(amplitude=0.05, period=100)])
    sim.set_integrator(NVE(timestep=0.5))
    sim.run(200)
    value = lambda name: float(COLUMNS[name].value(sim)[0])
    assert value("polarization_z") == pytest.approx(float(sim.quantity("polarization")[0, 2]))
    assert value("field_z") == pytest.approx(sim.fields[0].value(100.0)[2])
    matter = sim.kinetic_energy() + sim.potential_energy() + (sim.electric.at(sim.state) * sim.quantity("polarization")).sum(1)
    first = sim.conserved()  # K + F at the start: the field was zero there
    assert value("deposited") == pytest.approx(float((matter - first)[0]), abs=2e-4)
