"""Ranks of one node hand each other ghosts through memory that they share, in compiled code.

Every rank has a segment: a header, and two slots of which rounds of messages use one after the other. In a round a rank
writes what its peers are to read into its slot, then the number of the round into its header; a peer waits for that number and
reads. A slot is used again two rounds later: by then everybody who reads it has announced the round in between, and so has
finished with it. That holds for one plan of exchanges (``Halo``); when another one begins, ranks agree on a number first.

Compared with messages of MPI between the same processes: no calls, no copy into and out of MPI's own buffers.
"""

import ctypes

import numpy as np
from numba import njit

from engine.kernels.handoff import SPINS, look, pause, put, sched_yield
from engine.parallel import affinity

HEADER = 4096  # bytes
PAGE = 4096
ROUND, VOTE = 0, 8  # words of the header; two votes, a cache line each
LINE = 8  # words
ROW = 24  # bytes of the rows that slots are made for; arrays with longer ones may not fit, and travel by MPI
SPARE = 1.25

# columns of a table of peers on this node: rank on the node; rows of the slot that it reads; rows of its slot that go to us;
# what comes: our first ghost and their number; what goes: our first entry of `rows` and their number; in a round back
# their place in the peer's slot
PEER, FIRST, GHOST, COMES, SENT, GOES, BACK = range(7)


def agree(comm, rows, user):
    """Of all ranks' `rows` the most; ``comm.window`` has room for them, and `user` uses it from now on. All ranks of `comm` are
    done with earlier rounds when this returns. Collective."""
    most, number = comm.max(np.array([rows, comm.window.round if comm.window else 0]))
    if comm.window is None or not comm.window.fits(ROW, most):
        if comm.window is not None:
            comm.window.free()
        comm.window = Window(comm, int(most))
    comm.window.begin(user, int(number))
    return int(most)


class Window:
    """Shared memory of this rank's node, with room for `rows` rows of ROW bytes in each slot. Made collectively."""

    def __init__(self, comm, rows):
        self.node, self.largest = comm.node, comm.mpi.MAX
        self.capacity = -(-int(rows * SPARE + 64) * ROW // PAGE) * PAGE
        self.segment = HEADER + 2 * self.capacity
        self.memory_of_ranks = comm.mpi.Win.Allocate_shared(self.segment, 1, comm=self.node)
        base = [self.memory_of_ranks.Shared_query(r)[0].address for r in (0, self.node.rank)]
        size = self.segment * self.node.size
        self.memory = np.frombuffer((ctypes.c_char * size).from_address(base[0]), np.uint8)
        cores = set().union(*self.node.allgather(affinity()))
        spins = SPINS if self.node.size <= len(cores) else 0
        self.place = np.array([base[0], self.segment, self.capacity, self.node.rank, self.node.size, spins])
        self.round = self.votes = 0
        self.user = None  # the plan whose rounds are counted
        self._views = {}
        assert base[1] == base[0] + self.node.rank * self.segment
        self.memory[self.node.rank * self.segment :][:HEADER] = 0
        self.node.Barrier()

    def free(self):
        self._views, self.memory = {}, None
        self.memory_of_ranks.Free()

    def fits(self, row_bytes, most):
        """Is there room for `most` rows, as many as any rank sends?"""
        return row_bytes * most <= self.capacity

    def begin(self, user, number=None):
        """Plan `user` exchanges from now on, its rounds counted from the largest `number` of the ranks. Collective."""
        if number is None:
            mine, out = np.array([self.round]), np.empty(1, np.int64)
            self.node.Allreduce(mine, out, self.largest)
            number = int(out[0])
        self.user, self.round = user, number

    def next(self, user):
        """The number of a round that begins now."""
        if self.user is not user:
            self.begin(user)
        self.round += 1
        return self.round

    def slot(self, kind, number, rows, width):
        """This rank's slot of a round, as an array (rows, width)."""
        key = kind, number % 2, rows, width
        if key not in self._views:
            if len(self._views) > 64:
                self._views.clear()
            start = self.node.rank * self.segment + HEADER + number % 2 * self.capacity
            self._views[key] = self.memory[start : start + rows * width * kind.itemsize].view(kind).reshape(rows, width)
        return self._views[key]

    def view(self, kind):
        """All segments as one array of a type."""
        if kind not in self._views:
            self._views[kind] = self.memory.view(kind)
        return self._views[kind]

    def any(self, flag):
        """True on all ranks of the node if it is on one. Collective."""
        self.votes += 1
        return vote(self.place, self.votes, flag)


@njit(cache=True, nogil=True)
def _await(address, word, number, spins):
    looks = 0
    while look(address, word) < number:
        pause()
        looks += 1
        if looks > spins:
            sched_yield()


@njit(cache=True, nogil=True)
def vote(place, number, flag):
    """Each rank writes 2·number + flag and waits for the others'; a word is used again two votes later."""
    base, segment, size, spins = place[0], place[1], place[4], place[5]
    word = VOTE + LINE * (number % 2)
    put(base + place[3] * segment, word, 2 * number + (1 if flag else 0))
    found = False
    for r in range(size):
        _await(base + r * segment, word, 2 * number, spins)
        found |= look(base + r * segment, word) % 2 == 1
    return found


@njit(cache=True, nogil=True)
def _announce(place, number):
    put(place[0] + place[3] * place[1], ROUND, number)


@njit(cache=True, nogil=True)
def _start(place, table, p, column, number, width, size):
    """Where in the view of all segments (elements of `size` bytes) lies what peer p has for us; waits until it is there."""
    peer = table[p, PEER]
    _await(place[0] + peer * place[1], ROUND, number, place[5])
    return (peer * place[1] + HEADER + number % 2 * place[2]) // size + table[p, column] * width


@njit(cache=True, nogil=True)
def _copy(place, table, number, array, memory):
    width, flat = array.shape[1], array.reshape(-1)
    for p in range(table.shape[0]):
        k = _start(place, table, p, FIRST, number, width, memory.itemsize)
        to = table[p, GHOST] * width
        for e in range(table[p, COMES] * width):
            flat[to + e] = memory[k + e]


@njit(cache=True, nogil=True)
def forward(place, table, number, array, memory, owner, n):
    """What is in our slot may be read; images (`owner`, from row n on) of our own atoms; then what peers have for us."""
    _announce(place, number)
    for g in range(owner.shape[0]):
        for d in range(array.shape[1]):
            array[n + g, d] = array[owner[g], d]
    _copy(place, table, number, array, memory)


@njit(cache=True, nogil=True)
def forward_positions(place, table, number, array, memory, owner, n, displacements):
    """As `forward`, images displaced."""
    _announce(place, number)
    for g in range(owner.shape[0]):
        for d in range(3):
            array[n + g, d] = array[owner[g], d] + displacements[g, d]
    _copy(place, table, number, array, memory)


@njit(cache=True, nogil=True)
def reverse(place, table, number, array, memory, owner, n, slot, rows):
    """Ghosts of peers (`slot` holds them from the first on) are handed out; own images are added, then what comes back."""
    width, flat, out = array.shape[1], array.reshape(-1), slot.reshape(-1)
    first = (n + owner.shape[0]) * width
    for p in range(table.shape[0]):
        start = table[p, GHOST] * width
        for e in range(start, start + table[p, COMES] * width):
            out[e - first] = flat[e]
    _announce(place, number)
    for g in range(owner.shape[0]):
        for d in range(array.shape[1]):
            array[owner[g], d] += array[n + g, d]
    for p in range(table.shape[0]):
        k = _start(place, table, p, BACK, number, width, memory.itemsize)
        for g in range(table[p, SENT], table[p, SENT] + table[p, GOES]):
            i = rows[g]
            for d in range(width):
                array[i, d] += memory[k + d]
            k += width
