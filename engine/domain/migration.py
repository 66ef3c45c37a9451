"""Atoms change hands: shared out when a simulation starts, migrated at a rebuild; all that the attribute table declares."""

import numpy as np

from engine.domain.columns import close, pack, settle, table_of
from engine.domain.window import letters


def share_out(state, comm):
    """Spread a state that every rank has built whole; where atoms belong is looked at later, by the domain."""
    if comm.size > 1 and state.comm is not comm:
        take_share(state, comm)
        state.comm = comm


def take_share(state, comm):
    """Of atoms that every rank has, keep as many as fall to this one."""
    edges = np.arange(comm.size + 1) * state.n // comm.size
    state.permute(np.arange(edges[comm.rank], edges[comm.rank + 1]))


def migrate(state, leaving, counts):
    """Send owned atoms `leaving` (m,), those of the first rank first, counts[r] to rank r, with every declared attribute; ghosts
    are dropped. Collective.

    Arrivals, in the order of ranks, take the places of those that leave; where there are more of them they follow at the end;
    where there are fewer, the last atoms move to the places that are left.
    """
    comm, n = state.comm, state.n
    table, row = table_of(state.columns())
    packed = np.empty((len(leaving), row), np.uint8)
    pack(table, row, leaving, packed.ctypes.data)
    starts = np.zeros(comm.size + 1, np.int64)
    np.cumsum(counts * row, out=starts[1:])
    arrived = letters(comm, packed.reshape(-1), starts)
    come = sum(len(a) for a in arrived) // row
    table, _ = table_of(state.columns(room=n + come - len(leaving)))
    gone, taken = np.sort(leaving), 0
    for rows in arrived:
        if len(rows):
            taken = settle(table, row, gone, n, rows.ctypes.data, len(rows) // row, taken)
    state.n, state.n_ghost = n + come - len(leaving), 0
    if come < len(leaving):
        close(table, gone, n, come)


def merged(trees):
    """One state's tree from those of all ranks: their atoms one after another, all else as on rank 0."""
    return {**trees[0], "atoms": {name: np.concatenate([t["atoms"][name] for t in trees]) for name in trees[0]["atoms"]}}


def combined(part, trees, rank):
    """What rank `rank` of another number of ranks takes over of a part's trees: totals that every rank keeps for its own atoms,
    which the part names in ``PARTIAL``, go to rank 0 together; all else is the same on all ranks."""
    shares = [name for name in getattr(part, "PARTIAL", ()) if name in trees[0]]
    return {**trees[0], **{n: sum(t[n] for t in trees) if rank == 0 else np.zeros_like(trees[0][n]) for n in shares}}
