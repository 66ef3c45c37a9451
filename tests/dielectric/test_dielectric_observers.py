"""Observers of polarization on matter whose answers are known: charges on springs, and a double well."""

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from plugins.dielectric.hysteresis import Hysteresis, crossing
from plugins.dielectric.permittivity import Permittivity, finite_field
from plugins.dielectric.spectra import WAVENUMBER, Conductivity, Infrared, Raman
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
    omega = 2 * np.pi * out["wavenumber"] / WAVENUMBER  # 1/ps
    line = np.sqrt(STIFFNESS / MASS) * units.fs * 1000
    k = np.argmax(out["absorption"].mean(0))
    assert omega[k] == pytest.approx(line, abs=1.05 * omega[1])  # the next bin at most
    area = (omega * out["epsilon_imaginary"].mean((0, 1))).sum() * omega[1]
    exact = 0.5 * np.pi * count * CHARGE**2 / (units.epsilon0 * LENGTH**3 * MASS) * (units.fs * 1000) ** 2
    assert area == pytest.approx(exact, rel=0.2)  # 90 oscillators for 8 ps, each known to its own noise
    strength, ratio = 2 * exact / np.pi, np.array([0.4, 2.0])  # the line's shape in phase: q²/(ε0 V m)/(ω0² − ω²)
    real = out["epsilon_real"].mean((0, 1))[np.searchsorted(omega, ratio * line)]
    assert real == pytest.approx(strength / line**2 / (1 - ratio**2), rel=0.25)
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
    start = sim.state.unwrapped().copy()
    sim.run(2 * 4000)
    out = hook.result(sim)
    centre = 1602.176634 * CHARGE * start[0, 2] / LENGTH**3  # P is counted from the origin
    loop = np.stack([out["field"].values, out["polarization"].values - centre])
    assert crossing(loop[1], loop[0]) == pytest.approx(100 * limit, rel=0.1)
    assert crossing(loop[0], loop[1]) == pytest.approx(1602.176634 * rest / LENGTH**3, rel=0.03)
    E = loop[0]
    assert abs(E.max() - 25) < 0.1 and abs(E.min() + 25) < 0.1


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
        power = hook.power()[1][0].sum(1)
        assert (power[0] > 0) == isotropic and (power[1] < 1e-12 * power.max()) == isotropic
        expected = 1.0 if isotropic else 3.0  # ½·3·(1 + 1)
        assert power.max() / (np.abs(np.fft.rfft((wave - wave.mean()) * np.hanning(257)[:-1])) ** 2).sum() == pytest.approx(
            expected * 0.004 / (np.hanning(257)[:-1] ** 2).sum())


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
    sim.potentials["bonds"] = PolarizableBonds([])
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
