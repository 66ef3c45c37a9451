"""The halo: ghosts filled from their owners, and contributions to ghosts added back to them.

`forward` and `reverse` are linear and each other's transpose, for any per-atom array, so that derivatives of any
order through an exchange are the same two calls.

Every ghost comes directly from the rank that owns it, whatever image of it is seen: one message for each pair of ranks and
direction, with no relaying between neighbors. Receives are posted first; images of this rank's own atoms are copied
while messages travel.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.domain import window
from engine.kernels.team import team_for

FORWARD, REVERSE, SETUP = 11, 12, 13  # message tags


@njit(cache=True, nogil=True)
def _displacements(begin, end, rows, shift, system, cells, out):
    for g in range(begin, end):
        h = cells[system[rows[g]]]
        for d in range(3):
            out[g, d] = shift[g, 0] * h[0, d] + shift[g, 1] * h[1, d] + shift[g, 2] * h[2, d]


@njit(cache=True, nogil=True)
def _displaced(begin, end, positions, rows, displacements, out):
    for g in range(begin, end):
        i = rows[g]
        for d in range(3):
            out[g, d] = positions[i, d] + displacements[g, d]


@njit(cache=True, nogil=True)
def _take(begin, end, array, rows, out):
    for g in range(begin, end):
        i = rows[g]
        for d in range(array.shape[1]):
            out[g, d] = array[i, d]


@njit(cache=True, nogil=True)
def _add(begin, end, array, rows, values):
    for g in range(begin, end):
        i = rows[g]
        for d in range(array.shape[1]):
            array[i, d] += values[g, d]


def _share(kernel, *arguments, rows):
    """Have threads take parts of rows."""
    team = team_for(len(rows), light=True)
    team(kernel, team.cuts(len(rows)), *arguments)


def _add_to(array, rows, values):
    """array[rows] += values; an atom's contributions stand one after the other and are added by one thread."""
    team = team_for(len(rows), light=True)
    cuts = team.cuts(len(rows))
    if team.size > 1:
        cuts = cuts.copy()
        for t in range(1, team.size):
            while 0 < cuts[t] < len(rows) and rows[cuts[t]] == rows[cuts[t] - 1]:
                cuts[t] += 1
        cuts = np.maximum.accumulate(cuts)
    team(_add, cuts, array, rows, values)


def _rows(array):
    """A view (rows, width): exchanges write into it."""
    if not array.flags.c_contiguous:
        raise ValueError("an array that is exchanged must be contiguous")
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _words(rows):
    """The same rows as integers, for copying: one kernel for numbers of all types of a size."""
    size = rows.shape[1] * rows.itemsize
    return rows.view(np.int64 if size % 8 == 0 else np.int32 if size % 4 == 0 else np.uint8)


@dataclass
class Peer:
    """Another rank that this one exchanges with.

    send : slice of ``Halo.rows``, the owned atoms that it sees;  receive : slice of this rank's arrays that they fill
    """

    rank: int
    send: slice
    receive: slice


class Halo:
    """A fixed exchange plan between two rebuilds.

    n : owned atoms;  shift (g, 3): the image that each ghost is, x_ghost = x_owner + shift @ cell
    owner (l,): rows of the owners of the first l ghosts, the images of this rank's own atoms
    rows (m,), row_shift (m, 3): owned atoms that other ranks see, and under which shifts, peer after peer
    table : the peers that are on this node and share memory with us (``engine.domain.window``)
    most : rows that any rank sends in a round
    half : are ghosts only those whose pairs a half list counts here?
    """

    table = None
    most, half = 0, False

    def __init__(self, n, owner, shift, comm=None, peers=(), rows=None, row_shift=None):
        self.n, self.owner, self.shift = n, owner, shift
        self.comm, self.peers = comm, list(peers)
        self.rows = np.empty(0, np.int64) if rows is None else rows
        self.row_shift = row_shift
        self.far = self.peers  # those that are not on this node
        self._buffers = {}
        self._cells = self._displaced = None

    @property
    def window(self):
        """A later plan that needs more room may have made another one."""
        return self.comm.window

    @property
    def local(self):
        """Are all ghosts images of this rank's own atoms?"""
        return not self.peers

    def forward_positions(self, state):
        """Bring ghost positions up to date with their owners and the present cells."""
        sent, own = self._displacements(state)
        self._forward(state.positions, _displaced, window.forward_positions, sent, own)

    def forward(self, array):
        """Fill the ghost rows of `array` (n_all, ...) with their owners' rows."""
        self._forward(_words(_rows(array)), _take, window.forward)

    def _forward(self, flat, take, fill, sent=None, own=None):
        """`take` makes copies of rows, displaced by `sent` or `own` if they are given."""
        owner, images = self.owner, flat[self.n : self.n + len(self.owner)]
        of = lambda displacements: () if displacements is None else (displacements,)
        if self.local:
            _share(take, flat, owner, *of(own), images, rows=owner)
            return
        near = self._near(flat)
        with _Messages(self, FORWARD, self.far if near else self.peers) as messages:
            messages.receive(flat)
            number = self.window.next(self) if near else 0
            buffer = self.window.slot(flat.dtype, number, len(self.rows), flat.shape[1]) if near else self._buffer(flat)
            _share(take, flat, self.rows, *of(sent), buffer, rows=self.rows)
            messages.send(buffer)
            if near and team_for(len(owner), light=True).size == 1:
                fill(self.window.place, self.table, number, flat, self.window.view(flat.dtype), owner, self.n, *of(own))
                return
            if near:  # first of all let the others go on
                fill(self.window.place, self.table, number, flat, self.window.view(flat.dtype), owner[:0], self.n,
                     *of(own))
            _share(take, flat, owner, *of(own), images, rows=owner)

    def reverse(self, array):
        """Add the ghost rows of `array` (n_all, ...) to their owners' rows."""
        flat, owner, first = _rows(array), self.owner, self.n
        if self.local:
            _add_to(flat, owner, flat[first : first + len(owner)])
            return
        near = self._near(flat)
        with _Messages(self, REVERSE, self.far if near else self.peers) as messages:
            buffer = self._buffer(flat) if messages.peers else None
            messages.receive_back(buffer)
            messages.send_back(flat)
            if not near or team_for(len(owner), light=True).size > 1:
                _add_to(flat, owner, flat[first : first + len(owner)])
                first, owner = first + len(owner), owner[:0]
            if near:
                number, ghosts = self.window.next(self), len(self.shift) - len(self.owner)
                slot = self.window.slot(flat.dtype, number, ghosts, flat.shape[1])
                window.reverse(self.window.place, self.table, number, flat, self.window.view(flat.dtype), owner, first,
                               slot, self.rows)
            messages.wait()
            for peer in messages.peers:  # in the order of ranks, whatever order messages came in
                _add_to(flat, self.rows[peer.send], buffer[peer.send])

    def _near(self, flat):
        """Do rows like these go through the window? The same on all ranks."""
        return self.window.fits(flat.shape[1] * flat.itemsize, self.most)

    def _displacements(self, state):
        """shift @ cell of what is sent (m, 3) and of own images (l, 3), made anew when the cells have changed."""
        if self._cells is None or self._cells.tobytes() != state.cells.tobytes():
            self._cells = state.cells.copy()
            made = []
            for rows, shift in ((self.rows, self.row_shift), (self.owner, self.shift[: len(self.owner)])):
                made.append(np.empty((len(rows), 3)))
                if len(rows):
                    _share(_displacements, rows, shift, state.system, self._cells, made[-1], rows=rows)
            self._displaced = made
        return self._displaced

    def _buffer(self, array):
        key = array.shape[1], array.dtype
        if key not in self._buffers:
            self._buffers[key] = np.empty((len(self.rows), array.shape[1]), array.dtype)
        return self._buffers[key]


class _Messages:
    """One round of messages: post receives, send, and on leaving wait for all of them. Its time is communication's."""

    def __init__(self, halo, tag, peers):
        self.halo, self.tag, self.peers, self.requests = halo, tag, peers, []

    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def receive(self, array):
        for peer in self.peers:
            self._post("Irecv", array[peer.receive], peer.rank)

    def send(self, buffer):
        for peer in self.peers:
            self._post("Isend", buffer[peer.send], peer.rank)

    def receive_back(self, buffer):
        for peer in self.peers:
            self._post("Irecv", buffer[peer.send], peer.rank)

    def send_back(self, array):
        for peer in self.peers:
            self._post("Isend", array[peer.receive], peer.rank)

    def _post(self, call, rows, rank):
        if rows.size:
            comm = self.halo.comm
            self.requests.append(getattr(comm.communicator, call)([rows, comm.mpi.BYTE], rank, self.tag))

    def wait(self):
        if self.requests:
            self.halo.comm.mpi.Request.Waitall(self.requests)
            self.requests = []

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.wait()
            self.halo.comm.busy += time.perf_counter() - self.start


def connect(n, own, others, comm):
    """The plan from what this rank sees of its own atoms and what others see of them. Collective.

    own : (index, shift) of this rank's own images;  others : {rank: (index, shift)}, for all peers, also empty ones
    """
    ranks = sorted(others)
    counts = np.array([len(others[r][0]) for r in ranks], np.int64)
    starts = np.cumsum(counts) - counts
    sizes = [np.empty(2, np.int64) for _ in ranks]  # how many ghosts come, and where in what the peer sends they begin
    _swap(comm, ranks, list(np.column_stack([counts, starts])), sizes)
    arriving = _swap(comm, ranks, [others[r][1] for r in ranks], [np.empty((int(k[0]), 3), np.int32) for k in sizes])
    come = np.array([k[0] for k in sizes], np.int64)
    back = np.cumsum(come) - come
    ghost = n + len(own[0]) + back
    peers = [Peer(r, slice(starts[k], starts[k] + counts[k]), slice(ghost[k], ghost[k] + come[k])) for k, r in enumerate(ranks)]
    rows = np.concatenate([np.empty(0, np.int64), *(others[r][0] for r in ranks)])
    row_shift = np.concatenate([np.empty((0, 3), np.int32), *(others[r][1] for r in ranks)])
    halo = Halo(n, own[0], np.concatenate([own[1], *arriving]), comm, peers, rows, row_shift)
    theirs = [np.empty(1, np.int64) for _ in ranks]  # where they find what comes back
    _swap(comm, ranks, list(back[:, None]), theirs)
    near = [k for k, r in enumerate(ranks) if r in comm.neighbors]
    table = [(comm.neighbors[ranks[k]], sizes[k][1], ghost[k], come[k], starts[k], counts[k], theirs[k][0])
             for k in near if come[k] or counts[k]]
    far = [p for p in peers if p.rank not in comm.neighbors]
    halo.table, halo.far = np.array(table, np.int64).reshape(-1, 7), far
    halo.most = window.agree(comm, max(len(rows), int(come.sum())), halo)
    return halo


def _swap(comm, ranks, outgoing, incoming):
    """Exchange one array with each of `ranks`, filling `incoming`."""
    requests = [comm.communicator.Irecv([a, comm.mpi.BYTE], r, SETUP) for r, a in zip(ranks, incoming, strict=True) if a.size]
    requests += [comm.communicator.Isend([a, comm.mpi.BYTE], r, SETUP) for r, a in zip(ranks, outgoing, strict=True) if a.size]
    comm.mpi.Request.Waitall(requests)
    return incoming


def positive(shift):
    """Is an integer shift (…, 3) lexicographically positive, z first? Of a pair's two images exactly one is."""
    x, y, z = shift[..., 0], shift[..., 1], shift[..., 2]
    return (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))


def counted(shift, tags_centre, tags_ghost):
    """Does the half list keep the pair (owned centre, ghost)? Rule in ``engine.neighbors``."""
    same = ~shift.any(-1)
    parity = (tags_centre + tags_ghost) % 2 == 0
    return np.where(same, parity == (tags_centre < tags_ghost), positive(shift))
