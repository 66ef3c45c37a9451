"""Full and half Verlet lists, and edges (centre, neighbor, vector) inside a cutoff at the present positions."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.errors import InputError
from engine.kernels.list_search import PADDING, ListBuilder, ghost_roles
from engine.neighbors.bins import bin_atoms
from engine.neighbors.exclusions import excluded_rows, without


@dataclass
class CSR:
    """Neighbors of owned atom i are ``indices[offsets[i]:offsets[i + 1]]``, rows of the arrays with ghosts."""

    offsets: np.ndarray  # (n + 1,) int64
    indices: np.ndarray  # (pairs,) int32
    padded: np.ndarray  # the same with 16 zeros behind, so that registers may be loaded beyond the end


@dataclass
class Edges:
    """Pairs inside the cutoff now, sorted by centre. vectors (m, 3) = r_neighbor − r_centre, Å."""

    centre: np.ndarray  # (m,) int32, owned rows
    neighbor: np.ndarray  # (m,) int32, owned or ghost rows
    vectors: np.ndarray  # (m, 3)
    offsets: np.ndarray  # (n + 1,) int64


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

    _builder = ListBuilder()

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

    def excluded(self):
        """Rows (m, 2) of excluded pairs at the last rebuild, from both ends: ``engine.neighbors.exclusions``."""
        state = self.state
        return self.derived("excluded", lambda: excluded_rows(state.exclusions, self.reference, state.tags, state.n))

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
        if kind == "full" and self.halo.half:
            raise InputError("a full list is asked for where nobody has said that it would be: a potential says so by "
                             "lists = \"full\" in its capabilities, a hook by its reach")
        key = (kind, float(cutoff))
        if key not in self._lists:
            self._lists[key] = self._make(kind == "half", cutoff + self.skin)
        return self._lists[key]

    def _make(self, half, radius):
        state, x = self.state, self.reference
        bins = self.derived(("bins", radius), lambda: bin_atoms(x, state.system, state.n_systems, radius, height=0.2))
        roles = ghost_roles(self.halo) if half else None
        csr = CSR(*self._builder.build(x, state.n, state.system, state.tags, roles, bins, half, radius))
        if len(state.exclusions):
            csr.offsets, csr.indices = without(self.excluded(), csr.offsets, csr.indices)
            csr.padded = np.append(csr.indices, np.zeros(PADDING, np.int32))
        return csr
