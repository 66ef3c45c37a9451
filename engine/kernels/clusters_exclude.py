"""Excluded pairs in cluster lists: the bits of their lanes are cleared, so that the fast kernels leave them out.

A cluster that holds the partner of one of a block's atoms goes from the block's plain neighbors to those under a mask.
"""
import numpy as np
from numba import njit

from engine.kernels.clusters_search import BLOCK


@njit(cache=True, nogil=True, error_model="numpy")
def _lanes(rows, lane):
    """The lane of each row, −1 for ghosts that are left out."""
    for k in range(rows.shape[0]):
        if rows[k] >= 0:
            lane[rows[k]] = k


@njit(cache=True, nogil=True, error_model="numpy")
def _place(excluded, lane, begin, order):
    """The pairs of each block: order[begin[block]:begin[block + 1]]."""
    for m in range(excluded.shape[0]):
        begin[lane[excluded[m, 0]] // BLOCK + 1] += 1
    for block in range(begin.shape[0] - 1):
        begin[block + 1] += begin[block]
    at = begin[:-1].copy()
    for m in range(excluded.shape[0]):
        block = lane[excluded[m, 0]] // BLOCK
        order[at[block]] = m
        at[block] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _clear(excluded, lane, begin, order, width, start, stop, neighbors, mask_start, mask_stop, old_neighbors, old_masks,
           mask_neighbors, masks):
    km = 0
    for block in range(start.shape[0]):
        first = km
        for p in range(mask_start[block], mask_stop[block]):
            mask_neighbors[km], masks[km] = old_neighbors[p], old_masks[p]
            km += 1
        for q in range(begin[block], begin[block + 1]):
            i, j = lane[excluded[order[q], 0]], lane[excluded[order[q], 1]]
            if j < 0:
                continue
            cluster, found = j // width, -1
            for p in range(first, km):
                if mask_neighbors[p] == cluster:
                    found = p
            if found < 0:
                kept = start[block]
                for p in range(start[block], stop[block]):
                    neighbors[kept] = neighbors[p]
                    if neighbors[p] == cluster:
                        found = km
                    else:
                        kept += 1
                stop[block] = kept
                if found < 0:       # counted from the other end, or beyond the radius
                    continue
                mask_neighbors[km], masks[km] = cluster, np.int64(-1)
                km += 1
            masks[found] &= ~(np.int64(1) << np.int64((i % BLOCK) * width + j % width))
        mask_start[block], mask_stop[block] = first, km
    return km


def clear(clusters, excluded, n_all):
    """Take the pairs of rows `excluded` (m, 2), the first of each owned, out of `clusters`, in place."""
    lane = np.full(n_all, -1, np.int64)
    _lanes(clusters.rows, lane)
    begin, order = np.zeros(clusters.n_blocks + 1, np.int64), np.empty(len(excluded), np.int64)
    _place(excluded, lane, begin, order)
    room = len(clusters.mask_neighbors) + len(excluded)
    mask_neighbors, masks = np.empty(room, np.int32), np.empty(room, np.int64)
    _clear(excluded, lane, begin, order, clusters.width, clusters.start, clusters.stop, clusters.neighbors,
           clusters.mask_start, clusters.mask_stop, clusters.mask_neighbors, clusters.masks, mask_neighbors, masks)
    clusters.mask_neighbors, clusters.masks = mask_neighbors, masks
