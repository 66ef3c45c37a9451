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
    """

    def __init__(self, n, owner, shift, comm=None, peers=(), rows=None, row_shift=None):
        self.n, self.owner, self.shift = n, owner, shift
        self.comm, self.peers = comm, list(peers)
        self.rows = np.empty(0, np.int64) if rows is None else rows
        self.row_shift = row_shift
        self.sent = 0  # bytes sent, forward and back
        self._buffers = {}
        self._cells = self._displaced = None

    @property
    def local(self):
        """Are all ghosts images of this rank's own atoms?"""
        return not self.peers

    def forward_positions(self, state):
        """Bring ghost positions up to date with their owners and the present cells."""
        x, images = state.positions, len(self.owner)
        with _Messages(self, FORWARD) as messages:
            if self.peers:
                messages.receive(x)
            sent, own = self._displacements(state)
            if self.peers:
                buffer = self._buffer(x)
                _share(_displaced, x, self.rows, sent, buffer, rows=self.rows)
                messages.send(buffer)
            _share(_displaced, x, self.owner, own, x[self.n : self.n + images], rows=self.owner)

    def _displacements(self, state):
        """shift @ cell of what is sent (m, 3) and of own images (l, 3), made anew when the cells have changed."""
        if self._cells is None or not np.array_equal(self._cells, state.cells):
            self._cells = state.cells.copy()
            made = []
            for rows, shift in ((self.rows, self.row_shift), (self.owner, self.shift[: len(self.owner)])):
                made.append(np.empty((len(rows), 3)))
                if len(rows):
                    _share(_displacements, rows, shift, state.system, self._cells, made[-1], rows=rows)
            self._displaced = made
        return self._displaced

    def forward(self, array):
        """Fill the ghost rows of `array` (n_all, ...) with their owners' rows."""
        flat = _rows(array)
        with _Messages(self, FORWARD) as messages:
            if self.peers:
                messages.receive(flat)
                buffer = self._buffer(flat)
                _share(_take, flat, self.rows, buffer, rows=self.rows)
                messages.send(buffer)
            _share(_take, flat, self.owner, flat[self.n : self.n + len(self.owner)], rows=self.owner)

    def reverse(self, array):
        """Add the ghost rows of `array` (n_all, ...) to their owners' rows."""
        flat = _rows(array)
        with _Messages(self, REVERSE) as messages:
            if self.peers:
                buffer = self._buffer(flat)
                messages.receive_back(buffer)
                messages.send_back(flat)
            _add_to(flat, self.owner, flat[self.n : self.n + len(self.owner)])
            if self.peers:
                messages.wait()
                for peer in self.peers:  # in the order of ranks, whatever order messages came in
                    _add_to(flat, self.rows[peer.send], buffer[peer.send])

    def _buffer(self, array):
        key = array.shape[1], array.dtype
        if key not in self._buffers:
            self._buffers[key] = np.empty((len(self.rows), array.shape[1]), array.dtype)
        return self._buffers[key]


class _Messages:
    """One round of messages: post receives, send, and on leaving wait for all of them. Its time is communication's."""

    def __init__(self, halo, tag):
        self.halo, self.tag, self.requests = halo, tag, []

    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def receive(self, array):
        for peer in self.halo.peers:
            self._post("Irecv", array[peer.receive], peer.rank)

    def send(self, buffer):
        for peer in self.halo.peers:
            self._post("Isend", buffer[peer.send], peer.rank)

    def receive_back(self, buffer):
        for peer in self.halo.peers:
            self._post("Irecv", buffer[peer.send], peer.rank)

    def send_back(self, array):
        for peer in self.halo.peers:
            self._post("Isend", array[peer.receive], peer.rank)

    def _post(self, call, rows, rank):
        if rows.size:
            comm = self.halo.comm
            self.requests.append(getattr(comm.communicator, call)([rows, comm.mpi.BYTE], rank, self.tag))
            if call == "Isend":
                self.halo.sent += rows.nbytes

    def wait(self):
        if self.requests:
            self.halo.comm.mpi.Request.Waitall(self.requests)
            self.requests = []

    def __exit__(self, kind, error, trace):
        if kind is None and self.halo.peers:
            self.wait()
            self.halo.comm.busy += time.perf_counter() - self.start


def connect(n, own, others, comm):
    """The plan from what this rank sees of its own atoms and what others see of them.

    own : (index, shift) of this rank's own images;  others : {rank: (index, shift)}, for all peers, also empty ones
    """
    if not others:
        return Halo(n, *own)
    ranks = sorted(others)
    sizes = _swap(comm, ranks, [np.array([len(others[r][0])]) for r in ranks], [np.empty(1, np.int64) for _ in ranks])
    arriving = _swap(comm, ranks, [others[r][1] for r in ranks], [np.empty((int(k[0]), 3), np.int32) for k in sizes])
    peers, sent, ghost = [], 0, n + len(own[0])
    for r, shifts in zip(ranks, arriving, strict=True):
        count = len(others[r][0])
        peers.append(Peer(r, slice(sent, sent + count), slice(ghost, ghost + len(shifts))))
        sent, ghost = sent + count, ghost + len(shifts)
    rows = np.concatenate([others[r][0] for r in ranks])
    row_shift = np.concatenate([others[r][1] for r in ranks])
    return Halo(n, own[0], np.concatenate([own[1], *arriving]), comm, peers, rows, row_shift)


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
