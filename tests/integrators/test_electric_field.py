"""Fields in molecular dynamics: the account closes at second order in the time step, in every ensemble."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import virial_by_strain
from scipy.interpolate import CubicSpline

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.contracts import Field
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.bussi import Bussi
from integrators.cell_rescaling import CellRescaling
from integrators.langevin import Langevin
from integrators.nose_hoover import NoseHoover
from integrators.nve import NVE
from integrators.operators import scale
from integrators.stress import exponential
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.fields import Constant, GaussianPulse, Ramp, Sine
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse

MORSE = dict(depth=1.0, alpha=1.3, r0=2.4, cutoff=8.0, truncation="force-shifted")
PULSE = dict(amplitude=0.3, center=120, width=25, period=95.0, direction=[0, 1, 1])
FIELDS = {
    "constant": lambda: Constant([0, 0.1, 0.2]),
    "ramp": lambda: Ramp(last=[0.1, 0.05, 0.3], start=40.7, end=150.3),
    "pulse": lambda: GaussianPulse(**PULSE),
    "sine": lambda: Sine(amplitude=0.1, period=97.0, phase=90, direction=[0, 1, 2]),
}


def molecule(systems=1, temperature=100):
    """A polar, polarizable molecule that turns and vibrates, alone in each system."""
    one = Atoms("NaCl", positions=[[0, 0, 0], [0, 0.3, 2.5]], cell=[20, 20, 20], pbc=True)
    state = state_from_atoms([one] * systems)
    thermalise(state, temperature, 1)
    return state


def bonds():
    return PolarizableBonds(
        [Bond("Na-Cl", charge=0.8, parallel=0.3, perpendicular=0.1, fourth=0.3, length=2.4, decay=3.0)], cutoff=8.0)


def potentials():
    return {"core": Morse(**MORSE), "bonds": bonds()}


def run(simulation, steps, value=lambda s: s.conserved()[0]):
    """`value` before and after every step."""
    values = []
    simulation.attach(lambda s: values.append(np.array(value(s))), needs={"energy"})
    simulation.run(steps)
    return np.array(values)


def deviation(field, timestep, time=200.0, levels=None, every=None):
    sim = Simulation(molecule(), potentials(), levels=levels, every=every, fields=[field])
    sim.set_integrator(NVE(timestep=timestep))
    conserved = run(sim, round(time / timestep / (every or [1])[-1]))
    return np.abs(conserved - conserved[0]).max(), sim


@pytest.mark.parametrize("kind", FIELDS)
def test_conserved_quantity_is_of_second_order_in_the_time_step(kind):
    coarse, sim = deviation(FIELDS[kind](), 1.0)
    fine, _ = deviation(FIELDS[kind](), 0.5)
    assert coarse < 3e-5
    assert coarse / fine == pytest.approx(4.0, rel=0.1)
    if kind != "constant":
        assert np.abs(sim.account.entries["field"]).max() > 1e-3  # there was work to count


def test_time_steps_of_two_lengths_count_their_own_work():
    levels, every = [{"core": 1}, {"bonds": 1}], [1, 4]
    coarse, _ = deviation(FIELDS["pulse"](), 0.5, levels=levels, every=every)
    fine, _ = deviation(FIELDS["pulse"](), 0.25, levels=levels, every=every)
    assert coarse < 5e-5 and coarse / fine == pytest.approx(4.0, rel=0.15)
    levels = [{"bonds": 1}, {"core": 1}]  # the fast level holds the field
    assert deviation(FIELDS["pulse"](), 0.5, levels=levels, every=[1, 2])[0] < 3e-5


def test_no_drift():
    """Fifty periods, 10 000 steps: the account's error is that of one period."""
    field = Sine(amplitude=0.02, period=200.0, direction=[0, 1, 2])
    sim = Simulation(molecule(), potentials(), NVE(timestep=1.0), fields=[field])
    values = []
    sim.attach(lambda s: values.append(s.conserved()[0]), every=20, needs={"energy"})
    sim.run(10000)
    values = np.array(values)
    early, late = values[:100], values[-100:]
    assert np.ptp(values) < 1e-4
    assert abs(late.mean() - early.mean()) < 0.2 * max(np.ptp(early), np.ptp(late))


LONG = {
    "constant": lambda: Constant([0, 0.01, 0.02]),
    "ramp": lambda: Ramp(first=[0, 0.005, 0.01], last=[0.01, 0, 0.02], end=100e3),
    "pulse": lambda: GaussianPulse(amplitude=0.02, center=50e3, width=15e3, period=200.0, direction=[0, 1, 2]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG)
def test_no_drift_in_a_hundred_thousand_steps(kind):
    """What a straight line through the conserved energy gains in the whole run, against its ripple."""
    sim = Simulation(molecule(), potentials(), NVE(timestep=1.0), fields=[LONG[kind]()])
    values = []
    sim.attach(lambda s: values.append(s.conserved()[0]), every=20, needs={"energy"})
    sim.run(100_000)
    gained = np.polyfit(np.linspace(0, 1, len(values)), values, 1)[0]
    print(f"{kind}: ripple {np.ptp(values):.2g} eV, drift {gained:.1g} eV")
    assert np.ptp(values) < 2e-5 and abs(gained) < 2e-8
    assert kind == "constant" or abs(sim.account.entries["field"][0]) > 5e-5


THERMOSTATS = {"bussi": lambda timestep: Bussi(timestep=timestep, temperature=300, time=50.0),
               "nose-hoover": lambda timestep: NoseHoover(timestep=timestep, temperature=300, time=50.0)}


@pytest.mark.parametrize("thermostat", THERMOSTATS)
@pytest.mark.parametrize("field", [FIELDS["pulse"](), Sine(amplitude=0.1, period=97.0, fixes="D")], ids=["E", "D"])
def test_thermostats_leave_the_account_of_second_order(thermostat, field):
    """Over sixteen molecules, for chance is not the same in steps of another length."""
    deviations = []
    for timestep in (1.0, 0.5):
        sim = Simulation(molecule(16, 300), potentials(), THERMOSTATS[thermostat](timestep), fields=[field], seed=3)
        conserved = run(sim, round(200 / timestep), lambda s: s.conserved())
        deviations.append(np.sqrt(np.mean((conserved - conserved[0]) ** 2)))
        for entry in ("field", "thermostat"):
            assert np.abs(sim.account.entries[entry]).max() > 0.01
    assert deviations[0] < 2e-5 and deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.25)


def test_energy_left_by_a_pulse_is_the_work_integral():
    """Against ∫E·dP by a spline through P(t), which knows nothing of the account."""
    # times from −100 fs: the whole pulse lies inside the run, so that E·P vanishes at both ends
    sim = Simulation(molecule(), potentials(), NVE(timestep=0.05), fields=[GaussianPulse(**{**PULSE, "width": 16})])
    times, P, energy, told = [], [], [], []

    def look(s):
        times.append(s.state.time / units.fs)
        P.append(s.quantity("polarization")[0].copy())
        energy.append((s.kinetic_energy() + s.potential_energy())[0])
        told.append(s.electric.deposited(s)[0])

    sim.attach(look, needs={"energy", "polarization"})
    sim.run(4800)
    t, P = np.array(times), np.array(P)
    field = np.array([sim.fields[0].value(x) for x in t])
    integral = float(CubicSpline(t, (field * CubicSpline(t, P)(t, 1)).sum(1)).integrate(t[0], t[-1]))
    assert abs(integral) > 1e-3
    assert told[-1] == pytest.approx(integral, abs=1e-6 * abs(integral) + 2e-9)
    assert energy[-1] - energy[0] == pytest.approx(integral, abs=5e-8)


def crystal():
    """A close-packed crystal, every other atom of which is charged one way and the rest the other; 800 Å³."""
    state = state_from_atoms(bulk("Ar", "fcc", a=5.25, cubic=True).repeat((2, 2, 1)))
    state.charges[: state.n] = np.where(np.arange(state.n) % 2, 0.7, -0.7)
    thermalise(state, 100, 3)
    return state


def charged():
    return {"core": LennardJones(epsilon=0.05, sigma=3.4, cutoff=7.0, truncation="force-shifted"), "charges": FixedCharges()}


@pytest.mark.parametrize("field", [Constant([0, 0.02, 0.05]), Sine(amplitude=0.05, period=150.0, direction=[1, 0, 1])],
                         ids=["constant", "sine"])
def test_thermostat_and_barostat_in_a_field(field):
    """Heat, the cell's work and the field's work all counted: what is left does not drift."""
    sim = Simulation(crystal(), charged(), fields=[field], seed=5)
    sim.set_integrator(Langevin(timestep=1.0, temperature=100, friction=0.01,
                                barostat=CellRescaling(pressure=0.0, time=300, compressibility=0.3, every=5)))
    start = sim.state.volume[0]
    conserved = run(sim, 1000)
    assert abs(sim.state.volume[0] / start - 1) > 0.002  # the cell has moved
    half = len(conserved) // 2
    assert np.ptp(conserved) < 1e-3
    assert abs(conserved[half:].mean() - conserved[:half].mean()) < 2e-4


def test_moving_cell_holds_the_voltages():
    state = crystal()
    sim = Simulation(state, charged(), NVE(timestep=1.0), fields=[Constant([0.01, 0.02, 0.03])])
    sim.run(1)
    begin = state.cells[0] @ [0.01, 0.02, 0.03]
    state.cells = state.cells @ (np.eye(3) + np.array([[0.02, 0.01, 0], [0, -0.03, 0], [0.004, 0, 0.05]]))
    assert np.allclose(state.cells[0] @ sim.electric.at(state)[0], begin, atol=1e-14)


def test_field_across_an_open_direction_stays_what_it_is():
    atoms = bulk("Ar", "fcc", a=5.25, cubic=True)
    atoms.pbc = [True, True, False]
    atoms.set_initial_charges([0.7, -0.7, 0.7, -0.7])
    sim = Simulation(state_from_atoms(atoms), charged(), NVE(timestep=1.0), fields=[Constant([0.01, 0.02, 0.03])])
    sim.run(1)
    sim.state.cells[0, 2] *= 1.3
    assert np.allclose(sim.electric.at(sim.state)[0], [0.01, 0.02, 0.03], atol=1e-14)
    sim.state.cells[0, 0] *= 1.1
    assert np.allclose(sim.electric.at(sim.state)[0], [0.01 / 1.1, 0.02, 0.03], atol=1e-14)


def test_prescribed_displacement():
    """U is conserved, E belongs to D, and the polarizable molecule feels its own depolarizing field."""
    D = Constant([0.0, 0.05, 0.1], fixes="D")
    deviations = []
    for timestep in (1.0, 0.5):
        sim = Simulation(molecule(), potentials(), NVE(timestep=timestep), fields=[D])
        conserved = run(sim, round(150 / timestep))
        deviations.append(np.abs(conserved - conserved[0]).max())
    assert deviations[0] < 3e-5 and deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.15)
    E, P = sim.electric.solutions[-1, 0], sim.quantity("polarization")[0]
    assert np.allclose(units.epsilon0 * E + P / sim.state.volume[0], units.epsilon0 * np.array([0.0, 0.05, 0.1]), atol=1e-13)
    pulse = GaussianPulse(**PULSE, fixes="D")
    deviations = []
    for timestep in (1.0, 0.5):
        sim = Simulation(molecule(), potentials(), NVE(timestep=timestep), fields=[pulse])
        conserved = run(sim, round(200 / timestep))
        deviations.append(np.abs(conserved - conserved[0]).max())
        assert abs(sim.account.entries["field"][0]) > 1e-4
    assert deviations[0] < 5e-5 and deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.15)


class Piston:
    """A barostat without chance: the cell's strain is a function of time; accounts as ``CellRescaling`` does."""

    every = 1

    def start(self, integrator, simulation):
        self.rate = 1e-3 * np.array([[1.0, 0.4, 0], [0.4, -0.5, 0.2], [0, 0.2, 1.5]])

    def open(self, simulation):
        self.virial = np.array(simulation.forces.total("virial"))

    def apply(self, simulation, integrator):
        t, dt = simulation.state.time / units.fs, integrator.step_length
        self.strain = self.rate * np.sin(2 * np.pi * t / 40.0) * dt
        before = simulation.kinetic_energy()
        scale(simulation.state, exponential(self.strain[None]))
        simulation.account.add("barostat", simulation.kinetic_energy() - before, 1)

    def close(self, simulation):
        mean = 0.5 * (self.virial + simulation.forces.total("virial"))
        simulation.account.add("barostat", -np.einsum("sab,ab->s", mean, self.strain), 1)


IN_A_MOVING_CELL = {
    "constant E": lambda: [Constant([0.1, 0.3, 0.5])],
    "pulse of E": lambda: [GaussianPulse(**PULSE), Constant([0.1, 0.0, 0.2])],
    "constant D": lambda: [Constant([0.1, 0.3, 0.5], fixes="D")],
    "pulse of D": lambda: [GaussianPulse(**{**PULSE, "amplitude": 1.0}, fixes="D"), Constant([0.1, 0.0, 0.2], fixes="D")],
}


@pytest.mark.parametrize("kind", IN_A_MOVING_CELL)
@pytest.mark.parametrize("levels", [None, [{"core": 1}, {"bonds": 1}]], ids=["one", "two"])
def test_account_in_a_cell_that_moves(kind, levels):
    """Energy less the cell's and the field's work is conserved to second order in the time step."""
    deviations = []
    for timestep in (0.5, 0.25):
        state = molecule()
        state.cells *= 0.4  # a small cell, whose field energy matters
        sim = Simulation(state, potentials(), levels=levels, every=[1, 3] if levels else None,
                         fields=IN_A_MOVING_CELL[kind]())
        integrator = NVE(timestep=timestep)
        integrator.barostat = Piston()
        sim.set_integrator(integrator)
        conserved = run(sim, round(160 / integrator.step_length))
        deviations.append(np.abs(conserved - conserved[0]).max())
        assert np.abs(sim.account.entries["barostat"]).max() > 1e-3
        assert "constant" in kind or np.abs(sim.account.entries["field"]).max() > 1e-2
    assert deviations[0] < 3e-4 and deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.2)


def test_thermostat_and_barostat_at_a_displacement():
    """The crystal's dipole makes a field of more than 1 V/Å, whose energy shears the cell: eight electronvolts of work."""
    sim = Simulation(crystal(), {**charged(), "bonds": arbitrary_bonds()}, fields=[Constant([0, 0.02, 0.05], fixes="D")], seed=5)
    barostat = CellRescaling(pressure=0.0, time=300, compressibility=0.3, coupling="flexible", every=1)
    sim.set_integrator(Langevin(timestep=1.0, temperature=100, friction=0.01, barostat=barostat))
    conserved = run(sim, 600)
    assert sim.account.entries["barostat"][0] < -5.0
    half = len(conserved) // 2
    assert np.ptp(conserved) < 1.5e-3
    assert abs(conserved[half:].mean() - conserved[:half].mean()) < 1e-4


def arbitrary_bonds():
    return PolarizableBonds([Bond("Ar-Ar", charge=0.0, parallel=0.3, perpendicular=0.1, length=3.7, decay=1.0)], cutoff=7.0)


def test_virial_at_a_displacement_is_the_slope_of_the_energy():
    """At a fixed charge through the cell's faces; the cell is not the one in which the displacement began."""
    state = molecule()
    state.cells *= 0.4
    sim = Simulation(state, potentials(), NVE(timestep=1.0), fields=[Constant([0.1, 0.3, 0.5], fixes="D")])
    sim.run(1)
    cells = state.cells.copy()
    virial, found = virial_by_strain(sim, np.array([[0.03, 0.01, 0.0], [-0.02, 0.04, 0.0], [0.01, 0.0, -0.02]]), 1e-5)
    flux = state.volume[0] * np.linalg.solve(state.cells[0].T, sim.electric.at(state)[0])
    assert np.allclose(flux, np.linalg.det(cells[0]) * np.linalg.solve(cells[0].T, [0.1, 0.3, 0.5]), atol=1e-12)
    assert np.allclose(found, virial, atol=2e-7)
    assert np.allclose(virial, virial.T, atol=1e-10)


def test_levels_at_a_displacement_add_up_to_one():
    """Also where a level corrects another, each with a polarization of its own."""
    small = PolarizableBonds([Bond("Na-Cl", charge=0.5, parallel=0.1, perpendicular=0.1, length=2.4)], cutoff=8.0)
    found = []
    for levels in (None, [{"core": 1}, {"bonds": 1}], [{"small": 1, "core": 1}, {"bonds": 1, "small": -1}]):
        every = [1, 2] if levels else None
        sim = Simulation(molecule(), {**potentials(), "small": small}, levels=levels or [{"core": 1, "bonds": 1}], every=every,
                         fields=IN_A_MOVING_CELL["constant D"](), integrator=None)
        sim.set_integrator(NVE(timestep=0.5))
        sim.begin_stage(0, 1)
        sim.proceed()
        sim.state.positions[:2] = [[0, 0, 0], [0.1, 0.4, 2.6]]
        sim.forces.stale = True
        sim.potential_energy()
        found.append([sim.quantity(name) for name in ("energy", "forces", "polarization", "virial")])
        found[-1].append(sim.electric.inside(sim.state))
    for other in found[1:]:
        for a, b in zip(found[0], other):
            assert np.allclose(a, b, atol=1e-11)
    coarse, _ = displaced(small, 0.5)
    fine, _ = displaced(small, 0.25)
    assert coarse < 3e-5 and coarse / fine == pytest.approx(4.0, rel=0.2)


def displaced(small, timestep, time=150.0):
    levels, every = [{"small": 1, "core": 1}, {"bonds": 1, "small": -1}], [1, 2]
    sim = Simulation(molecule(), {**potentials(), "small": small}, levels=levels, every=every,
                     fields=[GaussianPulse(**PULSE, fixes="D")])
    sim.set_integrator(NVE(timestep=timestep))
    conserved = run(sim, round(time / timestep / 2))
    return np.abs(conserved - conserved[0]).max(), sim


def test_forces_at_displacement_are_the_slope_of_the_energy():
    state = molecule()
    sim = Simulation(state, potentials(), NVE(timestep=1.0), fields=[Constant([0.0, 0.05, 0.1], fixes="D")])
    sim.run(3)
    force = sim.quantity("forces")[1].copy()
    for axis in range(3):
        energies = []
        for h in (1e-4, -1e-4):
            state.positions[1, axis] += h
            sim.forces.stale = True
            energies.append(sim.potential_energy()[0])
            state.positions[1, axis] -= h
        assert -(energies[0] - energies[1]) / 2e-4 == pytest.approx(force[axis], abs=1e-6)


@pytest.mark.parametrize("fields", [[FIELDS["pulse"]()], [Sine(amplitude=0.1, period=97.0, fixes="D")]], ids=["E", "D"])
def test_restart_is_no_restart(fields):
    def fresh():
        return Simulation(molecule(), potentials(), Langevin(timestep=1.0, temperature=100, friction=0.01), fields=fields, seed=7)

    whole = fresh()
    whole.run(200)
    first = fresh()
    first.begin_stage(0, 200)
    first.attach(lambda s: setattr(s, "stop_reason", "half" if s.state.step else None), every=90)
    first.proceed()
    first.hooks.clear()
    second = fresh()
    second.load_state_dict(first.state_dict())
    second.proceed()
    assert second.state.step == 200
    assert np.array_equal(whole.state.positions, second.state.positions)
    assert np.array_equal(whole.account.entries["field"], second.account.entries["field"])
    assert np.array_equal(whole.electric.deposited(whole), second.electric.deposited(second))


def test_switching_between_stages_is_work_done_at_fixed_atoms():
    field = Constant([0, 0.1, 0.2])
    field.stages = [1]
    sim = Simulation(molecule(), potentials(), NVE(timestep=0.5), fields=[field])
    sim.run(20)
    before = sim.conserved()[0]
    assert sim.account.total() == 0.0
    sim.stage = 1
    sim.run(20)
    assert sim.account.entries["field"][0] != 0.0
    assert sim.conserved()[0] == pytest.approx(before, abs=1e-5)
    sim.stage = 2
    sim.run(20)
    assert np.allclose(sim.electric.at(sim.state), 0)
    assert sim.conserved()[0] == pytest.approx(before, abs=1e-5)


def test_a_displacement_may_grow_in_a_later_stage():
    fields = [Constant([0, 0, 0.05], fixes="D"), Constant([0, 0.1, 0.2], fixes="D", stages=[1])]
    sim = Simulation(molecule(), potentials(), NVE(timestep=0.5), fields=fields)
    conserved = []
    for sim.stage in range(3):
        conserved.append(run(sim, 20))
    assert abs(sim.account.entries["field"][0]) > 1e-4
    assert np.ptp(np.concatenate(conserved)) < 1e-5


class Resting(NVE):
    """Moves atoms as if there were no field."""

    feels_fields = False


@pytest.mark.parametrize("fixes", ["E", "D"])
def test_a_field_begins_where_it_is_felt(fixes):
    """Before, there is no field, and not D = 0 either; switching it on is work, and nothing has been deposited yet."""
    sim = Simulation(molecule(), potentials(), Resting(timestep=0.5), fields=[Constant([0, 0.1, 0.2], fixes=fixes)])
    first, free = run(sim, 10), Simulation(molecule(), potentials(), NVE(timestep=0.5))
    assert np.allclose(run(free, 10), first, atol=1e-13) and not sim.account.entries
    assert not sim.electric.inside(sim.state).any() and not sim.electric.deposited(sim).any()
    energy = sim.potential_energy()[0]
    sim.set_levels()
    sim.set_integrator(NVE(timestep=0.5))
    sim.begin_stage(1, 0)
    sim.proceed()
    gained = sim.electric.deposited(sim)[0]
    E, P = sim.electric.inside(sim.state)[0], sim.quantity("polarization")[0]
    matter = bonds_alone(sim, E) + E @ P - bonds_alone(sim, np.zeros(3))
    assert gained == pytest.approx(matter, abs=1e-9) and sim.potential_energy()[0] != energy
    assert np.abs(np.append(first, run(sim, 20)) - first[0]).max() < 1e-5
    sim.set_integrator(Resting(timestep=0.5))  # and ends where it is not
    assert np.abs(run(sim, 20) - first[0]).max() < 1e-5 and not sim.electric.inside(sim.state).any()


def bonds_alone(sim, E):
    """F of the bonds in a field E."""
    found = Simulation(state_from_atoms(sim.atoms()), {"bonds": bonds()}, fields=[Constant(E)])
    found.electric.begin(found)
    return float(found.potential_energy()[0])


def test_nothing_is_done_without_a_field():
    sim = Simulation(molecule(), potentials(), NVE(timestep=0.5))
    sim.run(2)
    assert sim.electric is None and "polarization" not in sim.forces.outputs[0]
    sim = Simulation(molecule(), potentials(), NVE(timestep=0.5), fields=[Constant([0, 0, 0.1])])
    sim.run(2)
    assert "polarization" not in sim.forces.outputs[0]  # no work in a field that stays


def test_refusals():
    with pytest.raises(InputError, match="no potential takes one"):
        Simulation(molecule(), Morse(**MORSE), NVE(timestep=1.0), fields=[Constant([0, 0, 1])]).run(1)
    with pytest.raises(InputError, match="some prescribe E and some D"):
        Simulation(molecule(), potentials(), fields=[Constant([0, 0, 1]), Constant([0, 0, 1], fixes="D")])
    for stages in ([0], [1]):  # before a run of several stages has got anywhere
        with pytest.raises(InputError, match="D = 0 is not the same as no field"):
            Simulation(molecule(), potentials(), fields=[Constant([0, 0, 0.1], fixes="D", stages=stages)])


def test_a_plain_field_of_a_plugin_needs_a_value_only():
    class Step(Field):
        def value(self, time):
            return np.array([0.0, 0.0, 0.1 if time > 50.2 else 0.0])

    coarse, sim = deviation(Step(), 1.0)
    assert abs(sim.account.entries["field"][0]) > 0.01
    assert coarse < 5e-3  # a jump inside a step cannot be better than first order
