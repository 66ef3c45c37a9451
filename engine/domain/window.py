"""Ranks of one node hand each other ghosts through memory that they share, in compiled code.

Every rank has a segment: a header, and two slots of which rounds of messages use one after the other. In a round a rank
writes what its peers are to read into its slot, then the number of the round into its header; a peer waits for that number and
reads. A slot is used again two rounds later: by then everybody who reads it has announced the round in between, and so has
finished with it. That holds for one plan of exchanges (``Halo``); when another one begins, ranks agree on a number first.
Where a peer finds what is for it, it reads in the header.

Compared with messages of MPI between the same processes: no calls, no copy into and out of MPI's own buffers.
"""

import ctypes

import numpy as np
from numba import njit

from engine.domain.columns import pack, repeat, unpack
from engine.kernels.handoff import SPINS, look, pause, put, sched_yield
from engine.parallel import affinity

PAGE = 4096  # bytes
ROUND, VOTE, GATHER, STARTS = 0, 8, 24, 40  # words of the header; two votes and two gatherings, a cache line each; for each rank
# of the node the first row of the slot that it reads, in a round out and in a round back
LINE = 8  # words
ROW = 24  # bytes of the rows that slots are made for; arrays with longer ones may not fit, and travel by MPI
SPARE = 1.25
SETUP = 13  # message tag

# columns of a table of peers on this node: rank on the node; what comes: our first ghost and their number; what goes: our first
# entry of `rows` and their number
PEER, GHOST, COMES, SENT, GOES = range(5)
# the numbers of a window: address of all segments, their size, bytes of a slot, our rank and how many there are, looks before
# the processor is given away, bytes of the header
BASE, SEGMENT, CAPACITY, ME, SIZE, PATIENCE, HEADER = range(7)


def agree(comm, rows, user):
    """Of all ranks' `rows` the most; ``comm.window`` has room for them, and `user` uses it from now on. All ranks of `comm` are
    done with earlier rounds when this returns. Collective."""
    window = comm.window
    if window is not None and comm.node_ranks == comm.size:
        most, number = (int(value) for value in window.gather(rows, window.round).max(0)[:2])
    else:
        most, number = (int(value) for value in comm.max(np.array([rows, window.round if window else 0])))
    if window is None or not window.fits(ROW, most):
        if window is not None:
            window.free()
        comm.window = Window(comm, most)
    comm.window.begin(user, number)
    return most


def letters(comm, packed, starts, ranks=None):
    """Bytes starts[r] … starts[r + 1] − 1 of `packed` (uint8) go to rank r; returns those that come, one array for each
    rank, good until the next call. `ranks`: those that may have something for us, and we for them; else all. Collective."""
    if comm.window is not None and comm.node_ranks == comm.size:
        found = comm.window.letters(packed, starts)
        if found is not None:
            return found
    sizes, incoming = np.diff(starts), np.zeros(comm.size, np.int64)
    if ranks is None:
        comm.communicator.Alltoall(sizes, incoming)
    else:
        swap(comm, ranks, [sizes[r : r + 1] for r in ranks], [incoming[r : r + 1] for r in ranks])
    found = [np.empty(k, np.uint8) for k in incoming]
    some = range(comm.size) if ranks is None else ranks
    swap(comm, some, [packed[starts[r] : starts[r + 1]] for r in some], [found[r] for r in some])
    return found


def swap(comm, ranks, outgoing, incoming):
    """Exchange one array with each of `ranks` by messages, filling `incoming`; those without a byte are not sent."""
    call = comm.communicator
    requests = [call.Irecv([a, comm.mpi.BYTE], r, SETUP) for r, a in zip(ranks, incoming, strict=True) if a.size]
    requests += [call.Isend([a, comm.mpi.BYTE], r, SETUP) for r, a in zip(ranks, outgoing, strict=True) if a.size]
    comm.mpi.Request.Waitall(requests)


class Window:
    """Shared memory of this rank's node, with room for `rows` rows of ROW bytes in each slot. Made collectively."""

    def __init__(self, comm, rows):
        self.node, self.largest = comm.node, comm.mpi.MAX
        self.capacity = -(-int(rows * SPARE + 64) * ROW // PAGE) * PAGE
        self.header = -(-(STARTS + 2 * self.node.size) * 8 // PAGE) * PAGE
        self.segment = self.header + 2 * self.capacity
        self.memory_of_ranks = comm.mpi.Win.Allocate_shared(self.segment, 1, comm=self.node)
        base = [self.memory_of_ranks.Shared_query(r)[0].address for r in (0, self.node.rank)]
        size = self.segment * self.node.size
        self.memory = np.frombuffer((ctypes.c_char * size).from_address(base[0]), np.uint8)
        cores = set().union(*self.node.allgather(affinity()))
        spins = SPINS if self.node.size <= len(cores) else 0
        self.place = np.array([base[0], self.segment, self.capacity, self.node.rank, self.node.size, spins, self.header])
        self.round = self.votes = self.gatherings = 0
        self.user = None  # the plan whose rounds are counted
        self._views = {}
        assert base[1] == base[0] + self.node.rank * self.segment
        mine = self.memory[self.node.rank * self.segment :][: self.header]
        mine[:] = 0
        self.starts = mine.view(np.int64)[STARTS:][: 2 * self.node.size].reshape(-1, 2)
        self.node.Barrier()

    def free(self):
        self._views, self.memory, self.starts = {}, None, None
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
        self.starts[...] = user.starts  # all are done with what was there

    def next(self, user):
        """The number of a round that begins now."""
        if self.user is not user:
            self.begin(user)
        self.round += 1
        return self.round

    def slot(self, kind, number, rows, width):
        """This rank's slot of a round, as an array (rows, width)."""
        start = self.node.rank * self.segment + self.header + number % 2 * self.capacity
        return self.memory[start : start + rows * width * kind.itemsize].view(kind).reshape(rows, width)

    def view(self, kind):
        """All segments as one array of a type."""
        if kind not in self._views:
            self._views[kind] = self.memory.view(kind)
        return self._views[kind]

    def any(self, flag):
        """True on all ranks of the node if it is on one. Collective."""
        self.votes += 1
        return vote(self.place, self.votes, flag)

    def gather(self, *values):
        """(ranks, LINE − 1) of which each row begins with these integers of a rank of the node. Collective."""
        self.gatherings += 1
        out = np.zeros((self.node.size, LINE - 1), np.int64)
        out[self.node.rank, : len(values)] = values
        gather(self.place, self.gatherings, out)
        return out

    def letters(self, packed, starts):
        """As the function of this name, views of the slots; None if there is no room for some rank's. A round of its own, of all
        ranks of the node."""
        size, sent = self.node.size, int(starts[-1])
        numbers = self.gather(sent, self.round).max(0)  # also: nobody reads a slot any more
        if numbers[0] + 8 * (size + 1) > self.capacity:
            return None
        self.round, self.user = int(numbers[1]) + 1, None
        slot = self.header + self.round % 2 * self.capacity
        mine = self.memory[self.node.rank * self.segment + slot :]
        mine[: 8 * (size + 1)].view(np.int64)[:] = starts
        mine[8 * (size + 1) :][:sent] = packed[:sent]
        wait_for_all(self.place, self.round)
        found = []
        for r in range(size):
            theirs = self.memory[r * self.segment + slot :]
            begin, end = (8 * (size + 1) + int(k) for k in theirs[8 * self.node.rank :][:16].view(np.int64))
            found.append(theirs[begin:end])
        return found


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
    word = VOTE + LINE * (number % 2)
    put(place[BASE] + place[ME] * place[SEGMENT], word, 2 * number + (1 if flag else 0))
    found = False
    for r in range(place[SIZE]):
        address = place[BASE] + r * place[SEGMENT]
        _await(address, word, 2 * number, place[PATIENCE])
        found |= look(address, word) % 2 == 1
    return found


@njit(cache=True, nogil=True)
def gather(place, number, values):
    """Each rank writes its row of `values` and then the number, and reads the others' rows."""
    word, me = GATHER + LINE * (number % 2), place[ME]
    for k in range(values.shape[1]):
        put(place[BASE] + me * place[SEGMENT], word + 1 + k, values[me, k])
    put(place[BASE] + me * place[SEGMENT], word, number)
    for r in range(place[SIZE]):
        address = place[BASE] + r * place[SEGMENT]
        _await(address, word, number, place[PATIENCE])
        for k in range(values.shape[1]):
            values[r, k] = look(address, word + 1 + k)


@njit(cache=True, nogil=True)
def wait_for_all(place, number):
    """Announce a round, and wait until all ranks of the node have."""
    _announce(place, number)
    for r in range(place[SIZE]):
        _await(place[BASE] + r * place[SEGMENT], ROUND, number, place[PATIENCE])


@njit(cache=True, nogil=True)
def _announce(place, number):
    put(place[BASE] + place[ME] * place[SEGMENT], ROUND, number)


@njit(cache=True, nogil=True)
def _slot(place, rank, number):
    """Where a rank's slot of a round begins, in bytes of the memory of all."""
    return rank * place[SEGMENT] + place[HEADER] + number % 2 * place[CAPACITY]


@njit(cache=True, nogil=True)
def _start(place, table, p, back, number, row):
    """Where in the memory of all lies what peer p has for us, in bytes; waits until it is there. `row`: bytes; back: 0, 1."""
    peer = table[p, PEER]
    address = place[BASE] + peer * place[SEGMENT]
    _await(address, ROUND, number, place[PATIENCE])
    return _slot(place, peer, number) + look(address, STARTS + 2 * place[ME] + back) * row


@njit(cache=True, nogil=True)
def _copy(place, table, number, array, memory):
    width, flat = array.shape[1], array.reshape(-1)
    for p in range(table.shape[0]):
        k = _start(place, table, p, 0, number, width * memory.itemsize) // memory.itemsize
        to = table[p, GHOST] * width
        for e in range(table[p, COMES] * width):
            flat[to + e] = memory[k + e]


@njit(cache=True, nogil=True)
def forward(place, table, number, array, memory, owner, n, rows):
    """What peers see of `rows` into our slot; images (`owner`, from row n on) of our own atoms; then what peers have for us."""
    width, k = array.shape[1], _slot(place, place[ME], number) // memory.itemsize
    for g in range(rows.shape[0]):
        for d in range(width):
            memory[k + d] = array[rows[g], d]
        k += width
    _announce(place, number)
    for g in range(owner.shape[0]):
        for d in range(width):
            array[n + g, d] = array[owner[g], d]
    _copy(place, table, number, array, memory)


@njit(cache=True, nogil=True)
def forward_positions(place, table, number, array, memory, owner, n, rows, displacements, sent):
    """As `forward`, images displaced, and what is `sent` too."""
    k = _slot(place, place[ME], number) // 8
    for g in range(rows.shape[0]):
        i = rows[g]
        memory[k] = array[i, 0] + sent[g, 0]
        memory[k + 1] = array[i, 1] + sent[g, 1]
        memory[k + 2] = array[i, 2] + sent[g, 2]
        k += 3
    _announce(place, number)
    for g in range(owner.shape[0]):
        i = owner[g]
        array[n + g, 0] = array[i, 0] + displacements[g, 0]
        array[n + g, 1] = array[i, 1] + displacements[g, 1]
        array[n + g, 2] = array[i, 2] + displacements[g, 2]
    _copy(place, table, number, array, memory)


@njit(cache=True, nogil=True)
def forward_columns(place, peers, number, table, row, owner, n, rows):
    """As `forward`, of several arrays together: ``engine.domain.columns``."""
    pack(table, row, rows, place[BASE] + _slot(place, place[ME], number))
    _announce(place, number)
    repeat(table, owner, n)
    for p in range(peers.shape[0]):
        source = place[BASE] + _start(place, peers, p, 0, number, row)
        unpack(table, row, source, peers[p, COMES], peers[p, GHOST])


@njit(cache=True, nogil=True)
def reverse(place, table, number, array, memory, owner, n, rows):
    """Ghosts of peers are handed out; own images, from row n on, are added to their owners; then what comes back to `rows`."""
    width, flat = array.shape[1], array.reshape(-1)
    out = _slot(place, place[ME], number) // memory.itemsize
    for p in range(table.shape[0]):
        start = table[p, GHOST] * width
        for e in range(table[p, COMES] * width):
            memory[out + e] = flat[start + e]
        out += table[p, COMES] * width
    _announce(place, number)
    for g in range(owner.shape[0]):
        for d in range(width):
            array[owner[g], d] += array[n + g, d]
    for p in range(table.shape[0]):
        k = _start(place, table, p, 1, number, width * memory.itemsize) // memory.itemsize
        for g in range(table[p, SENT], table[p, SENT] + table[p, GOES]):
            i = rows[g]
            for d in range(width):
                array[i, d] += memory[k + d]
            k += width
