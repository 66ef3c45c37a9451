"""Binning in Cartesian space, one grid for each system, z fastest, so that a column's bins are contiguous."""

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass
class Bins:
    """Atoms sorted into bins.

    low (S, 3) Å; counts (S, 3) bins along each axis; width (S, 3) Å; first (S + 1,) first bin of each system;
    start (bins + 1,): atoms of bin b are order[start[b]:start[b + 1]]; bin_of (n,)
    """

    low: np.ndarray
    counts: np.ndarray
    width: np.ndarray
    first: np.ndarray
    start: np.ndarray
    order: np.ndarray
    bin_of: np.ndarray


@njit(cache=True)
def _bounds(positions, system, low, high, number):
    for i in range(positions.shape[0]):
        s = system[i]
        number[s] += 1
        for d in range(3):
            low[s, d] = min(low[s, d], positions[i, d])
            high[s, d] = max(high[s, d], positions[i, d])


@njit(cache=True)
def _assign(positions, system, low, counts, width, first, bin_of, start):
    for i in range(positions.shape[0]):
        s = system[i]
        b = 0
        for d in range(3):
            k = int((positions[i, d] - low[s, d]) / width[s, d])
            b = b * counts[s, d] + min(max(k, 0), counts[s, d] - 1)
        b += first[s]
        bin_of[i] = b
        start[b + 1] += 1


@njit(cache=True)
def _scatter(bin_of, start, order):
    for b in range(start.shape[0] - 1):
        start[b + 1] += start[b]
    fill = start[:-1].copy()
    for i in range(bin_of.shape[0]):
        b = bin_of[i]
        order[fill[b]] = i
        fill[b] += 1


def bin_atoms(positions, system, n_systems, size, per_atom=4.0, height=1.0):
    """Sort atoms into bins of at least `size` Å a side, `height` times that along z (larger where bins would outnumber
    atoms by `per_atom`)."""
    low = np.full((n_systems, 3), np.inf)
    high = np.full((n_systems, 3), -np.inf)
    number = np.zeros(n_systems, np.int64)
    _bounds(positions, system, low, high, number)
    low[number == 0], high[number == 0] = 0.0, 0.0
    extent = high - low
    sizes = np.full(n_systems, float(size))
    while True:  # sparse, huge boxes get wider bins
        counts = np.maximum((extent / (sizes[:, None] * (1.0, 1.0, height))).astype(np.int64), 1)
        crowded = counts.prod(1, dtype=float) > per_atom * number + 64
        if not crowded.any():
            break
        sizes[crowded] *= 1.5
    width = np.maximum(extent / counts, 1e-9) * (1 + 1e-12)
    first = np.concatenate([[0], np.cumsum(counts.prod(1))])
    start = np.zeros(first[-1] + 1, np.int32)
    bin_of, order = np.empty(len(positions), np.int32), np.empty(len(positions), np.int64)
    _assign(positions, system, low, counts, width, first, bin_of, start)
    _scatter(bin_of, start, order)
    return Bins(low, counts, width, first, start, order, bin_of)
