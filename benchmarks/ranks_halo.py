"""What the halo costs a rank: the constants of the cost model (``engine.domain.plan``), fitted on this machine.

    python -m benchmarks.ranks_halo                  # copying alone: all ghosts are images of own atoms
    mpiexec -n 2 python -m benchmarks.ranks_halo     # with messages to one other rank

Copper, list radius 6 Å. Microseconds of each kind of round (tenth percentile of 300) for some sizes, and for two of them a
straight line through the sizes: what a round costs whatever its size, and what it costs for each ghost.
"""

import argparse
import time

import numpy as np
from ase.build import bulk

from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.domain.migration import share_out
from engine.parallel import world


def seconds(comm, call, repeats=300):
    found = []
    for _ in range(repeats):
        comm.barrier()
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return comm.max(float(np.percentile(found, 10)))


def rounds(comm, cells):
    """Ghosts, and microseconds of each kind of round, for copper of cells³ unit cells."""
    state = state_from_atoms(bulk("Cu", cubic=True).repeat(cells))
    share_out(state, comm)
    domain = Domain(state, 5.0, 1.0)
    domain.refresh()
    halo, vector, number = domain.halo, np.zeros((state.n_all, 3)), np.zeros(state.n_all)
    calls = {"vote": lambda: comm.any(False), "positions": lambda: halo.forward_positions(state),
             "forces back": lambda: halo.reverse(vector), "number out": lambda: halo.forward(number),
             "number back": lambda: halo.reverse(number)}
    took = {name: 1e6 * seconds(comm, call) for name, call in calls.items()}
    if comm.rank == 0:
        print(f"{state.n} atoms, {state.n_ghost} ghosts, {state.n_ghost - len(halo.owner)} of them from {len(halo.peers)} ranks: "
              + ", ".join(f"{name} {value:.0f} us" for name, value in took.items()), flush=True)
    return state.n_ghost, took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[5, 10, 16, 24, 32])
    comm = world()
    ghosts, took = zip(*[rounds(comm, cells) for cells in parser.parse_args().cells])
    for name in ("positions", "forces back"):
        y = np.array([t[name] for t in took])
        slope, fixed = np.polyfit(ghosts, y, 1, w=1 / y)
        if comm.rank == 0:
            print(f"{name}: {fixed:.0f} us and {1e3 * slope:.1f} ns a ghost")


if __name__ == "__main__":
    main()
