"""Full and half Verlet lists, and edges (centre, neighbor, vector) inside a cutoff at the present positions."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.domain.halo import positive
from engine.neighbors.bins import bin_atoms


@dataclass
class CSR:
    """Neighbors of owned atom i are ``indices[offsets[i]:offsets[i + 1]]``, rows of the arrays with ghosts."""

    offsets: np.ndarray  # (n + 1,) int64
    indices: np.ndarray  # (pairs,) int32


@dataclass
class Edges:
    """Pairs inside the cutoff now, sorted by centre. vectors (m, 3) = r_neighbor − r_centre, Å."""

    centre: np.ndarray  # (m,) int32, owned rows
    neighbor: np.ndarray  # (m,) int32, owned or ghost rows
    vectors: np.ndarray  # (m, 3)
    offsets: np.ndarray  # (n + 1,) int64


@njit(cache=True)
def _build(x, system, n, radius, low, counts, width, first, start, order, half, keep, tags, zero, offsets, indices):
    """Fill a list as far as `indices` reaches; return how many entries there are."""
    r2 = radius * radius
    total = 0
    offsets[0] = 0
    a = np.empty(3, np.int64)
    b = np.empty(3, np.int64)
    for i in range(n):
        s = system[i]
        xi, yi, zi = x[i, 0], x[i, 1], x[i, 2]
        for d in range(3):
            a[d] = max(int((x[i, d] - radius - low[s, d]) / width[s, d]) - 1, 0)
            b[d] = min(int((x[i, d] + radius - low[s, d]) / width[s, d]) + 1, counts[s, d] - 1)
        for bx in range(a[0], b[0] + 1):
            gx = max(0.0, max(low[s, 0] + bx * width[s, 0] - xi, xi - low[s, 0] - (bx + 1) * width[s, 0]) - 1e-9)
            for by in range(a[1], b[1] + 1):
                gy = max(0.0, max(low[s, 1] + by * width[s, 1] - yi, yi - low[s, 1] - (by + 1) * width[s, 1]) - 1e-9)
                rest = r2 - gx * gx - gy * gy
                if rest < 0.0:
                    continue
                reach = np.sqrt(rest)
                column = first[s] + (bx * counts[s, 1] + by) * counts[s, 2]
                z0 = max(int((zi - reach - low[s, 2]) / width[s, 2]) - 1, 0)
                z1 = min(int((zi + reach - low[s, 2]) / width[s, 2]) + 1, counts[s, 2] - 1)
                if z1 < z0:
                    continue
                for k in range(start[column + z0], start[column + z1 + 1]):
                    j = order[k]
                    dx, dy, dz = x[j, 0] - xi, x[j, 1] - yi, x[j, 2] - zi
                    if dx * dx + dy * dy + dz * dz >= r2 or j == i:
                        continue
                    if half:
                        if j < n:
                            if j < i:
                                continue
                        elif zero[j - n]:
                            if ((tags[i] + tags[j]) % 2 == 0) != (tags[i] < tags[j]):
                                continue
                        elif not keep[j - n]:
                            continue
                    if total < indices.shape[0]:
                        indices[total] = j
                    total += 1
        offsets[i + 1] = total
    return total


@njit(cache=True)
def _count_edges(x, offsets, indices, cutoff2, counts):
    for i in range(offsets.shape[0] - 1):
        m = 0
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1], x[j, 2] - x[i, 2]
            m += dx * dx + dy * dy + dz * dz < cutoff2
        counts[i + 1] = m


@njit(cache=True)
def _fill_edges(x, offsets, indices, cutoff2, out, centre, neighbor, vectors):
    for i in range(offsets.shape[0] - 1):
        m = out[i]
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1], x[j, 2] - x[i, 2]
            if dx * dx + dy * dy + dz * dz < cutoff2:
                centre[m] = i
                neighbor[m] = j
                vectors[m, 0], vectors[m, 1], vectors[m, 2] = dx, dy, dz
                m += 1


class Neighbors:
    """Lists of one domain between two rebuilds, made when first asked for, from the positions of the rebuild."""

    def __init__(self, state, halo, reference, skin):
        self.state, self.halo, self.reference, self.skin = state, halo, reference, skin
        self._lists: dict[tuple[str, float], CSR] = {}
        self._cache: dict = {}  # what drivers derive from the lists and keep until the next rebuild

    def half(self, cutoff) -> CSR:
        """Each pair once, out to cutoff + skin at the last rebuild."""
        return self._get("half", cutoff)

    def full(self, cutoff) -> CSR:
        """Every neighbor of every owned atom, out to cutoff + skin at the last rebuild."""
        return self._get("full", cutoff)

    def derived(self, key, make):
        """`make()` once for each rebuild: drivers keep packed or clustered forms of a list here."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def edges(self, cutoff) -> Edges:
        """Pairs inside `cutoff` at the present positions."""
        csr, x = self.full(cutoff), self.state.positions
        offsets = np.zeros_like(csr.offsets)
        _count_edges(x, csr.offsets, csr.indices, cutoff * cutoff, offsets)
        np.cumsum(offsets, out=offsets)
        m = int(offsets[-1])
        centre, neighbor, vectors = np.empty(m, np.int32), np.empty(m, np.int32), np.empty((m, 3))
        _fill_edges(x, csr.offsets, csr.indices, cutoff * cutoff, offsets, centre, neighbor, vectors)
        return Edges(centre, neighbor, vectors, offsets)

    def _get(self, kind, cutoff):
        key = (kind, float(cutoff))
        if key not in self._lists:
            self._lists[key] = self._make(kind == "half", cutoff + self.skin)
        return self._lists[key]

    def _make(self, half, radius):
        state, halo, x = self.state, self.halo, self.reference
        bins = self.derived(
            ("bins", radius), lambda: bin_atoms(x, state.system, state.n_systems, radius / 2 + 1e-9)
        )
        keep, zero = positive(halo.shift), ~halo.shift.any(1)
        offsets = np.empty(state.n + 1, np.int64)
        guess = 1024 + len(x) * 40
        while True:
            indices = np.empty(guess, np.int32)
            total = _build(
                x, state.system, state.n, radius, bins.low, bins.counts, bins.width, bins.first, bins.start,
                bins.order, half, keep, state.tags, zero, offsets, indices,
            )
            if total <= guess:
                return CSR(offsets, indices[:total])
            guess = total
