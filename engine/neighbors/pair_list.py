"""All pairs within a cutoff of any structure, with shifts, vectors and distances: a list for use outside a simulation.

>>> pairs = PairList(5.0)(positions, cell, (True, True, True))
>>> energy = 0.5 * f(pairs.distances).sum()

As in ASE's, vesin's and matscipy's lists every pair is there from both ends, and
vectors = positions[second] + shifts @ cell − positions[first], for any cell, any positions and any cutoff.
"""
from dataclasses import dataclass

import numpy as np

from engine import cell as cells
from engine.neighbors import pair_search
from engine.neighbors.pair_search import WIDTH

PAGE, APART = 4096, 832  # bytes: arrays that are written side by side begin in different lines of the cache


@dataclass
class Pairs:
    """first, second (m,) int64; shifts (m, 3) int32; distances (m,) Å; vectors (m, 3) Å from first to second."""

    first: np.ndarray
    second: np.ndarray
    shifts: np.ndarray
    distances: np.ndarray
    vectors: np.ndarray


class PairList:
    """Finds all pairs within `cutoff` (Å). With `reuse` the arrays of the last call are written again."""

    def __init__(self, cutoff, reuse=False):
        self.cutoff, self.reuse = float(cutoff), reuse
        self._rows = self._room = 1024  # images and pairs that there is room for
        self._arrays, self._near = None, _scratch(1024)

    def __call__(self, positions, cell, periodic=(True, True, True)) -> Pairs:
        """Pairs of positions (n, 3) Å in a cell (3, 3) whose rows are the vectors."""
        positions, periodic = np.ascontiguousarray(positions, float), np.array(periodic, bool)
        cell, origin = np.array(cell, float), np.zeros(3)
        if not periodic.all():
            cell, origin = cells.complete(np.where(periodic[:, None], cell, 0.0), periodic, positions)
        if not len(positions):
            return _pairs(WIDTH, 0)
        bins = self._sorted(positions, cell, origin, periodic)
        while True:
            a = self._arrays if self._arrays is not None else _pairs(self._room)
            out = a.first, a.second, a.shifts.reshape(-1), a.distances, a.vectors.reshape(-1)
            total = pair_search.emit(*(bins + (self.cutoff,) + self._near + out))
            self._arrays = a if self.reuse else None
            if total < 0:
                self._near = _scratch(-2 * total + 64)
            elif total > len(a.first) - WIDTH:
                self._room, self._arrays = total + total // 50 + 64, None
            else:
                return Pairs(a.first[:total], a.second[:total], a.shifts[:total], a.distances[:total], a.vectors[:total])

    def _sorted(self, positions, cell, origin, periodic):
        """All images within reach in the order of their bins: what ``pair_search.emit`` takes."""
        inverse = np.linalg.inv(cell)
        margin = self.cutoff * (1 + 1e-12) * np.sqrt((inverse * inverse).sum(0))
        while True:
            rows, atom, shift = np.empty((self._rows, 3)), np.empty(self._rows, np.int32), np.empty((self._rows, 3), np.int32)
            m = pair_search.images(positions, cell, inverse, origin, periodic, margin, rows, atom, shift)
            if m <= self._rows:
                break
            self._rows = m + m // 20
        low, counts, width = np.empty(3), np.empty(3, np.int64), np.empty(3)
        bins = pair_search.grid(rows[:m], self.cutoff, low, counts, width)
        start, bin_of, central = np.empty(bins + 2, np.int32), np.empty(m, np.int32), np.empty(m, np.bool_)
        sorted_x, records, shifts = np.empty((3, m + WIDTH)), np.empty((m, 4)), np.zeros((m, 4), np.int32)
        pair_search.sort(rows[:m], len(positions), atom, shift, low, counts, width, start, bin_of, sorted_x, records, shifts,
                         central)
        return central, sorted_x, records.reshape(-1), shifts.reshape(-1), low, counts, width, start


def _scratch(room):
    """What the search holds for some atoms at a time: places, rows, and rows found."""
    return np.empty((3, room)), np.empty(room, np.int32), np.zeros(room, np.int32)


def _pairs(room, total=None):
    """Arrays for so many pairs, in one piece of memory."""
    kinds = ((np.int64, ()), (np.int64, ()), (np.int32, (3,)), (np.float64, ()), (np.float64, (3,)))
    sizes = [room * np.dtype(kind).itemsize * int(np.prod(shape)) for kind, shape in kinds]
    begins = [0]
    for size in sizes:
        begins.append(-(-(begins[-1] + size) // PAGE) * PAGE + APART)
    memory = np.empty(begins[-1] + PAGE, np.uint8)
    return Pairs(*(memory[b : b + size].view(kind).reshape(room, *shape)[:total]
                   for b, size, (kind, shape) in zip(begins, sizes, kinds, strict=False)))
