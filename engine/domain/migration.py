"""Atoms change hands: shared out when a simulation starts, migrated at a rebuild; all that the attribute table declares."""

import numpy as np

MIGRATE = 14  # message tag


def share_out(state, comm):
    """Spread a state that every rank has built whole; where atoms belong is looked at later, by the domain."""
    if comm.size > 1 and state.comm is not comm:
        take_share(state, comm)
        state.comm = comm


def take_share(state, comm):
    """Of atoms that every rank has, keep as many as fall to this one."""
    edges = np.arange(comm.size + 1) * state.n // comm.size
    state.permute(np.arange(edges[comm.rank], edges[comm.rank + 1]))


def migrate(state, owner):
    """Send owned atoms to the ranks `owner` (n,), with every declared attribute; ghosts are dropped.

    Arrivals, in the order of ranks, take the places of those that leave (``State.exchange``). Returns how many this rank has
    sent away.
    """
    comm, n = state.comm, state.n
    names = list(state.table)
    leaving = np.flatnonzero(owner != comm.rank)
    leaving = leaving[np.argsort(owner[leaving], kind="stable")]
    outgoing = np.bincount(owner[leaving], minlength=comm.size)
    incoming = np.empty_like(outgoing)
    comm.communicator.Alltoall(outgoing, incoming)
    packed = _pack([getattr(state, name)[:n][leaving] for name in names])
    arrived = np.empty((int(incoming.sum()), packed.shape[1]), np.uint8)
    requests = _post(comm, comm.communicator.Irecv, arrived, incoming) + _post(comm, comm.communicator.Isend, packed, outgoing)
    comm.mpi.Request.Waitall(requests)
    columns = _unpack(arrived, [state.table[name] for name in names])
    state.exchange(leaving, dict(zip(names, columns, strict=True)))
    return len(leaving)


def _post(comm, call, rows, counts):
    ends = np.cumsum(counts)
    return [call([rows[ends[r] - counts[r] : ends[r]], comm.mpi.BYTE], int(r), MIGRATE) for r in np.flatnonzero(counts)]


def _pack(arrays):
    """Arrays (m, ...) of any types side by side, as bytes (m, row)."""
    m = len(arrays[0])
    return np.hstack([np.ascontiguousarray(a).reshape(m, -1).view(np.uint8).reshape(m, -1) if m else
                      np.empty((0, a.itemsize * int(np.prod(a.shape[1:]))), np.uint8) for a in arrays])


def _unpack(rows, attributes):
    columns, start = [], 0
    for attribute in attributes:
        dtype = np.dtype(attribute.dtype)
        width = dtype.itemsize * int(np.prod(attribute.shape))
        part = np.ascontiguousarray(rows[:, start : start + width])
        columns.append(part.reshape(-1).view(dtype).reshape(len(rows), *attribute.shape))
        start += width
    return columns


def merged(trees):
    """One state's tree from those of all ranks: their atoms one after another, all else as on rank 0."""
    return {**trees[0], "atoms": {name: np.concatenate([t["atoms"][name] for t in trees]) for name in trees[0]["atoms"]}}


def combined(part, trees, rank):
    """What rank `rank` of another number of ranks takes over of a part's trees: totals that every rank keeps for its own atoms,
    which the part names in ``PARTIAL``, go to rank 0 together; all else is the same on all ranks."""
    shares = [name for name in getattr(part, "PARTIAL", ()) if name in trees[0]]
    return {**trees[0], **{n: sum(t[n] for t in trees) if rank == 0 else np.zeros_like(trees[0][n]) for n in shares}}
