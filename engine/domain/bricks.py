"""Bricks: which rank owns which part of space, and how boundaries are placed so that all have the same work.

Recursive bisection (Berger and Bokhari, IEEE Trans. Comput. C-36, 570 (1987)) in fractional coordinates: the ranks of
a region are halved (a third and two thirds for three), and the region is cut across its longest side where the work on
both sides is in that proportion. So any number of ranks gets compact bricks, and any of them may be empty. Where there
are several systems, a region is cut between systems as long as that balances well enough: whole systems need no
exchange.

A cut is a weighted median, found by counting work in ever finer bins. Counts are integers, so the bricks depend neither on the
order of atoms nor on who owns them now.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

BINS = 64
PASSES = 3  # each divides the interval that holds the cut by BINS
CLOSE = 0.005  # a cut is good enough when it misses its share by less than this
UNEVEN = 1.2  # whole systems may load a region by this factor more than its share before systems are cut through
NEARLY = 0.95  # of the longest side: cut along the first such axis (atoms are sorted by it: what is sent lies close together)
SYSTEM = 3  # the "axis" of a cut between systems


@dataclass
class Bricks:
    """A tree of cuts and its leaves, the bricks.

    axis (nodes,): 0, 1, 2 (fractional), 3 (system) or −1 at a leaf;  cut (nodes,): less goes to child, else to child + 1
    child (nodes,): at a leaf, the rank
    low, high (ranks, 3): fractional bounds, infinite along open directions;  first, last (ranks,): systems first ≤ s < last
    """

    axis: np.ndarray
    cut: np.ndarray
    child: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @classmethod
    def from_tree(cls, axis, cut, child, periodic, n_systems):
        leaves = int((np.asarray(axis) < 0).sum())
        low, high = np.empty((leaves, 3)), np.empty((leaves, 3))
        first, last = np.empty(leaves, np.int64), np.empty(leaves, np.int64)
        start = np.where(periodic, 0.0, -np.inf), np.where(periodic, 1.0, np.inf), 0, n_systems
        stack = [(0, *start)]
        while stack:
            k, a, b, s, t = stack.pop()
            if axis[k] < 0:
                r = child[k]
                low[r], high[r], first[r], last[r] = a, b, s, t
            elif axis[k] == SYSTEM:
                stack += [(child[k], a, b, s, int(cut[k])), (child[k] + 1, a, b, int(cut[k]), t)]
            else:
                middle = b.copy(), a.copy()
                middle[0][axis[k]] = middle[1][axis[k]] = cut[k]
                stack += [(child[k], a, middle[0], s, t), (child[k] + 1, middle[1], b, s, t)]
        return cls(np.asarray(axis, np.int8), np.asarray(cut, float), np.asarray(child, np.int32), low, high, first, last)

    @classmethod
    def whole(cls, periodic, n_systems):
        """One brick that is everything."""
        return cls.from_tree([-1], [0.0], [0], periodic, n_systems)

    def owners(self, fractional, system):
        """Rank (n,) int32 that owns each of these places."""
        out = np.empty(len(fractional), np.int32)
        _owners(fractional, system, self.axis, self.cut, self.child, out)
        return out

    def leaving(self, fractional, system, rank):
        """Atoms (m,) that other ranks than this one own, in the order of ranks, and how many go to each (ranks,)."""
        atoms, owner = np.empty(len(system), np.int64), np.empty(len(system), np.int32)
        counts = np.zeros(len(self.first), np.int64)
        gone = _leaving(fractional, system, self.axis, self.cut, self.child, rank, atoms, owner, counts)
        return atoms[:gone][np.argsort(owner[:gone], kind="stable")], counts

    def state_dict(self):
        return {"axis": self.axis, "cut": self.cut, "child": self.child}


@njit(cache=True)
def _owners(fractional, system, axis, cut, child, out):
    for i in range(fractional.shape[0]):
        k = 0
        while axis[k] >= 0:
            value = fractional[i, axis[k]] if axis[k] < 3 else float(system[i])
            k = child[k] if value < cut[k] else child[k] + 1
        out[i] = child[k]


@njit(cache=True)
def _leaving(fractional, system, axis, cut, child, rank, atoms, owner, counts):
    gone = 0
    for i in range(fractional.shape[0]):
        k = 0
        while axis[k] >= 0:
            value = fractional[i, axis[k]] if axis[k] < 3 else float(system[i])
            k = child[k] if value < cut[k] else child[k] + 1
        if child[k] != rank:
            atoms[gone], owner[gone] = i, child[k]
            counts[child[k]] += 1
            gone += 1
    return gone


class _Region:
    """A node of the tree while it grows: ranks first_rank … first_rank + ranks − 1, systems first … last − 1."""

    def __init__(self, node, first_rank, ranks, systems, whole):
        self.node, self.first_rank, self.ranks, self.systems, self.whole = node, first_rank, ranks, systems, whole

    @property
    def share(self):
        return (self.ranks // 2) / self.ranks


def divide(fractional, system, work, n_systems, heights, periodic, comm):
    """Bricks for all ranks of `comm` from everybody's atoms: fractional (n, 3), system (n,), work (n,) int64.

    heights (3,) Å between opposite faces: sides are compared in Å. Collective.
    """
    axis, cut, child = [-1], [0.0], [0]
    regions = [_Region(0, 0, comm.size, (0, n_systems), True)]
    where = np.zeros(len(fractional), np.int64)  # index into regions
    while regions:
        low, high = _extents(fractional, where, len(regions), comm)
        length = np.where(high > low, high - low, 0.0) * heights
        across = np.argmax(length >= NEARLY * length.max(1, keepdims=True), axis=1)
        between = _between_systems(system, work, where, regions, n_systems, comm)
        cuts = _medians(fractional, work, where, across, low, high, np.array([r.share for r in regions]), comm)
        grown, route = [], np.full((len(regions), 2), -1)
        direction = np.where(between > 0, SYSTEM, across)
        place = np.where(between > 0, between, cuts)
        for k, region in enumerate(regions):
            if region.ranks == 1:
                child[region.node] = region.first_rank
                continue
            axis[region.node], cut[region.node], child[region.node] = direction[k], place[k], len(axis)
            half = region.ranks // 2
            s, t = region.systems
            c = int(place[k])
            systems = ((s, c), (c, t)) if direction[k] == SYSTEM else ((s, t), (s, t))
            whole = region.whole and direction[k] == SYSTEM
            for side, (first, ranks) in enumerate(((0, half), (half, region.ranks - half))):
                route[k, side] = len(grown)
                grown.append(_Region(len(axis), region.first_rank + first, ranks, systems[side], whole))
                axis.append(-1), cut.append(0.0), child.append(0)
        keep = route[where, 0] >= 0
        fractional, system, work, where = fractional[keep], system[keep], work[keep], where[keep]
        columns = np.column_stack([fractional, system.astype(float)])
        value = columns[np.arange(len(where)), direction[where]]
        where = route[where, (value >= place[where]).astype(np.int64)]
        regions = grown
    return Bricks.from_tree(axis, cut, child, periodic, n_systems)


def _extents(fractional, where, regions, comm):
    low, high = np.full((regions, 3), np.inf), np.full((regions, 3), -np.inf)
    np.minimum.at(low, where, fractional)
    np.maximum.at(high, where, fractional)
    low, high = comm.min(low), comm.max(high)
    empty = high < low
    return np.where(empty, 0.0, low), np.where(empty, 1.0, high)


def _between_systems(system, work, where, regions, n_systems, comm):
    """For each region the first system of its second half, or 0 where it is better cut through space."""
    out = np.zeros(len(regions), np.int64)
    if not any(r.whole and r.ranks > 1 and r.systems[1] - r.systems[0] > 1 for r in regions):
        return out
    load = comm.sum(np.bincount(system, weights=work, minlength=n_systems).astype(np.int64))
    for k, region in enumerate(regions):
        s, t = region.systems
        total = load[s:t].sum()
        if not region.whole or region.ranks == 1 or t - s < 2 or total == 0:
            continue
        done = np.cumsum(load[s : t - 1]) / total
        best = int(np.argmin(np.abs(done - region.share)))
        if max(done[best] / region.share, (1 - done[best]) / (1 - region.share)) < UNEVEN:
            out[k] = s + best + 1
    return out


def _medians(fractional, work, where, across, low, high, share, comm):
    """Where to cut each region across its axis so that the fraction `share` of its work lies below."""
    regions = len(share)
    rows = np.arange(regions)
    a, b = low[rows, across], high[rows, across]
    b = b + 1e-12  # the last atom is inside, and no interval is empty
    x = fractional[np.arange(len(where)), across[where]]
    total = comm.sum(np.bincount(where, weights=work, minlength=regions).astype(np.int64))
    goal = share * total
    below = np.zeros(regions)
    cut, miss = 0.5 * (a + b), np.where(total > 0, np.inf, 0.0)
    for _ in range(PASSES):
        width = (b - a) / BINS
        k = np.floor((x - a[where]) / width[where]).astype(np.int64)
        inside = (k >= 0) & (k < BINS) & (x < b[where])
        counts = np.bincount(where[inside] * BINS + k[inside], weights=work[inside], minlength=regions * BINS)
        counts = comm.sum(counts.astype(np.int64)).reshape(regions, BINS)
        edges = np.column_stack([below, below[:, None] + np.cumsum(counts, axis=1)])  # work below each bin's edge
        off = np.abs(edges - goal[:, None])
        best = np.argmin(off, axis=1)
        better = off[rows, best] < miss
        cut = np.where(better, a + best * width, cut)
        miss = np.where(better, off[rows, best], miss)
        if (miss <= CLOSE * total * np.minimum(share, 1 - share)).all():
            break
        bin_ = np.clip((edges <= goal[:, None]).sum(1) - 1, 0, BINS - 1)
        below = edges[rows, bin_]
        a, b = a + bin_ * width, a + (bin_ + 1) * width
    return cut
