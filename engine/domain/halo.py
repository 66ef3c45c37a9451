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
from engine.domain.columns import repeat, table_of
from engine.kernels.team import team_for

FORWARD, REVERSE = 11, 12  # message tags


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
    starts (ranks of the node, 2) : where in our slot each of them finds what is for it
    most : rows that any rank sends in a round
    half : are ghosts only those whose pairs a half list counts here?
    """

    table = starts = None
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
        self._forward(state.positions, _displaced, window.forward_positions, (own,), (sent,))

    def forward(self, array):
        """Fill the ghost rows of `array` (n_all, ...) with their owners' rows."""
        self._forward(_words(_rows(array)), _take, window.forward)

    def forward_columns(self, arrays):
        """`forward` for several arrays, as long as there is room in one round for all."""
        table, row = table_of(arrays)
        if self.local:
            self._skip(row)
            repeat(table, self.owner, self.n)
        elif not self.far and self.window.fits(row, self.most):
            start = time.perf_counter()
            window.forward_columns(self.window.place, self.table, self.window.next(self), table, row, self.owner, self.n,
                                   self.rows)
            self.comm.busy += time.perf_counter() - start
        else:
            for array in arrays:
                self.forward(array)

    def _forward(self, flat, take, fill, own=(), sent=()):
        """`take` makes copies of rows, displaced by `sent` or `own` if they are given; `fill` does it all through the window."""
        owner, rows, images = self.owner, self.rows, flat[self.n : self.n + len(self.owner)]
        if self.local:
            self._skip(flat.shape[1] * flat.itemsize)
            _share(take, flat, owner, *own, images, rows=owner)
            return
        start = time.perf_counter()
        near, alone = self._near(flat), team_for(len(owner) + len(rows), light=True).size == 1
        if near and alone and not self.far:
            view = self.window.view(flat.dtype)
            fill(self.window.place, self.table, self.window.next(self), flat, view, owner, self.n, rows, *own, *sent)
            self.comm.busy += time.perf_counter() - start
            return
        with _Messages(self, FORWARD, self.far if near else self.peers) as messages:
            messages.receive(flat)
            if messages.peers:
                buffer = self._buffer(flat)
                _share(take, flat, rows, *sent, buffer, rows=rows)
                messages.send(buffer)
            if near:
                number, view = self.window.next(self), self.window.view(flat.dtype)
                _share(take, flat, rows, *sent, self.window.slot(flat.dtype, number, len(rows), flat.shape[1]), rows=rows)
                fill(self.window.place, self.table, number, flat, view, owner[:0], self.n, rows[:0], *own, *sent)
            _share(take, flat, owner, *own, images, rows=owner)

    def reverse(self, array):
        """Add the ghost rows of `array` (n_all, ...) to their owners' rows."""
        flat, owner = _rows(array), self.owner
        images = flat[self.n : self.n + len(owner)]
        if self.local:
            self._skip(flat.shape[1] * flat.itemsize)
            _add_to(flat, owner, images)
            return
        near = self._near(flat)
        with _Messages(self, REVERSE, self.far if near else self.peers) as messages:
            buffer = self._buffer(flat) if messages.peers else None
            messages.receive_back(buffer)
            messages.send_back(flat)
            if not near or team_for(len(owner), light=True).size > 1:
                _add_to(flat, owner, images)
                owner = owner[:0]
            if near:
                number, view = self.window.next(self), self.window.view(flat.dtype)
                window.reverse(self.window.place, self.table, number, flat, view, owner, self.n, self.rows)
            messages.wait()
            for peer in messages.peers:  # in the order of ranks, whatever order messages came in
                _add_to(flat, self.rows[peer.send], buffer[peer.send])

    def _skip(self, row):
        """A rank without peers keeps count of the others' rounds."""
        if self.table is not None and self.window.fits(row, self.most):
            self.window.next(self)

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


def connect(n, index, shift, ends, ranks, comm):
    """The plan from what is seen of this rank's atoms. Collective.

    index (m,), shift (m, 3): atoms and shifts that this rank sees of its own, up to ends[0], and after them what each of `ranks`
    sees, up to ends[1], ends[2], ...; ranks : all peers in their order, also those that see nothing
    """
    own, rows, row_shift = index[: ends[0]], index[ends[0] :], shift[ends[0] :]
    starts = ends[:-1] - ends[0]
    counts, letter = np.diff(ends), np.zeros(comm.size + 1, np.int64)
    letter[np.asarray(ranks, np.int64) + 1] = counts * row_shift.itemsize * 3
    arriving = window.letters(comm, row_shift.reshape(-1).view(np.uint8), np.cumsum(letter), ranks)
    arriving = [arriving[r].view(np.int32).reshape(-1, 3) for r in ranks]
    come = np.array([len(a) for a in arriving], np.int64)
    ghost = n + len(own) + np.cumsum(come) - come
    peers = [Peer(int(r), slice(starts[k], starts[k] + counts[k]), slice(ghost[k], ghost[k] + come[k]))
             for k, r in enumerate(ranks)]
    halo = Halo(n, own, np.concatenate([shift[: ends[0]], *arriving]), comm, peers, rows, row_shift)
    halo.starts, table, back = np.zeros((comm.node_ranks, 2), np.int64), [], 0
    for k, peer in enumerate(peers):
        if peer.rank in comm.neighbors and (come[k] or counts[k]):
            place = comm.neighbors[peer.rank]
            table.append((place, ghost[k], come[k], starts[k], counts[k]))
            halo.starts[place] = starts[k], back
            back += come[k]
    halo.table, halo.far = np.array(table, np.int64).reshape(-1, 5), [p for p in peers if p.rank not in comm.neighbors]
    halo.most = window.agree(comm, max(len(rows), int(come.sum())), halo)
    return halo


def positive(shift):
    """Is an integer shift (…, 3) lexicographically positive, z first? Of a pair's two images exactly one is."""
    x, y, z = shift[..., 0], shift[..., 1], shift[..., 2]
    return (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))
