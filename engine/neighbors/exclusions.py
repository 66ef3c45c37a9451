"""Excluded pairs: named by tags, left out of every list, the nearest image of the pair only.

In a cell so small that other images of a bonded neighbor are within the cutoff, those stay: they are other atoms. Two
images that are equally near, as where a pair is half a cell apart, are both left out.
"""

import numpy as np
from numba import njit

SAME = 1.0 + 1e-12  # squared distances whose ratio is below this are equal


def excluded_rows(exclusions, x, tags, n):
    """Excluded pairs as rows (m, 2) int64 of x (n_all, 3): an owned atom, and the nearest row of its partner (more than
    one where several are equally near), sorted by the first. A pair of owned atoms is there from both ends."""
    start, partners, first, following = _by_tag(exclusions, tags)
    none = np.empty((0, 2), np.int64)
    out = np.empty((_nearest(x, tags, n, start, partners, first, following, none), 2), np.int64)
    _nearest(x, tags, n, start, partners, first, following, out)
    return out


@njit(cache=True)
def _by_tag(exclusions, tags):
    """Partners of tag t: partners[start[t]:start[t + 1]]; rows of tag t: first[t], and following[row] from each on, -1 at the
    end. Tags beyond all that are here have no rows, so pairs with them are left away."""
    size = (tags.max() if tags.shape[0] else -1) + 1
    start, first = np.zeros(size + 1, np.int64), np.full(size, -1, np.int64)
    following = np.empty(tags.shape[0], np.int64)
    for row in range(tags.shape[0] - 1, -1, -1):
        following[row] = first[tags[row]]
        first[tags[row]] = row
    for m in range(exclusions.shape[0]):
        if max(exclusions[m, 0], exclusions[m, 1]) < size:
            start[exclusions[m, 0] + 1] += 1
            start[exclusions[m, 1] + 1] += 1
    for t in range(size):
        start[t + 1] += start[t]
    at, partners = start[:-1].copy(), np.empty(start[-1], np.int64)
    for m in range(exclusions.shape[0]):
        a, b = exclusions[m]
        if max(a, b) < size:
            partners[at[a]] = b
            partners[at[b]] = a
            at[a] += 1
            at[b] += 1
    return start, partners, first, following


@njit(cache=True)
def _nearest(x, tags, n, start, partners, first, following, out):
    """Write the pairs as far as there is room in `out`; returns how many there are."""
    total = 0
    for i in range(n):
        for p in range(start[tags[i]], start[tags[i] + 1]):
            nearest = np.inf
            for again in range(2):
                j = first[partners[p]]
                while j >= 0:
                    d2 = (x[i, 0] - x[j, 0]) ** 2 + (x[i, 1] - x[j, 1]) ** 2 + (x[i, 2] - x[j, 2]) ** 2
                    if again == 0:
                        nearest = min(nearest, d2)
                    elif d2 <= nearest * SAME:
                        if total < out.shape[0]:
                            out[total, 0], out[total, 1] = i, j
                        total += 1
                    j = following[j]
    return total


@njit(cache=True)
def _filter(offsets, indices, excluded, out_offsets, out_indices):
    at = total = 0
    for i in range(offsets.shape[0] - 1):
        end = at
        while end < excluded.shape[0] and excluded[end, 0] == i:
            end += 1
        for k in range(offsets[i], offsets[i + 1]):
            keep = True
            for m in range(at, end):
                keep &= excluded[m, 1] != indices[k]
            out_indices[total] = indices[k]
            total += keep
        at = end
        out_offsets[i + 1] = total
    return total


def without(excluded, offsets, indices):
    """The list (offsets, indices) without the pairs of ``excluded_rows``."""
    out_offsets, out_indices = np.zeros_like(offsets), np.empty_like(indices)
    total = _filter(offsets, indices, excluded, out_offsets, out_indices)
    return out_offsets, out_indices[:total]
