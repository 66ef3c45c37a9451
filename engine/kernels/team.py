"""Threads of this process: one team, which all kernels share.

A kernel that threads may share takes a range first, ``kernel(begin, end, *shared, *private)``, and does only what belongs
to rows (atoms, clusters, blocks) begin … end − 1.
What several rows add to is private: arrays (members, ...) of which each call gets its member's row, summed afterwards in
the order of members. So results are the same bits whenever as many threads run, and differ by rounding between numbers of
threads. With one thread the kernel is called as it is.

>>> team = team_for(atoms)
>>> team(kernel, team.cuts(atoms), x, y, private=(sums,))

Members wait in compiled code (``engine.kernels.handoff``): a launch costs about a microsecond.
"""
import os
import threading
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from numba import njit

from engine.kernels import compiled, handoff

GRAIN = 500     # rows for each thread, below which one thread does all
LIGHT = 10      # times as many of rows that are only moved or copied: some microseconds, as long as a launch
ROW = 8         # what a row costs beside its entries, in entries

SOURCE = '''
from numba import njit

from engine.kernels.handoff import task


@njit(cache=True, nogil=True, error_model="numpy")
def run(control, spins, cuts, {names}):
    function, data = task(kernel, cuts, ({shared}), ({private}))
    return share(control, cuts.shape[0] - 1, spins, function, data)
'''


class Team:
    """`size` threads: this one, and size − 1 members that are started when first needed."""

    def __init__(self, size, cores=None):
        self.size = size
        self._spins = handoff.SPINS if size <= (cores or size) else 0
        self._runners, self._cuts = {}, {}
        self._members, self._words = [], None

    def __call__(self, kernel, cuts, *shared, private=()):
        """kernel(cuts[t], cuts[t + 1], *shared, *(p[t] for p in private)) on member t, for all t at once."""
        if self.size == 1:
            kernel(*cuts.tolist(), *shared, *[p[0] for p in private])   # Python's integers are passed in half the time
            return
        key = kernel, len(private)
        runner = self._runners.get(key) or self._runners.setdefault(key, _runner(kernel, len(shared), len(private)))
        if not self._members:
            self._start()
        if runner(self._control, self._spins, cuts, *shared, *private):
            raise MemoryError(f"{kernel.__name__} failed in a thread: there may be too little memory")

    def cuts(self, rows, unit=1):
        """(size + 1,) bounds of equal parts of `rows`, in multiples of `unit`."""
        key = rows, unit
        if key not in self._cuts:
            if len(self._cuts) > 64:
                self._cuts.clear()
            bounds = -(-np.arange(self.size + 1) * rows // (self.size * unit)) * unit
            self._cuts[key] = np.minimum(bounds, rows).astype(np.int64)
        return self._cuts[key]

    def balanced(self, start, stop, unit=1):
        """Bounds, multiples of `unit`, of parts of rows with about equal numbers of entries: row i has stop[i] − start[i]."""
        rows = len(start)
        if self.size == 1 or rows == 0:
            return self.cuts(rows)
        done = np.cumsum(stop - start + ROW)
        cuts = np.searchsorted(done, done[-1] * np.arange(self.size + 1) / self.size) // unit * unit
        cuts[-1] = rows
        return cuts

    def add_up(self, kernel, cuts, *shared, into):
        """Call a kernel that adds to private arrays, and add what all members found to `into`, one array or several."""
        into = into if isinstance(into, tuple) else (into,)
        if self.size == 1:
            self(kernel, cuts, *shared, private=tuple(a[None] for a in into))
            return
        parts = tuple(np.zeros((self.size, *a.shape)) for a in into)
        self(kernel, cuts, *shared, private=parts)
        for array, part in zip(into, parts, strict=True):
            array += self.total(part)

    def total(self, parts):
        """Sums over members of parts (size, ...), in parts[0]."""
        if self.size > 1:
            flat = parts.reshape(self.size, parts[0].size)
            if flat.shape[1] < 4 * GRAIN * LIGHT * self.size:  # no need to compile it for that
                for part in flat[1:]:
                    flat[0] += part
            else:
                self(_sum, self.cuts(flat.shape[1]), flat)
        return parts[0]

    def _start(self):
        self._words = np.zeros(handoff.WORDS + handoff.WORD, np.int64)
        address = self._words.ctypes.data
        self._control = address + -address % 64
        handoff.begin(self._control)
        for me in range(1, self.size):
            member = threading.Thread(target=handoff.serve, args=(self._control, me, self._spins), daemon=True, name=f"team-{me}")
            self._members.append(member)
            member.start()

    def close(self):
        """End the members; the team starts new ones if it is used again."""
        if self._members:
            self._words[(self._control - self._words.ctypes.data) // handoff.WORD + handoff.STOP] = 1
            handoff.announce(self._control)
            for member in self._members:
                member.join()
            self._members = []

    def forget(self):
        """In a forked process: there are no members here."""
        self._members = []


@njit(cache=True, nogil=True, error_model="numpy")
def _clear(begin, end, values):
    for k in range(begin, end):
        values[k] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(begin, end, parts):
    for t in range(1, parts.shape[0]):
        for k in range(begin, end):
            parts[0, k] += parts[t, k]


@lru_cache(None)
def _runner(kernel, n_shared, n_private):
    shared, private = [f"a{k}" for k in range(n_shared)], [f"p{k}" for k in range(n_private)]
    packed = {name: "".join(f"{a}, " for a in group) for name, group in (("shared", shared), ("private", private))}
    source = SOURCE.format(names=", ".join(shared + private), **packed)
    return compiled.load(source, {"kernel": kernel, "share": handoff.share}, f"team_{kernel.__name__}").run


ALONE = Team(1)
_team = ALONE


def use(threads, cores=None):
    """Have all kernels run on this many threads from now on; with more of them than `cores` they sleep between launches."""
    global _team
    if threads != _team.size:
        _team.close()
        _team = Team(threads, cores) if threads > 1 else ALONE
    return _team


def threads():
    return _team.size


def clear(array):
    """Zero a contiguous array of float64."""
    team = team_for(len(array), light=True)
    if team.size == 1:
        array[...] = 0.0
    else:
        team(_clear, team.cuts(array.size), array.reshape(-1))


@contextmanager
def using(threads, grain=1):
    """For a while: as many threads, however little there is to do."""
    global GRAIN
    before = _team.size, GRAIN
    use(threads, cores=1)
    GRAIN = grain
    try:
        yield
    finally:
        use(before[0])
        GRAIN = before[1]


def team_for(rows, light=False):
    """The team, or one thread alone where there is too little to do; `light`: each row is a few operations and no more."""
    return _team if rows >= GRAIN * (LIGHT if light else 1) * _team.size else ALONE


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _team.forget())
