"""All pairs within a cutoff of any structure, with shifts, vectors and distances: a list for use outside a simulation.

>>> pairs = PairList(5.0)(positions, cell, (True, True, True))
>>> energy = 0.5 * f(pairs.distances).sum()

As in ASE's, vesin's and matscipy's lists every pair is there from both ends, and
vectors = positions[second] + shifts @ cell − positions[first], for any cell, any positions and any cutoff.
"""
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine import cell as cells
from engine.domain.ghosts import ghosts_for
from engine.kernels.list_search import ALWAYS, WIDTH, arrange, search
from engine.kernels.simd import load, load_rows, splat, sqrt, store, store_interleaved
from engine.neighbors.bins import bin_atoms


@dataclass
class Pairs:
    """first, second (m,) int64; shifts (m, 3) int32; distances (m,) Å; vectors (m, 3) Å from first to second."""

    first: np.ndarray
    second: np.ndarray
    shifts: np.ndarray
    distances: np.ndarray
    vectors: np.ndarray


@njit(cache=True, nogil=True, error_model="numpy")
def _emit(records, x, system, key, sorted_x, sorted_row, sorted_key, low, counts, width, start_of_system, start, radius,
          from_atom, to_atom, original, shift, offsets, found, at, first, second, shifts, distances, vectors):
    """Write the pairs of some atoms from place `at` on; returns the place after them, or −1 − the room that one atom's
    neighbors need in `found`, and counts without writing where the arrays end."""
    room = first.shape[0] - WIDTH
    for i in range(from_atom, to_atom):
        m = search(x, system, key, key, False, sorted_x, sorted_row, sorted_key, low, counts, width, start_of_system,
                   start, False, radius, i, i + 1, offsets, found, 0)
        if m > found.shape[0] - 3 * WIDTH:
            return -1 - m
        if at + m > room:
            at += m
            continue
        xi, yi, zi = splat(x[i, 0], WIDTH), splat(x[i, 1], WIDTH), splat(x[i, 2], WIDTH)
        me, origin = splat(original[i], WIDTH), load(shift, 4 * i, 4)
        for q in range(0, m, WIDTH):
            X, Y, Z, _ = load_rows(records, found, q, WIDTH, 4, 0)
            dx, dy, dz = X - xi, Y - yi, Z - zi
            store_interleaved(vectors, 3 * (at + q), dx, dy, dz)
            store(distances, at + q, sqrt(dx * dx + dy * dy + dz * dz))
            store(first, at + q, me)
        for q in range(m):
            j = np.int64(found[q])
            second[at + q] = original[j]
            store(shifts, 3 * (at + q), load(shift, 4 * j, 4) - origin)     # the fourth is overwritten by the next pair
        at += m
    return at


class PairList:
    """Finds all pairs within `cutoff` (Å). With `reuse` the arrays of the last call are written again."""

    def __init__(self, cutoff, reuse=False):
        self.cutoff, self.reuse = float(cutoff), reuse
        self._room, self._arrays, self._found = 0, None, np.zeros(1024, np.int32)

    def __call__(self, positions, cell, periodic=(True, True, True)) -> Pairs:
        """Pairs of positions (n, 3) Å in a cell (3, 3) whose rows are the vectors."""
        positions, periodic = np.ascontiguousarray(positions, float), np.array(periodic, bool)
        n = len(positions)
        cell, origin = np.array(cell, float), np.zeros(3)
        if not periodic.all():
            cell, origin = cells.complete(np.where(periodic[:, None], cell, 0.0), periodic, positions)
        fractional = (positions - origin) @ np.linalg.inv(cell)
        wrap = np.floor(fractional).astype(np.int32)
        wrap[:, ~periodic] = 0
        moved = np.flatnonzero(wrap.any(1))
        inside = positions
        if len(moved):
            fractional[moved] -= wrap[moved]
            inside = positions.copy()
            inside[moved] -= wrap[moved] @ cell
        system = np.zeros(n, np.int32)
        order = bin_atoms(inside, system, 1, 0.5 * self.cutoff).order
        margin = self.cutoff * (1 + 1e-12) / cells.heights(cell[None])
        low, high = np.where(periodic, 0.0, -np.inf), np.where(periodic, 1.0, np.inf)
        owner, image = ghosts_for(fractional[order], system, low, high, 0, 1, margin, periodic, True, 1024 + n)
        sources = np.concatenate([order, order[owner]])
        shift = np.zeros((len(sources), 4), np.int32)
        shift[n:, :3] = image
        if len(moved):
            shift[:, :3] -= wrap[sources]
        x = np.ascontiguousarray(inside[sources])
        x[n:] += image @ cell
        records = np.zeros((len(x), 4))
        records[:, :3] = x
        system = np.zeros(len(x), np.int32)
        bins = bin_atoms(x, system, 1, self.cutoff, height=0.2)
        key = np.full(len(x), ALWAYS, np.int32)
        sorted_x, sorted_row = np.empty((3, len(x) + WIDTH)), np.zeros(len(x) + WIDTH, np.int32)
        sorted_key = np.full(len(x) + WIDTH, ALWAYS, np.int32)
        arrange(x, bins.order, key, sorted_x, sorted_row, sorted_key)
        while True:
            room = max(self._room, 1024)
            if self._arrays is None or not self.reuse or len(self._arrays.first) < room:
                self._arrays = Pairs(np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 3), np.int32),
                                     np.empty(room), np.empty((room, 3)))
            a = self._arrays
            total = _emit(records.ravel(), x, system, key, sorted_x, sorted_row, sorted_key, bins.low, bins.counts,
                          bins.width, bins.first, bins.start, self.cutoff, 0, n, sources, shift.ravel(),
                          np.empty(n + 1, np.int64), self._found, 0, a.first, a.second, a.shifts.ravel(),
                          a.distances, a.vectors.ravel())
            if total < 0:
                self._found = np.zeros(-2 * total + 64, np.int32)
            elif total > room - WIDTH:
                self._room = total + total // 50 + 64
                self._arrays = None
            else:
                break
        if not self.reuse:
            self._arrays = None
        return Pairs(a.first[:total], a.second[:total], a.shifts[:total], a.distances[:total], a.vectors[:total])
