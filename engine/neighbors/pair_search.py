"""Kernels of the list for general use: images within reach, their order in bins, and the pairs, written as they are found.

A row is an atom in some image. Rows are sorted into bins with z fastest, so what a column of bins offers to an atom is one
stretch of memory, tested eight rows at a time. Of each sorted row there is one record for whatever is read of it later:
(x, y, z, number of the atom), and (shift, 0) in integers.
"""
import numpy as np
from numba import njit

from engine.kernels.simd import compress, count, lanes, load, load_rows, splat, sqrt, store, store_interleaved, to_int64

WIDTH = 8
STRETCH = 20.0  # rows of a column that are within reach, about: two or three registers, the last of them partly used
LAYERS = 5  # bins of a column along z in the length of its side


@njit(cache=True, nogil=True, error_model="numpy")
def images(x, cell, inverse, origin, periodic, margin, rows, atom, shift):
    """Every image of atoms x (n, 3) that lies within `margin` (3,), in fractions of the cell, of the cell: its place `rows`
    (m, 3), its `atom` and its `shift` (m, 3) from where the atom is, rows 0 … n − 1 being the images inside the cell.
    Fills the arrays as far as they reach; returns m."""
    n = m = x.shape[0]
    wrap, low, high = np.zeros(3, np.int64), np.zeros(3, np.int64), np.zeros(3, np.int64)
    for i in range(n):
        for d in range(3):
            if periodic[d]:
                f = 0.0
                for a in range(3):
                    f += (x[i, a] - origin[a]) * inverse[a, d]
                wrap[d] = np.int64(np.floor(f))
                f -= wrap[d]
                low[d], high[d] = np.int64(np.ceil(-margin[d] - f)), np.int64(np.floor(1.0 + margin[d] - f))
        for sx in range(low[0], high[0] + 1):
            for sy in range(low[1], high[1] + 1):
                for sz in range(low[2], high[2] + 1):
                    inside = sx == 0 and sy == 0 and sz == 0
                    row = i if inside else m
                    m += not inside
                    if row < atom.shape[0]:
                        a, b, c = sx - wrap[0], sy - wrap[1], sz - wrap[2]
                        atom[row] = i
                        shift[row, 0], shift[row, 1], shift[row, 2] = a, b, c
                        for d in range(3):
                            rows[row, d] = x[i, d] + (a * cell[0, d] + b * cell[1, d] + c * cell[2, d])
    return m


@njit(cache=True, nogil=True, error_model="numpy")
def grid(rows, cutoff, low, counts, width):
    """Bins around the rows: their corner `low`, `counts` and `width` (3,) along each axis. Returns how many there are."""
    m, high = len(rows), np.full(3, -np.inf)
    low[:] = np.inf
    for i in range(m):
        for d in range(3):
            low[d], high[d] = min(low[d], rows[i, d]), max(high[d], rows[i, d])
    volume = 1.0
    for d in range(3):
        volume *= max(high[d] - low[d], 0.1 * cutoff)
    side = min(max(np.sqrt(STRETCH * volume / (1.7 * cutoff * m)), 0.2 * cutoff), cutoff)
    while True:
        bins = 1.0
        for d in range(3):
            wanted = side if d < 2 else side / LAYERS
            counts[d] = max(1, int(min((high[d] - low[d]) / wanted, 1e6)))
            width[d] = max((high[d] - low[d]) / counts[d], 1e-9) * (1.0 + 1e-12)
            bins *= counts[d]
        if bins <= 8.0 * m + 64.0:
            return int(bins)
        side *= 1.3  # a sparse, huge box


@njit(cache=True, nogil=True, error_model="numpy")
def sort(rows, n, atom, shift, low, counts, width, start, bin_of, sorted_x, records, shifts, central):
    """Rows in the order of bins: positions sorted_x (3, m), records (m, 4), shifts (m, 4), and whether they are among the
    first n; those of bin b are start[b] … start[b + 1] − 1, start (bins + 2,)."""
    start[:] = 0
    for i in range(len(rows)):
        b = 0
        for d in range(3):
            k = int((rows[i, d] - low[d]) / width[d])
            b = b * counts[d] + min(max(k, 0), counts[d] - 1)
        bin_of[i] = b
        start[b + 2] += 1
    for b in range(2, len(start)):
        start[b] += start[b - 1]
    for i in range(len(rows)):
        k = start[bin_of[i] + 1]
        start[bin_of[i] + 1] += 1
        for d in range(3):
            sorted_x[d, k] = records[k, d] = rows[i, d]
            shifts[k, d] = shift[i, d]
        records[k, 3] = atom[i]
        central[k] = i < n


@njit(cache=True, nogil=True, error_model="numpy")
def emit(central, sorted_x, records, row_shifts, low, counts, width, start, cutoff, found, first, second, shifts, distances,
         vectors):
    """Write the pairs of all central rows; returns their number, having counted without writing where the arrays end, or
    −1 − the room that one atom's neighbors need in `found`."""
    room, near_room, at = first.shape[0] - WIDTH, found.shape[0] - 2 * WIDTH, 0
    xs, ys, zs, r2max = sorted_x[0], sorted_x[1], sorted_x[2], cutoff * cutoff
    wx, wy, per_z, nz = width[0], width[1], 1.0 / width[2], counts[2]
    for i in range(len(central)):
        if not central[i]:
            continue
        xi, yi, zi, m = xs[i], ys[i], zs[i], 0
        bx0, bx1 = max(0, int((xi - cutoff - low[0]) / wx - 1e-9)), min(counts[0] - 1, int((xi + cutoff - low[0]) / wx + 1e-9))
        by0, by1 = max(0, int((yi - cutoff - low[1]) / wy - 1e-9)), min(counts[1] - 1, int((yi + cutoff - low[1]) / wy + 1e-9))
        for bx in range(bx0, bx1 + 1):
            left = low[0] + bx * wx
            gx = max(0.0, max(left - xi, xi - left - wx) - 1e-9)
            for by in range(by0, by1 + 1):
                left = low[1] + by * wy
                gy = max(0.0, max(left - yi, yi - left - wy) - 1e-9)
                rest = r2max - gx * gx - gy * gy
                if rest <= 0.0:
                    continue
                reach = np.sqrt(rest) + 1e-9
                low_bin, high_bin = (zi - reach - low[2]) * per_z - 1e-9, (zi + reach - low[2]) * per_z + 1e-9
                if high_bin < 0.0 or low_bin > nz:
                    continue
                column = (bx * counts[1] + by) * nz
                q = np.int64(start[column + max(0, min(int(low_bin), nz - 1))])
                end = np.int64(start[column + min(int(high_bin), nz - 1) + 1])
                if m + end - q > near_room:
                    return -1 - (m + end - q)
                while q < end:
                    dx, dy, dz = load(xs, q, WIDTH) - xi, load(ys, q, WIDTH) - yi, load(zs, q, WIDTH) - zi
                    row = lanes(WIDTH) + np.int32(q)
                    close = dx * dx + dy * dy + dz * dz < r2max
                    close &= (row != np.int32(i)) & (row < np.int32(end))
                    store(found, m, compress(row, close))
                    m += count(close)
                    q += WIDTH
        if at + m <= room:
            x, y, z = splat(xi, WIDTH), splat(yi, WIDTH), splat(zi, WIDTH)
            me, origin = splat(np.int64(records[4 * i + 3]), WIDTH), load(row_shifts, 4 * i, 4)
            for q in range(0, m, WIDTH):
                X, Y, Z, atom = load_rows(records, found, q, WIDTH, 4, 0)
                dx, dy, dz = X - x, Y - y, Z - z
                store_interleaved(vectors, 3 * (at + q), dx, dy, dz)
                store(distances, at + q, sqrt(dx * dx + dy * dy + dz * dz))
                store(first, at + q, me)
                store(second, at + q, to_int64(atom))
                for k in range(q, q + WIDTH):  # the fourth number is overwritten by the next pair
                    store(shifts, 3 * (at + k), load(row_shifts, 4 * np.int64(found[k]), 4) - origin)
        at += m
    return at
