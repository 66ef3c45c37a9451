"""Copper on any number of ranks: ``mpiexec -n N python -m copper_4000 FILE`` (or without mpiexec); see test_copper.py.

A crystal of 4000 atoms at 300 K for 1000 steps of 2 fs with Langevin noise, and a melt for 50 steps of 1 fs.
"""

import pickle
import sys

from ase.build import bulk
from conftest import rattled
from rank_tools import evaluated, ordered

from engine.build import state_from_atoms, thermalise
from engine.parallel import world
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM

CELLS = 10


def trajectory(comm, atoms, integrator, steps, temperature, skin):
    """Unwrapped positions and velocities, in the order of tags, and the total energy."""
    state = state_from_atoms(atoms)
    thermalise(state, temperature, 11)
    simulation = Simulation(state, ZhouEAM(), integrator, seed=11, comm=comm, skin=skin)
    simulation.run(steps)
    energy = simulation.potential_energy() + simulation.kinetic_energy()
    rows = ordered(comm, state, {"positions": state.unwrapped(), "velocities": state.velocities})
    return {**rows, "energy": energy, "rebuilds": simulation.domain.rebuilds}


def crystal(comm):
    atoms = bulk("Cu", cubic=True) * (CELLS, CELLS, CELLS)
    return trajectory(comm, atoms, Langevin(timestep=2.0, temperature=300, friction=0.01), 1000, 300, 0.3)


def disordered():
    return rattled(bulk("Cu", cubic=True) * (CELLS, CELLS, CELLS), 0.35)


def melt(comm):
    return trajectory(comm, disordered(), NVE(timestep=1.0), 50, 2500, 0.4)


def forces(comm):
    return evaluated(comm, ZhouEAM(), disordered())


def everything(comm):
    return {"crystal": crystal(comm), "melt": melt(comm), "forces": forces(comm)}


if __name__ == "__main__":
    comm = world()
    found = everything(comm)
    if comm.rank == 0:
        with open(sys.argv[1], "wb") as file:
            pickle.dump(found, file)
