"""A large crystal on a few ranks: bytes an atom, and seconds a step (weak scaling when run with 1, 2, 4, ... ranks).

    mpiexec -n 2 python -m benchmarks.ranks_memory [--cells 136] [--steps 5]

Lennard-Jones, 4·cells³ atoms for each rank (136: ten million). Every rank makes its own slab, nobody holds the whole.
"""

import argparse
import time

import numpy as np

from engine.build import thermalise
from engine.memory import peak
from engine.parallel import world
from engine.simulation import Simulation
from engine.state import State
from integrators.nve import NVE
from potentials.pair.lennard_jones import LennardJones

BASIS = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=136)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    comm, m, a = world(), given.cells, 3.405 * (4 / 0.8442) ** (1 / 3)
    base = peak()
    n = 4 * m**3
    state = State(n, a * np.diag([m, m, m * comm.size]), [True] * 3, ["Ar"])
    corner = np.stack(np.meshgrid(*[np.arange(m)] * 3, indexing="ij"), -1).reshape(-1, 1, 3) + [0, 0, m * comm.rank]
    state.set("positions", (a * (corner + BASIS + 0.25)).reshape(-1, 3))
    state.set("tags", np.arange(n) + n * comm.rank)
    state.set("masses", 39.95)
    state.comm = comm  # each rank has its share already
    thermalise(state, 85.0, 1)
    simulation = Simulation(state, LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5), NVE(timestep=5.0), comm=comm, skin=1.0)
    before = simulation.conserved()
    start = time.perf_counter()
    simulation.run(given.steps)
    seconds = (time.perf_counter() - start) / max(given.steps, 1)
    drift = float((simulation.conserved() - before)[0])
    used = comm.sum(peak() - base) / comm.sum(state.n)
    ghosts, atoms = comm.sum(state.n_ghost), comm.sum(state.n)
    if comm.rank == 0:
        print(f"{atoms} atoms on {comm.size} ranks ({ghosts} ghosts): {used:.0f} bytes an atom at the peak, "
              f"{seconds:.3f} s a step ({atoms / seconds / 1e6:.2f} M atom-step/s), energy changed by "
              f"{drift / atoms:.1e} eV an atom")


if __name__ == "__main__":
    main()
