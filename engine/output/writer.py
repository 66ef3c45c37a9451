"""What writers of files share: the time for which they hold a run up, and the atoms of all ranks piece by piece."""

from __future__ import annotations

import time

import numpy as np

from engine.contracts import Hook

PIECE = 2**20  # atoms that rank 0 holds at a time of those that others own


class Writer(Hook):
    """A hook that writes; subclasses say what in `write`. seconds : for how long it has held the run up so far"""

    seconds = 0.0

    def act(self, simulation):
        comm, begin = simulation.comm, time.perf_counter()
        busy = comm.busy
        self.write(simulation)
        comm.barrier()  # else the wait for rank 0's disk would look like communication
        self.seconds += time.perf_counter() - begin
        comm.busy = busy  # all of it is output's time

    def write(self, simulation):
        raise TypeError(f"{type(self).__name__} writes nothing")


def in_pieces(state, arrays, piece=None):
    """{name: (n, ...)} of owned atoms -> (place of the first, {name: rows}) in the order of tags, one piece after another.

    On rank 0, which never holds more than a piece; nothing elsewhere. Collective: all ranks must go through it.
    """
    piece = piece or PIECE
    comm, tags = state.comm, state.tags[: state.n]
    order = np.argsort(tags, kind="stable")
    mine, place = tags[order], 0
    last = comm.max(int(mine[-1]) if len(mine) else -1)
    for low in range(0, last + 1, piece):
        rows = order[np.searchsorted(mine, low) : np.searchsorted(mine, low + piece)]
        found = comm.gather_rows({"tags": tags[rows], **{name: array[rows] for name, array in arrays.items()}})
        if found is not None:
            sorted_ = np.argsort(found.pop("tags"), kind="stable")
            yield place, {name: array[sorted_] for name, array in found.items()}
            place += len(sorted_)
