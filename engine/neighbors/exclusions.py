"""Excluded pairs: named by tags, left out of every list, the nearest image of the pair only.

In a cell so small that other images of a bonded neighbor are within the cutoff, those stay: they are other atoms. Two
images that are equally near, as where a pair is half a cell apart, are both left out.
"""

import numpy as np
from numba import njit

SAME = 1.0 + 1e-12  # squared distances whose ratio is below this are equal


def of_owned(exclusions, tags, n):
    """(rows (m,), partner tags (m,)) of excluded pairs seen from each owned atom, sorted by row."""
    both = np.concatenate([exclusions, exclusions[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    low, high = np.searchsorted(both[:, 0], tags[:n]), np.searchsorted(both[:, 0], tags[:n], "right")
    counts = high - low
    start = np.repeat(low - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return np.repeat(np.arange(n), counts), both[start + np.arange(len(start)), 1]


def excluded_rows(exclusions, x, tags, n):
    """Excluded pairs as rows (m, 2) int64 of x (n_all, 3): an owned atom, and the nearest row of its partner (more than
    one where several are equally near), sorted by the first. A pair of owned atoms is there from both ends."""
    rows, partners = of_owned(exclusions, tags, n)
    order = np.argsort(tags, kind="stable")
    sorted_tags = tags[order]
    low, high = np.searchsorted(sorted_tags, partners), np.searchsorted(sorted_tags, partners, "right")
    out = np.empty((int((high - low).sum()), 2), np.int64)
    return out[: _nearest(x, order, low, high, rows, out)]


@njit(cache=True)
def _nearest(x, order, low, high, first, out):
    total = 0
    for m in range(first.shape[0]):
        i, nearest = first[m], np.inf
        for again in range(2):
            for k in range(low[m], high[m]):
                j = order[k]
                d2 = (x[i, 0] - x[j, 0]) ** 2 + (x[i, 1] - x[j, 1]) ** 2 + (x[i, 2] - x[j, 2]) ** 2
                if again == 0:
                    nearest = min(nearest, d2)
                elif d2 <= nearest * SAME:
                    out[total, 0], out[total, 1] = i, j
                    total += 1
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
