"""Velocity Verlet and everything built on it: order, reversibility, restart, ramps, many systems, multiple time steps."""

import warnings

import numpy as np
import pytest
from ase.build import bulk

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.config.ramp import Ramp
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.bussi import Bussi
from integrators.cell_rescaling import CellRescaling
from integrators.langevin import Langevin
from integrators.nose_hoover import NoseHoover
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.morse import Morse

INTEGRATORS = {
    "nve": lambda **k: NVE(2.0, **k),
    "langevin": lambda **k: Langevin(2.0, 300.0, 0.02, **k),
    "bussi": lambda **k: Bussi(2.0, 300.0, 50.0, **k),
    "nose-hoover": lambda **k: NoseHoover(2.0, 300.0, 50.0, **k),
}
BAROSTATS = {
    "none": lambda: None,
    "isotropic": lambda: CellRescaling(0.5, 500.0, every=3),
    "flexible": lambda: CellRescaling([0.5, 0.0, 0.2, 0.1, 0.0, 0.0], 500.0, coupling="flexible", every=2),
}


def EAM():
    return ZhouEAM(cutoff=6.0)


def stiff():
    """A pair potential with about copper's nearest-neighbor curvature: the fast part of a two-level split."""
    return Morse(depth=0.35, alpha=1.4, r0=2.8, cutoff=4.5)


def copper(integrator, potentials=None, temperature=300.0, repeat=3, systems=1, seed=5, **more):
    state = state_from_atoms([bulk("Cu", cubic=True) * ((repeat,) * 3)] * systems)
    thermalise(state, temperature, seed)
    return Simulation(state, potentials or EAM(), integrator, seed=seed, **more)


def two_levels(integrator, every, weight=1.0, **more):
    """copper() split as small + (large − small)."""
    return copper(
        integrator,
        {"large": EAM(), "small": stiff()},
        every=[1, every],
        levels=[{"small": weight}, {"large": 1.0, "small": -weight}],
        **more,
    )


def ordered(simulation):
    """Unwrapped positions by tag."""
    state = simulation.state
    return state.unwrapped()[np.argsort(state.tags[: state.n])]


def turn_back(simulation, steps):
    """Run, reverse the velocities, run back; the largest distance from the start."""
    start = ordered(simulation)
    simulation.run(steps)
    away = np.abs(ordered(simulation) - start).max()
    simulation.state.velocities[:] *= -1
    simulation.run(steps)
    return away, np.abs(ordered(simulation) - start).max()


# -- velocity Verlet ------------------------------------------------------------------------------------------------------
def test_energy_error_is_of_second_order():
    """The total energy fluctuates with dt²: halving the step quarters it; and there is no drift beside it."""
    rms = []
    for dt in (4.0, 2.0):
        sim, rows = copper(NVE(dt)), []
        sim.attach(lambda s, rows=rows: rows.append(s.conserved()[0]), 1, {"energy"})
        sim.run(int(1000 / dt))
        rms.append(np.std(rows))
    assert 3.5 < rms[0] / rms[1] < 4.5
    assert abs(np.mean(rows[-100:]) - np.mean(rows[:100])) / sim.state.n < 2e-6


def test_momentum_is_conserved():
    for kind in ("nve", "bussi", "nose-hoover"):
        sim = copper(INTEGRATORS[kind]())
        sim.run(200)
        momentum = sim.state.masses @ sim.state.velocities
        assert np.abs(momentum).max() < 1e-9 * np.abs(sim.state.masses[:, None] * sim.state.velocities).sum()


def test_forward_and_back():
    """1000 steps of a 300 K crystal and back."""
    away, left = turn_back(copper(NVE(2.0), repeat=4), 1000)
    assert away > 0.1 and left < 1e-9


@pytest.mark.parametrize("chain, steps", [(1, 200), (3, 60)])
def test_nose_hoover_forward_and_back(chain, steps):
    """The chain turns round as well. (A longer one magnifies rounding by e in few steps: it stretches phase space.)"""
    sim = copper(NoseHoover(2.0, 300.0, 50.0, chain))
    start = ordered(sim)
    sim.run(steps)
    away = np.abs(ordered(sim) - start).max()
    sim.state.velocities[:] *= -1
    sim.integrator.rates *= -1
    sim.run(steps)
    assert away > 0.1 and np.abs(ordered(sim) - start).max() < 1e-10


def test_nose_hoover_conserves_its_own_energy():
    """K + U + the chain's energy is conserved; the account of heat says the same, differently counted."""
    sim, rows = copper(NoseHoover(1.0, 400.0, 40.0), temperature=300.0), []
    chain = sim.integrator
    sim.attach(
        lambda s: rows.append(
            [
                s.kinetic_energy()[0] + s.potential_energy()[0] + chain.reservoir(s)[0],
                np.sum(s.account.total()) + chain.reservoir(s)[0],
                chain.reservoir(s)[0],
            ]
        ),
        10,
        {"energy"},
    )
    sim.run(2000)
    total, difference, reservoir = np.array(rows).T
    assert np.ptp(reservoir) > 1.0  # eV: it does exchange energy
    assert np.ptp(total) < 5e-3 * np.ptp(reservoir)
    assert np.ptp(difference) < 1e-4 * np.ptp(reservoir)


# -- all ensembles ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("barostat", BAROSTATS)
@pytest.mark.parametrize("kind", INTEGRATORS)
@pytest.mark.parametrize("every", [1, 3])
def test_restart_is_bitwise(kind, barostat, every):
    """With ramps, several systems, barostats and levels: 7 + 8 steps equal 15, bit for bit."""
    if kind == "nve" and barostat != "none":
        pytest.skip("a barostat needs a temperature")

    def make():
        integrator = INTEGRATORS[kind](barostat=BAROSTATS[barostat]())
        if kind != "nve":
            integrator.temperature = Ramp(300.0, 600.0)
        return two_levels(integrator, every, systems=2, repeat=2)

    whole = make()
    whole.begin_stage(0, 15)
    whole.proceed()
    half = make()
    half.begin_stage(0, 15)
    half.attach(lambda s: setattr(s, "stop_reason", "enough") if s.state.step == 7 else None)
    half.proceed()
    rest = make()
    tree = half.state_dict()
    tree["hooks"] = {}
    rest.load_state_dict(tree)
    rest.proceed()
    assert rest.state.step == whole.state.step == 15
    for name in ("positions", "velocities", "tags", "images"):
        assert np.array_equal(getattr(rest.state, name)[: rest.state.n], getattr(whole.state, name)[: rest.state.n]), name
    assert np.array_equal(rest.state.cells, whole.state.cells)
    assert np.array_equal(rest.account.total(), whole.account.total())


@pytest.mark.parametrize("kind", [k for k in INTEGRATORS if k != "nve"])
@pytest.mark.parametrize("barostat", BAROSTATS)
def test_what_is_put_in_is_counted(kind, barostat):
    """Total energy less the account stays within the step's error while a ramp heats by many times that."""
    integrator = INTEGRATORS[kind](barostat=BAROSTATS[barostat]())
    integrator.temperature, integrator.timestep = Ramp(300.0, 900.0), 1.0
    sim, rows = copper(integrator, repeat=4), []
    sim.attach(lambda s: rows.append([s.conserved()[0], np.sum(s.account.total())]), 10, {"energy"})
    sim.run(600)
    conserved, given = np.array(rows).T / sim.state.n
    assert np.ptp(given) > 0.03
    assert np.ptp(conserved) < 6e-5


def test_ramps_and_systems_reach_their_temperatures():
    """{ systems = [..] } gives each its own; a ramp ends where it says."""
    sim = copper(Langevin(2.0, Ramp([200.0, 600.0], [200.0, 600.0]), 0.1), systems=2, temperature=400.0)
    mean = []
    sim.attach(lambda s: mean.append(s.temperature()))
    sim.run(400)
    np.testing.assert_allclose(np.mean(mean[100:], axis=0), [200, 600], rtol=0.05)
    sim = copper(Langevin(2.0, Ramp(100.0, 700.0), 0.2))
    assert sim.integrator.at(sim, Ramp(0.0, 1.0))[0] == 0.5  # a stage of no length: its middle
    sim.begin_stage(0, 100)
    assert sim.integrator.at(sim, sim.integrator.temperature)[0] == pytest.approx(100 + 600 * 0.005)


def test_systems_do_not_know_of_each_other():
    """Two systems in one state move as the first alone does (their noise differs by replica, so the first is compared)."""
    both, alone = (copper(INTEGRATORS["langevin"](), systems=s, repeat=2) for s in (2, 1))
    both.run(30)
    alone.run(30)
    np.testing.assert_allclose(ordered(both)[:32], ordered(alone), atol=1e-10)
    assert np.abs(ordered(both)[32:] - ordered(alone)).max() > 1e-3


# -- multiple time steps -------------------------------------------------------------------------------------------------------
def test_two_levels_of_every_step_are_velocity_verlet():
    """k = 1: 1000 steps of a 300 K crystal, to 1e-10 relative."""
    one, two = copper(NVE(2.0)), two_levels(NVE(2.0), 1)
    one.run(1000)
    two.run(1000)
    cell = one.state.cells[0, 0, 0]
    assert np.abs(ordered(one) - ordered(two)).max() < 1e-10 * cell
    assert two.conserved()[0] == pytest.approx(one.conserved()[0], rel=1e-10)


def test_two_levels_turn_back():
    sim = two_levels(NVE(2.0), 4, repeat=4)
    away, left = turn_back(sim, 250)
    assert away > 0.1 and left < 1e-9
    assert sim.state.time / units.fs == pytest.approx(2 * 250 * 8.0)


def test_three_levels_nest():
    """Nothing but order: 1, 2 and 6 steps with two empty-handed levels give velocity Verlet of the first."""
    potentials = {"a": EAM(), "b": stiff()}
    sim = copper(NVE(2.0), potentials, every=[1, 2, 6], levels=[{"a": 1.0}, {"b": 0.0}, {"b": 0.0}])
    plain = copper(NVE(2.0))
    sim.run(10)
    plain.run(60)
    np.testing.assert_allclose(ordered(sim), ordered(plain), atol=1e-11)


def test_outer_step_error_is_of_second_order():
    rms = []
    for every in (8, 4):
        sim, rows = two_levels(NVE(1.0), every), []
        sim.attach(lambda s, rows=rows: rows.append(s.conserved()[0]), 1, {"energy"})
        sim.run(800 // every)
        rms.append(np.std(rows))
    assert 3.0 < rms[0] / rms[1] < 5.0


def test_langevin_on_two_levels_has_the_temperature():
    """Inner noise is drawn afresh in every inner step: with shared noise the temperature would be off by far."""
    sim, rows = two_levels(Langevin(2.0, 500.0, 0.05), 4, temperature=500.0, systems=4), []
    sim.attach(lambda s: rows.append(s.temperature().mean()))
    sim.run(300)
    assert np.mean(rows[50:]) == pytest.approx(500.0, rel=0.02)


def test_levels_that_cannot_be():
    with pytest.raises(InputError, match="names the potential 'medium'"):
        copper(NVE(2.0), {"a": EAM()}, every=[1, 2], levels=[{"a": 1.0}, {"medium": 1.0}])
    with pytest.raises(InputError, match="whole multiple"):
        copper(NVE(2.0), {"a": EAM()}, every=[1, 2, 3], levels=[{"a": 1.0}] * 3)
    with pytest.raises(InputError, match="256"):
        two_levels(NVE(0.01), 300)
    with pytest.raises(InputError, match="timestep"):
        copper(NVE(-1.0))


def test_atoms_at_rest_cannot_be_scaled_to_a_temperature():
    for kind in ("bussi", "nose-hoover"):
        sim = copper(INTEGRATORS[kind](), temperature=0.0, repeat=2)
        with pytest.raises(InputError, match="at rest"):
            sim.run(1)


def test_barostat_refusals():
    with pytest.raises(InputError, match="temperature"):
        copper(NVE(2.0, barostat=CellRescaling(0.0)))
    state = state_from_atoms(bulk("Cu", cubic=True) * (2, 2, 2))
    state.periodic[:] = False
    with pytest.raises(InputError, match="periodic"):
        Simulation(state, EAM(), Langevin(2.0, 300.0, 0.01, barostat=CellRescaling(0.0)))


# -- resonance ------------------------------------------------------------------------------------------------------------------
def test_resonance_of_one_oscillator():
    """Fast and slow springs on independent atoms: instability sets in where it is predicted, not before."""
    from ensembles import Springs, oscillators

    from integrators import resonance

    fast, slow, mass = 4.0, 0.6, 20.0
    omega, kappa = np.sqrt(fast / mass), slow / mass
    limit = resonance.longest_step(omega, kappa)
    growth = {}
    for share in (0.97, 1.03):
        inner = share * limit / 100 / units.fs
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sim = oscillators(2, 300.0, None, mass=mass)
            sim = Simulation(
                sim.state,
                {"fast": Springs(fast), "slow": Springs(slow)},
                NVE(inner),
                skin=500.0,
                levels=[{"fast": 1.0}, {"slow": 1.0}],
                every=[1, 100],
            )
        assert bool(caught) == (share > 1)
        found = resonance.estimate(sim, inner)[0]
        assert found.limit == pytest.approx(limit / units.fs, rel=1e-3)
        assert found.period == pytest.approx(2 * np.pi / omega / units.fs, rel=1e-3)
        before = sim.kinetic_energy() + sim.potential_energy()
        sim.run(90)  # before the run's own check would end it
        growth[share] = float((sim.kinetic_energy() + sim.potential_energy() - before)[0] / before[0])
    assert growth[0.97] < 3 and growth[1.03] > 100


def test_lanczos_finds_the_top_of_coppers_spectrum():
    """About 7.5 THz in this potential: the zone-boundary modes of a supercell, against its whole Hessian."""
    from integrators import resonance

    sim = copper(NVE(2.0), repeat=2, temperature=0.001)
    sim.forces.all_levels()
    found = resonance.largest_curvature(sim, [0], iterations=25)
    state, n, h = sim.state, sim.state.n, 1e-3
    x0, rows = state.positions[:n].copy(), []
    for i in range(n):
        for d in range(3):
            pair = []
            for sign in (1, -1):
                x = x0.copy()
                x[i, d] += sign * h
                state.set("positions", x)
                pair.append(sim.forces().forces[:n].copy())
            rows.append(-(pair[0] - pair[1]).ravel() / (2 * h))
    exact = np.linalg.eigvalsh(np.array(rows) / state.masses[0]).max()
    assert found == pytest.approx(exact, rel=5e-3)
    assert 6.5 < np.sqrt(found) * units.fs * 1000 / (2 * np.pi) < 8.5
