"""Cluster pairs: the half list of the fast pair kernels, after Páll and Hess (Comput. Phys. Commun. 184, 2641 (2013)).

Atoms are sorted into columns, then along z, and cut into clusters of `width` atoms stored x…x y…y z…z, so that a
kernel loads a register of atoms at a time. A cluster is made of owned atoms or of ghosts, never of both. Blocks of
four atoms (a cluster, or a part of one) face clusters: of owned clusters those that come later and, under a mask,
their own; of ghost clusters all, because ghosts whose pairs are counted at the other end are left out.
A block lists a cluster if any two of their atoms were closer than the radius at the rebuild, which is exact.

Lanes without an atom are filled with points far from everything and from each other: kernels need no mask for them.
"""
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.kernels import clusters_search
from engine.kernels.clusters_search import BLOCK, COUNTED_TAG, PAD
from engine.kernels.list_search import BY_TAG_ROLE, LEFT_OUT
from engine.kernels.specialize import specialize
from engine.kernels.team import ALONE

FAR = 1.0e4     # Å below all atoms, where the points of empty lanes begin
ROOM = 24       # neighbors of a block that there is room for at first


@dataclass
class Clusters:
    """Clusters, and the pairs of blocks and clusters, valid until the next rebuild.

    width : atoms of a cluster;  n_clusters, n_owned : all, and those of owned atoms, which come first
    rows (n_clusters·width,) : the row (of arrays with ghosts) in each lane; -1: empty
    system_of (n_clusters,)
    packed (n_clusters·3·width,) Å : positions at the rebuild, and the points of empty lanes
    start, stop (blocks,), neighbors : block b faces clusters neighbors[start[b]:stop[b]] without a mask
    mask_start, mask_stop, mask_neighbors, masks : and these under a mask, whose bit m·width + l says whether its
        atom m and lane l are a pair
    """

    width: int
    n_clusters: int
    n_owned: int
    rows: np.ndarray
    system_of: np.ndarray
    packed: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    neighbors: np.ndarray
    mask_start: np.ndarray
    mask_stop: np.ndarray
    mask_neighbors: np.ndarray
    masks: np.ndarray

    @property
    def n_blocks(self):
        return self.n_owned * self.width // BLOCK

    def lanes_of(self, values, out=None):
        """A per-atom array (n_all,) as lanes (n_clusters·width,), zero in empty ones."""
        if out is None:
            out = np.empty(len(self.rows), values.dtype)
        spread_lanes(self.rows, values, out)
        return out


@njit(cache=True, error_model="numpy")
def spread_lanes(rows, values, out):
    for k in range(rows.shape[0]):
        out[k] = values[rows[k]] if rows[k] >= 0 else 0


@njit(cache=True, nogil=True, error_model="numpy")
def _bounds(begin, end, x, system, low, high, number):
    """Of each system, the corners (S, 3) of a box around rows begin … end − 1 of x, and how many there are (S,)."""
    for i in range(begin, end):
        s = system[i]
        number[s] += 1
        for d in range(3):
            low[s, d] = min(low[s, d], x[i, d])
            high[s, d] = max(high[s, d], x[i, d])


@njit(cache=True, error_model="numpy")
def _grid(low, high, number, radius, width, size, counts, first):
    """Columns whose side makes clusters about as long as wide, in fine z bins; not many more bins than atoms."""
    for s in range(low.shape[0]):
        if number[s] == 0:
            low[s] = 0.0
            high[s] = 0.0
        volume = 1.0
        for d in range(3):
            volume *= max(high[s, d] - low[s, d], 0.5 * radius)
        side = min((width * volume / max(number[s], 1)) ** (1.0 / 3.0), radius)
        while True:
            bins = 1.0
            for d in range(3):
                wanted = side if d < 2 else 0.2 * side
                counts[s, d] = max(1, int(min((high[s, d] - low[s, d]) / wanted + 0.5, 1e6)))
                size[s, d] = max((high[s, d] - low[s, d]) / counts[s, d], 1e-6) * (1.0 + 1e-12)
                bins *= counts[s, d]
            if bins <= 8.0 * number[s] + 64.0:
                break
            side *= 1.3
        first[s + 1] = first[s] + counts[s, 0] * counts[s, 1] * counts[s, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _assign(begin, end, x, system, n, role, low, size, counts, first, bin_of):
    """The bin of each atom, ghosts' bins after all those of owned atoms; -1 for ghosts that are left out."""
    shift = first[first.shape[0] - 1]
    for i in range(begin, end):
        if i >= n and role[i - n] == LEFT_OUT:
            bin_of[i] = -1
            continue
        s = system[i]
        b = 0
        for d in range(3):
            k = int((x[i, d] - low[s, d]) / size[s, d])
            b = b * counts[s, d] + min(max(k, 0), counts[s, d] - 1)
        bin_of[i] = b + first[s] + (shift if i >= n else 0)


@njit(cache=True, error_model="numpy")
def _count(bin_of, bin_start):
    for i in range(bin_of.shape[0]):
        if bin_of[i] >= 0:
            bin_start[bin_of[i] + 1] += 1
    for b in range(bin_start.shape[0] - 1):
        bin_start[b + 1] += bin_start[b]


@njit(cache=True, error_model="numpy")
def _sort(bin_of, bin_start, order):
    fill = bin_start[:-1].copy()
    for i in range(bin_of.shape[0]):
        b = bin_of[i]
        if b >= 0:
            order[fill[b]] = i
            fill[b] += 1


@njit(cache=True, error_model="numpy")
def _columns(counts, first, bin_start, width, column_first, column_start):
    """Number the clusters column after column, owned ones first; returns how many are owned and how many there are."""
    bins = first[counts.shape[0]]
    c = total = owned = 0
    for kind in range(2):
        for s in range(counts.shape[0]):
            column_first[kind, s] = c
            for column in range(counts[s, 0] * counts[s, 1]):
                b = kind * bins + first[s] + column * counts[s, 2]
                column_start[c] = total
                total += (bin_start[b + counts[s, 2]] - bin_start[b] + width - 1) // width
                c += 1
        if kind == 0:
            owned = total
    column_start[c] = total
    return owned, total


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(begin, end, x, role, n, tags, low, radius, counts, first, bin_start, order, width, column_first, column_start,
          rows, packed, lane_tags, filled, system_of, column_of, by_tag, box):
    """Of columns begin … end − 1, put atoms into lanes and points into empty ones; bounding boxes (6, clusters) and what
    else a search needs."""
    bins, systems = first[counts.shape[0]], counts.shape[0]
    corner, tagged = low.min() - FAR, lane_tags.shape[0] > 0
    kind = s = 0
    for c in range(begin, end):
        while s + 1 < systems and c >= column_first[kind, s + 1] or s + 1 == systems and kind == 0 and c >= column_first[1, 0]:
            kind, s = (kind, s + 1) if s + 1 < systems else (1, 0)
        column = c - column_first[kind, s]
        b = kind * bins + first[s] + column * counts[s, 2]
        p, last = bin_start[b], bin_start[b + counts[s, 2]]
        for j in range(column_start[c], column_start[c + 1]):
            system_of[j], column_of[j], by_tag[j], filled[j] = s, column, False, min(width, last - p)
            for d in range(3):
                box[2 * d, j], box[2 * d + 1, j] = np.inf, -np.inf
            for lane in range(width):
                k, o = j * width + lane, j * 3 * width + lane
                if p == last:
                    rows[k] = -1
                    if tagged:
                        lane_tags[k] = -1
                    packed[o] = corner - 3.0 * radius * (k % 1000)
                    packed[o + width] = corner - 3.0 * radius * (k // 1000)
                    packed[o + 2 * width] = corner
                    continue
                i = order[p]
                p += 1
                rows[k] = i
                if tagged:
                    counted = i >= n and role[i - n] != BY_TAG_ROLE
                    by_tag[j] |= i >= n and not counted
                    lane_tags[k] = COUNTED_TAG if counted else tags[i]
                for d in range(3):
                    packed[o + d * width] = x[i, d]
                    box[2 * d, j] = min(box[2 * d, j], x[i, d])
                    box[2 * d + 1, j] = max(box[2 * d + 1, j], x[i, d])


class ClusterBuilder:
    """Makes Clusters at every rebuild, in buffers that it keeps: what it returned before is then no longer valid.

    What only the search needs is let go when it is done: for large systems it is as much as forces and pruned lists, which
    are not there while it runs.
    """

    def __init__(self, width):
        self.width = width
        self._search = specialize(clusters_search, WIDTH=width).search
        self._buffers = {}
        self._room = ROOM, 2.0  # neighbors of a block without and with a mask

    def _buffer(self, name, shape, dtype):
        """An uninitialised array with room for `shape`, kept from build to build."""
        size = int(np.prod(shape))
        held = self._buffers.get(name)
        if held is None or held.size < size:
            held = self._buffers[name] = np.empty(size + size // 8 + 64, dtype)
        return held[:size].reshape(shape)

    def build(self, x, n, system, n_systems, tags, role, radius, team=ALONE):
        """Clusters of rows x (n_all, 3) within `radius` Å, the first n owned; role (n_all − n,) of ghosts: `ghost_roles`."""
        width, buffer = self.width, self._buffer
        low, high = np.full((team.size, n_systems, 3), np.inf), np.full((team.size, n_systems, 3), -np.inf)
        number, atoms = np.zeros((team.size, n_systems), np.int64), team.cuts(len(x))
        team(_bounds, atoms, x, system, private=(low, high, number))
        low, high, number = low.min(0), high.max(0), number.sum(0)
        size, counts = np.empty((n_systems, 3)), np.empty((n_systems, 3), np.int64)
        first = np.zeros(n_systems + 1, np.int64)
        _grid(low, high, number, radius, width, size, counts, first)
        bin_of, order, bin_start = np.empty(len(x), np.int32), np.empty(len(x), np.int32), np.zeros(2 * first[-1] + 1, np.int32)
        team(_assign, atoms, x, system, n, role, low, size, counts, first, bin_of)
        _count(bin_of, bin_start)
        _sort(bin_of, bin_start, order)
        del bin_of
        column_first = np.zeros((2, n_systems), np.int64)
        columns = 2 * int((counts[:, 0] * counts[:, 1]).sum())
        column_start = np.empty(columns + 1, np.int64)
        owned, total = _columns(counts, first, bin_start, width, column_first, column_start)
        rows, packed = buffer("rows", total * width, np.int32), buffer("packed", total * 3 * width, np.float64)
        system_of = buffer("system_of", total, np.int32)
        tagged = bool((role == BY_TAG_ROLE).any())
        lane_tags = np.empty(total * width if tagged else 0, np.int64)
        filled, column_of, by_tag = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total, np.bool_)
        box = np.empty((6, total + PAD))
        team(_fill, team.cuts(columns), x, role, n, tags, low, radius, counts, first, bin_start, order, width, column_first,
             column_start, rows, packed, lane_tags, filled, system_of, column_of, by_tag, box)
        blocks = owned * width // BLOCK
        starts = buffer("starts", (4, blocks), np.int64)
        cuts = team.cuts(blocks)
        room, mask_room = (int(entries * blocks / team.size) + 64 for entries in self._room)
        while True:     # a segment of the lists for each thread
            neighbors = buffer("neighbors", team.size * (room + 1), np.int32)
            mask_neighbors = buffer("mask_neighbors", team.size * mask_room, np.int32)
            masks = buffer("masks", team.size * mask_room, np.int64)
            t = np.arange(team.size)
            begins, mask_begins = t * (room + 1), t * mask_room
            segments = np.stack([begins, begins + room, mask_begins, mask_begins + mask_room], 1)
            team(self._search, cuts, packed, filled, system_of, column_of, by_tag, lane_tags, box, radius, low, size, counts,
                 first, bin_start, column_first, column_start, starts[0], starts[1], neighbors, starts[2], starts[3],
                 mask_neighbors, masks, private=(segments,))
            found, mask_found = (segments[:, 0] - begins).max(), (segments[:, 2] - mask_begins).max()
            if found <= room and mask_found <= mask_room:
                break
            room, mask_room = max(room, int(found)), max(mask_room, int(mask_found))
            self._room = 1.1 * room * team.size / blocks, 1.1 * mask_room * team.size / blocks
        return Clusters(width, total, owned, rows, system_of, packed, starts[0], starts[1], neighbors, starts[2], starts[3],
                        mask_neighbors, masks)
