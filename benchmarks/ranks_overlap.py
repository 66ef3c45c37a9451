"""Does a message travel while its receiver computes?

    mpiexec -n 2 python -m benchmarks.ranks_overlap

Two ranks exchange messages of some sizes, as the halo does (receives posted first), and wait at once, or compute in between
for as long as ten exchanges take. What is left to wait for after computing is what interior work cannot hide with this MPI.
"""

import time
from statistics import median

import numpy as np

from engine.parallel import world


def exchange(comm, mine, theirs, compute):
    """Seconds that posting and waiting took, computing not counted."""
    comm.barrier()
    peer, begin = 1 - comm.rank, time.perf_counter()
    requests = [comm.communicator.Irecv(theirs, peer), comm.communicator.Isend(mine, peer)]
    posted = time.perf_counter()
    while time.perf_counter() - posted < compute:
        pass
    again = time.perf_counter()
    comm.mpi.Request.Waitall(requests)
    return time.perf_counter() - again + posted - begin


def main():
    comm = world()
    if comm.size != 2:
        raise SystemExit("mpiexec -n 2 python -m benchmarks.ranks_overlap")
    for size in (1_000, 8_000, 64_000, 200_000, 800_000, 3_200_000):
        mine, theirs = np.ones(size // 8), np.empty(size // 8)
        alone = median(exchange(comm, mine, theirs, 0.0) for _ in range(200))
        meanwhile = median(exchange(comm, mine, theirs, 10 * alone) for _ in range(200))
        left = comm.max(meanwhile) / comm.max(alone)
        if comm.rank == 0:
            print(f"{size / 1e3:6.0f} kB: {1e6 * alone:5.0f} us; after computing for {1e7 * alone:6.0f} us "
                  f"{1e6 * meanwhile:5.0f} us are left ({left:.0%})", flush=True)


if __name__ == "__main__":
    main()
