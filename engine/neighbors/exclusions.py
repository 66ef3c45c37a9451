"""Excluded pairs: named by tags, left out of every list, the nearest image of the pair only.

In a cell so small that other images of a bonded neighbor are within the cutoff, those stay: they are other atoms.
"""

import numpy as np
from numba import njit


def nearest_rows(x, tags, first, second):
    """For each pair (row `first`, tag `second`): the nearest row with that tag, -1 if there is none, and its distance²."""
    order = np.argsort(tags, kind="stable")
    sorted_tags = tags[order]
    low, high = np.searchsorted(sorted_tags, second), np.searchsorted(sorted_tags, second, "right")
    row, distance2 = np.full(len(first), -1, np.int64), np.full(len(first), np.inf)
    _nearest(x, order, low, high, np.asarray(first, np.int64), row, distance2)
    return row, distance2


@njit(cache=True)
def _nearest(x, order, low, high, first, row, distance2):
    for m in range(first.shape[0]):
        i = first[m]
        for k in range(low[m], high[m]):
            j = order[k]
            d2 = (x[i, 0] - x[j, 0]) ** 2 + (x[i, 1] - x[j, 1]) ** 2 + (x[i, 2] - x[j, 2]) ** 2
            if d2 < distance2[m]:
                row[m], distance2[m] = j, d2


def of_owned(exclusions, tags, n):
    """(rows (m,), partner tags (m,)) of excluded pairs seen from each owned atom, sorted by row."""
    both = np.concatenate([exclusions, exclusions[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    low, high = np.searchsorted(both[:, 0], tags[:n]), np.searchsorted(both[:, 0], tags[:n], "right")
    counts = high - low
    start = np.repeat(low - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    return np.repeat(np.arange(n), counts), both[start + np.arange(len(start)), 1]


@njit(cache=True)
def _filter(x, tags, offsets, indices, rows, partners, distance2, out_offsets, out_indices):
    at = total = 0
    for i in range(offsets.shape[0] - 1):
        end = at
        while end < rows.shape[0] and rows[end] == i:
            end += 1
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            keep = True
            for m in range(at, end):
                if partners[m] == tags[j]:
                    d2 = (x[i, 0] - x[j, 0]) ** 2 + (x[i, 1] - x[j, 1]) ** 2 + (x[i, 2] - x[j, 2]) ** 2
                    keep = d2 > distance2[m] * (1.0 + 1e-12)
                    break
            if keep:
                out_indices[total] = j
                total += 1
        at = end
        out_offsets[i + 1] = total
    return total


def without(exclusions, x, tags, offsets, indices):
    """The list (offsets, indices) without excluded pairs; x (n_all, 3) and tags (n_all,) at the rebuild."""
    n = len(offsets) - 1
    rows, partners = of_owned(exclusions, tags, n)
    _, distance2 = nearest_rows(x, tags, rows, partners)
    out_offsets, out_indices = np.zeros_like(offsets), np.empty_like(indices)
    total = _filter(x, tags, offsets, indices, rows, partners, distance2, out_offsets, out_indices)
    return out_offsets, out_indices[:total]
