"""Fields that are linear in space: traps of ions, whose motion is known."""

import numpy as np
import pytest
from ase import Atoms

from engine import units
from engine.build import state_from_atoms
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.nve import NVE
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.fields import Constant, Quadrupole

CENTER = np.array([1.0, -2.0, 0.5])
MASS = 22.98976928


def ion(position, field, timestep, pbc=False, fields=()):
    state = state_from_atoms(Atoms("Na", positions=[position], cell=[20, 20, 20], pbc=pbc))
    state.masses[:] = MASS
    return Simulation(state, {"charge": FixedCharges({"Na": 1.0})}, NVE(timestep=timestep), fields=[field, *fields])


def test_steady_trap_is_an_oscillator_pushed_aside_by_a_uniform_field():
    k, push = 0.02, 0.01
    trap = Quadrupole(matrix=[[-k, 0, 0], [0, -k, 0], [0, 0, -k]], center=CENTER)
    sim = ion(CENTER + [1.0, 0, 0], trap, 0.5, fields=[Constant([0, push, 0])])
    omega = np.sqrt(k / MASS)
    steps = round(2 * np.pi / omega * 0.3 / (0.5 * units.fs))
    sim.run(steps)
    t = steps * 0.5 * units.fs
    expected = CENTER + [np.cos(omega * t), push / k * (1 - np.cos(omega * t)), 0]
    assert np.allclose(sim.state.positions[0], expected, atol=1e-5)


def test_forces_are_the_slope_of_the_enthalpy():
    G = np.array([[0.02, 0.01, -0.004], [0.01, -0.03, 0.005], [-0.004, 0.005, 0.01]])
    place = np.array([1.2, 0.3, -0.8])

    def at(position):
        sim = ion(position, Quadrupole(matrix=G, center=CENTER), 1.0)
        sim.electric.begin(sim)
        out = sim.forces(frozenset({"energy", "forces", "quadrupole"}))
        return float(out.energy[0]), out.forces[0].copy(), out.quadrupole[0].copy()

    _, force, Q = at(place)
    slope = [(at(place - h)[0] - at(place + h)[0]) / 2e-4 for h in 1e-4 * np.eye(3)]
    assert np.allclose(force, G @ (place - CENTER)) and np.allclose(slope, force, atol=1e-9)
    assert np.allclose(Q, np.outer(place, place))


def test_paul_trap_holds_what_mathieu_says_and_its_account_closes():
    """x'' = (k/m) cos(Ωt) x is stable for 2k/(mΩ²) < 0.908; conserved energy is of second order in the time step."""
    period = 400.0
    omega = 2 * np.pi / (period * units.fs)

    def trap(q):
        k = 0.5 * q * MASS * omega**2
        return Quadrupole(matrix=[[k, 0, 0], [0, -k, 0], [0, 0, 0]], period=period)

    for q, held, periods in ((0.8, True, 20), (1.0, False, 5)):
        sim = ion([0.1, 0.1, 0], trap(q), 2.0)
        reach = []
        sim.attach(lambda s, reach=reach: reach.append(np.abs(s.state.positions[0]).max()), every=10)
        sim.run(periods * 200)
        assert bool(max(reach) < 2.0) is held
    deviations = []
    for timestep in (4.0, 2.0):
        sim, values = ion([0.1, 0.2, 0], trap(0.5), timestep), []
        sim.attach(lambda s, values=values: values.append(s.conserved()[0]), needs={"energy"})
        sim.run(round(4000 / timestep))
        deviations.append(np.ptp(values))
    assert abs(sim.account.entries["field"][0]) > 1e-4
    assert deviations[0] / deviations[1] == pytest.approx(4, rel=0.25)


CELLS = {  # cell, periodic vectors, direction across which the field may change, direction along which it may not
    "plain": (np.diag([10.0, 10, 10]), [1, 0, 0], [0, 0.6, 0.8], [1, 0, 0]),
    "permuted": ([[0, 0, 10], [10, 0, 0], [0, 10, 0]], [1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]),
    "tilted": ([[6, 8, 0], [-1, 9, 0], [0, 3, 10]], [1, 0, 0], [0.8, -0.6, 0], [1, 0, 0]),
    "slab": ([[6, 8, 0], [1, 2, 9], [0, 3, 10]], [1, 0, 1], np.cross([6, 8, 0], [0, 3, 10]), [0, 0, 1]),
}


@pytest.mark.parametrize("case", CELLS)
def test_a_field_changes_across_the_cells_periodic_vectors_only(case):
    cell, periodic, across, along = CELLS[case]
    for direction, refused in ((across, False), (along, True)):
        u = np.array(direction) / np.linalg.norm(direction)
        state = state_from_atoms(Atoms("Na", positions=[[1, 1, 1]], cell=cell, pbc=periodic))
        sim = Simulation(state, {"charge": FixedCharges({"Na": 1.0})}, NVE(timestep=1.0),
                         fields=[Quadrupole(matrix=0.1 * np.outer(u, u))])
        if refused:
            with pytest.raises(InputError, match="periodic direction"):
                sim.run(1)
        else:
            sim.run(1)


def test_refusals():
    along_x = [[0.1, 0, 0], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(InputError, match="periodic direction"):
        ion([0, 0, 0], Quadrupole(matrix=along_x), 1.0, pbc=True).run(1)
    ion([0, 0, 0], Quadrupole(matrix=along_x), 1.0, pbc=[False, True, True]).run(1)
    with pytest.raises(InputError, match="symmetric"):
        Quadrupole(matrix=[[0, 0.1, 0], [0, 0, 0], [0, 0, 0]])
    bonds = PolarizableBonds([Bond("Na-Na", parallel=0.3, perpendicular=0.3, length=2.4)], cutoff=4.0)
    state = state_from_atoms(Atoms("Na2", positions=[[0, 0, 0], [0, 0, 2.4]], cell=[20, 20, 20]))
    with pytest.raises(InputError, match="'bonds' knows uniform fields only"):
        Simulation(state, {"bonds": bonds}, NVE(timestep=1.0), fields=[Quadrupole(matrix=along_x)]).run(1)
