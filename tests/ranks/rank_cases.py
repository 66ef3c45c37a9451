"""What is run on 1, 2, 3, 4 ranks and must come out the same: ``mpiexec -n N python -m rank_cases FILE [NAMES]``
runs all of them, once.

A case is a function of the communicator that returns arrays in the order of tags (on rank 0).
"""

import pickle
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from conftest import rattled, sheared
from rank_tools import ALL, evaluated, ordered

from engine.build import state_from_atoms, thermalise
from engine.parallel import world
from engine.simulation import Simulation
from integrators.bussi import Bussi
from integrators.cell_rescaling import CellRescaling
from integrators.fire import FIRE
from integrators.langevin import Langevin
from integrators.nose_hoover import NoseHoover
from integrators.nve import NVE
from integrators.replica_exchange import ReplicaExchange
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "potentials")]  # of the contract tests
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def copper(repeat=(5, 5, 5), amplitude=0.1):
    return rattled(bulk("Cu", cubic=True) * repeat, amplitude)


def argon(repeat=4, amplitude=0.3):
    return rattled(bulk("Ar", cubic=True, a=5.4).repeat(repeat), amplitude)


def lj():
    return LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5, truncation="shifted")


@case
def lj_forces(comm):
    return evaluated(comm, lj(), argon())


@case
def lj_triclinic(comm):
    return evaluated(comm, lj(), sheared(argon(3)))


@case
def lj_cutoff_beyond_the_box(comm):
    return evaluated(comm, lj(), sheared(argon(1)))


def neighbors_of(atoms, distance):
    """Pairs of atoms closer than `distance`, by number."""
    from ase.neighborlist import neighbor_list

    i, j = neighbor_list("ij", atoms, distance)
    return np.unique(np.sort(np.stack([i, j], 1)[i != j], 1), axis=0)


@case
def lj_excluded_pairs(comm):
    atoms = sheared(argon(3))
    return evaluated(comm, lj(), atoms, exclusions=neighbors_of(atoms, 4.0))


@case
def lj_excluded_pairs_in_a_small_box(comm):
    """Other images of excluded pairs are within the cutoff, and stay."""
    atoms = sheared(argon(1))
    return evaluated(comm, lj(), atoms, exclusions=[(0, 1), (3, 1), (2, 0)])


@case
def lj_slab(comm):
    atoms = argon(3)
    atoms.pbc = True, True, False
    return evaluated(comm, lj(), atoms)


@case
def lj_cluster_without_a_cell(comm):
    atoms = argon(3)
    return evaluated(comm, lj(), Atoms(atoms.symbols, atoms.positions))


@case
def two_atoms(comm):
    return evaluated(comm, lj(), Atoms("Ar2", [[1, 1, 1], [4.6, 1.2, 0.9]], cell=[12, 13, 14], pbc=True))


@case
def one_atom(comm):
    return evaluated(comm, lj(), Atoms("Ar", [[1, 1, 1]], cell=[[6, 0, 0], [1, 6, 0], [0, 2, 5]], pbc=True))


@case
def eam_forces(comm):
    return evaluated(comm, ZhouEAM(), copper((4, 4, 4)))


@case
def eam_triclinic_alloy(comm):
    atoms = sheared(copper((3, 3, 4)))
    atoms.symbols[::3] = "Ni"
    return evaluated(comm, ZhouEAM(), atoms)


@case
def several_systems(comm):
    images = [copper((2, 2, 2)), sheared(copper((3, 2, 2))), copper((1, 1, 2)), copper((2, 3, 2)), copper((1, 1, 1))]
    return evaluated(comm, ZhouEAM(), images)


def with_half_of_the_ghosts(name, potential, structure):
    """On several ranks only those ghosts whose pairs half lists count; on one rank all of them."""

    def run(comm):
        return evaluated(comm, potential(), structure(), half=comm.size > 1)

    CASES[name] = run


with_half_of_the_ghosts("half_lj_triclinic", lj, lambda: sheared(argon(3)))
with_half_of_the_ghosts("half_lj_cutoff_beyond_the_box", lj, lambda: sheared(argon(1)))
with_half_of_the_ghosts("half_two_atoms", lj, lambda: Atoms("Ar2", [[1, 1, 1], [4.6, 1.2, 0.9]], cell=[12, 13, 14], pbc=True))
with_half_of_the_ghosts("half_without_a_cell", lj, lambda: Atoms("Ar108", argon(3).positions))
with_half_of_the_ghosts("half_eam", ZhouEAM, lambda: sheared(copper((3, 3, 4))))
with_half_of_the_ghosts("half_several_systems", ZhouEAM,
                        lambda: [copper((2, 2, 2)), sheared(copper((3, 2, 2))), copper((1, 1, 1))])


def trajectory(comm, atoms, potential, integrator, steps, temperature, seed=11, by="counted", **options):
    state = state_from_atoms(atoms)
    thermalise(state, temperature, seed)
    simulation = Simulation(state, potential, integrator, seed=seed, comm=comm, **options)
    if comm.size > 1:
        simulation.domain.balance.by = by
    before = simulation.conserved()
    simulation.run(steps)
    drift = simulation.conserved() - before
    pressure = simulation.pressure_tensor()
    state = simulation.state
    rebuilds = simulation.domain.rebuilds
    return {**ordered(comm, state, {"unwrapped": state.unwrapped(), "velocities": state.velocities}),
            "energy": simulation.potential_energy(), "drift": drift, "pressure": pressure,
            "temperature": simulation.temperature(), "cells": state.cells.copy(), "rebuilds": np.array(rebuilds)}


@case
def copper_nve(comm):
    return trajectory(comm, bulk("Cu", cubic=True) * (6, 5, 5), ZhouEAM(), NVE(timestep=2.0), 400, 600, skin=0.5)


@case
def copper_langevin(comm):
    integrator = Langevin(timestep=2.0, temperature=300, friction=0.01)
    return trajectory(comm, bulk("Cu", cubic=True) * (4, 4, 4), ZhouEAM(), integrator, 1000, 300, skin=0.3)


@case
def balanced_by_the_clock(comm):
    return trajectory(comm, bulk("Cu", cubic=True) * (4, 4, 3), ZhouEAM(), NVE(timestep=4.0), 150, 1200, skin=0.2, by="clock")


@case
def melt(comm):
    """Disordered copper, where any difference grows: 50 steps only."""
    return trajectory(comm, copper((4, 4, 4), 0.35), ZhouEAM(), NVE(timestep=1.0), 50, 2500, skin=0.4)


def ensemble(name, integrator, **options):
    def run(comm):
        return trajectory(comm, copper((3, 3, 3), 0.05), ZhouEAM(), integrator(), 60, 500, skin=0.4, **options)

    CASES[name] = run


ensemble("nose_hoover", lambda: NoseHoover(timestep=2.0, temperature=500, time=60.0))
ensemble("bussi_flexible_cell", lambda: Bussi(
    timestep=2.0, temperature=500, time=50.0, barostat=CellRescaling(pressure=0.5, time=200.0, coupling="flexible", every=5)))


@case
def relaxation_of_atoms_and_cell(comm):
    return trajectory(comm, sheared(copper((2, 2, 2), 0.05), amplitude=0.02), ZhouEAM(), FIRE(cell="flexible"), 40, 0, skin=0.4)


@case
def replica_exchange(comm):
    """Four systems at four temperatures, on ranks of their own, that swap."""
    temperatures = [800.0, 850.0, 900.0, 960.0]
    state = state_from_atoms([copper((1, 1, 2), 0.05) for _ in temperatures])
    thermalise(state, np.array(temperatures), 3)
    exchange = ReplicaExchange(every=5)
    integrator = Langevin(timestep=1.0, temperature={"systems": temperatures}, friction=0.01)
    simulation = Simulation(state, ZhouEAM(), integrator, seed=4, updaters=[exchange], comm=comm, skin=0.5)
    simulation.run(60)
    assert exchange.accepted.sum() > 3
    state = simulation.state
    return {**ordered(comm, state, {"unwrapped": state.unwrapped(), "system": state.system[: state.n]}),
            "walkers": exchange.walkers, "energy": simulation.potential_energy(), "drift": simulation.conserved()}


@case
def message_passing_network(comm):
    import toy_network

    atoms = sheared(copper((2, 3, 3)))
    atoms.symbols[::3] = "Ni"
    state, rows, sums = toy_network.evaluated(comm, atoms)
    return {**ordered(comm, state, rows), **sums}


@case
def message_passing_network_with_idle_ranks(comm):
    import toy_network

    state, rows, sums = toy_network.evaluated(comm, rattled(bulk("Cu") * (2, 1, 1), 0.2))
    return {**ordered(comm, state, rows), **sums}


@contextmanager
def elsewhere():
    """As if tensors were on a device whose memory the halo does not share."""
    from plugins import torch_halo

    kept = torch_halo.shares_memory
    torch_halo.shares_memory = lambda tensor: False
    try:
        yield
    finally:
        torch_halo.shares_memory = kept


@case
def message_passing_network_on_a_device(comm):
    with elsewhere():
        return message_passing_network(comm)


@case
def message_passing_network_on_devices_with_idle_ranks(comm):
    with elsewhere():
        return message_passing_network_with_idle_ranks(comm)


def registered():
    """Every registered potential that has a contract test is a case of its own, on a cell of two in each direction."""
    import test_contract

    def make(potential, structure):
        def run(comm):
            provided, atoms = potential(), structure().repeat((2, 2, 2))
            atoms.rattle(0.02, seed=3)
            provided.bind(sorted(set(atoms.get_chemical_symbols())))
            return evaluated(comm, potential(), atoms, needs=ALL & provided.capabilities().provides)

        return run

    return {f"registered {name}": make(potential, structure) for name, (potential, structure, _) in test_contract.CASES.items()}


REGISTERED = registered()
CASES |= REGISTERED


@case
def ions_in_a_pulse(comm):
    """Fixed charges, Born charges and polarizable bonds on a neutral argon lattice, with the field's account."""
    from potentials.dielectric import FixedCharges
    from potentials.dielectric_bonds import Bond, PolarizableBonds
    from potentials.dielectric_born import FixedBornCharges
    from potentials.fields import GaussianPulse

    atoms = bulk("Ar", cubic=True, a=5.4).repeat(3)
    atoms.symbols[::2] = "Kr"
    charges = {"Ar": -0.5, "Kr": 0.5}
    potentials = {"core": LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5, truncation="shifted"),
                  "charges": FixedCharges(charges), "born": FixedBornCharges(charges),
                  "bonds": PolarizableBonds([Bond("Ar-Kr", charge=0.1, parallel=0.2, perpendicular=0.1, fourth=0.3)])}
    pulse = GaussianPulse(amplitude=0.05, center=60, width=20, period=80, direction=[1, 1, 2])
    return trajectory(comm, atoms, potentials, NVE(timestep=2.0), 100, 60, fields=[pulse], skin=0.4)


def main(path, *names):
    comm = world()
    results = {name: CASES[name](comm) for name in names or CASES}
    if comm.rank == 0:
        with open(path, "wb") as file:
            pickle.dump(results, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
