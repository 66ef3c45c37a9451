"""Kernels of the list for general use: images within reach, their order in bins, and the pairs, written as they are found.

A row is an atom in some image. Rows are sorted into bins with z fastest, so what a column of bins offers is one stretch of
memory. The atoms of a cube of bins look for neighbors together: what may be near any of them is copied to one place, where
each tests eight rows at a time. Of each sorted row there is one record for whatever is read of it later: (x, y, z, number of
the atom), and (shift, 0) in integers.
"""
import numpy as np
from numba import njit

from engine.kernels.simd import compress, count, lanes, load, load_rows, splat, sqrt, store, store_interleaved, to_int64

WIDTH = 8
TOGETHER = 14.0  # rows of a cube that look for neighbors together, about
LAYERS = 8  # bins of a cube along z


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
    side = min(max((TOGETHER * volume / m) ** (1.0 / 3.0), 0.3 * cutoff), cutoff)
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
def _bounds(central, sorted_x, begin, end, box):
    """Bounding box (3, 2) of the central rows among begin … end − 1; returns how many they are."""
    number = 0
    box[:, 0], box[:, 1] = np.inf, -np.inf
    for i in range(begin, end):
        if central[i]:
            number += 1
            for d in range(3):
                box[d, 0], box[d, 1] = min(box[d, 0], sorted_x[d, i]), max(box[d, 1], sorted_x[d, i])
    return number


@njit(cache=True, nogil=True, error_model="numpy")
def _candidates(sorted_x, low, counts, width, start, cutoff, box, near_x, near_row):
    """Copy all rows that may be within the cutoff of something in the box to near_x (3, ...), near_row, with nothing near
    in the last register. Returns their number, or −1 − the room that more than a part of them would need."""
    room, m, nz = near_row.shape[0] - 2 * WIDTH, 0, counts[2]
    xs, ys, zs, per_z = sorted_x[0], sorted_x[1], sorted_x[2], 1.0 / width[2]
    x, y, z = near_x[0], near_x[1], near_x[2]
    bx0 = max(0, int((box[0, 0] - cutoff - low[0]) / width[0] - 1e-9))
    bx1 = min(counts[0] - 1, int((box[0, 1] + cutoff - low[0]) / width[0] + 1e-9))
    by0 = max(0, int((box[1, 0] - cutoff - low[1]) / width[1] - 1e-9))
    by1 = min(counts[1] - 1, int((box[1, 1] + cutoff - low[1]) / width[1] + 1e-9))
    for bx in range(bx0, bx1 + 1):
        left = low[0] + bx * width[0]
        gx = max(0.0, max(left - box[0, 1], box[0, 0] - left - width[0]) - 1e-9)
        for by in range(by0, by1 + 1):
            left = low[1] + by * width[1]
            gy = max(0.0, max(left - box[1, 1], box[1, 0] - left - width[1]) - 1e-9)
            rest = cutoff * cutoff - gx * gx - gy * gy
            if rest <= 0.0:
                continue
            reach = np.sqrt(rest) + 1e-9
            low_bin = (box[2, 0] - reach - low[2]) * per_z - 1e-9
            high_bin = (box[2, 1] + reach - low[2]) * per_z + 1e-9
            if high_bin < 0.0 or low_bin > nz:
                continue
            column = (bx * counts[1] + by) * nz
            q = np.int64(start[column + max(0, min(int(low_bin), nz - 1))])
            end = np.int64(start[column + min(int(high_bin), nz - 1) + 1])
            if m + end - q > room:
                return -1 - (m + end - q)
            while q < end:  # the last register of a stretch holds more, which the next stretch overwrites
                store(x, m, load(xs, q, WIDTH))
                store(y, m, load(ys, q, WIDTH))
                store(z, m, load(zs, q, WIDTH))
                store(near_row, m, lanes(WIDTH) + np.int32(q))
                step = min(WIDTH, end - q)
                m += step
                q += step
    store(x, m, splat(np.inf, WIDTH))
    return m


@njit(cache=True, nogil=True, error_model="numpy")
def emit(central, sorted_x, records, row_shifts, low, counts, width, start, cutoff, near_x, near_row, found, first, second,
         shifts, distances, vectors):
    """Write the pairs of all central rows; returns their number, having counted without writing where the arrays end, or
    −1 − the room needed in near_x (3, ...), near_row and found, which are scratch.

    Rows of a cube share the copies of what may be near them: for each of them these are one stretch of memory."""
    room, at, nz, r2max = first.shape[0] - WIDTH, 0, counts[2], cutoff * cutoff
    near_xs, near_ys, near_zs, box = near_x[0], near_x[1], near_x[2], np.empty((3, 2))
    for cube in range(counts[0] * counts[1] * -(-nz // LAYERS)):
        column, layer = cube // -(-nz // LAYERS) * nz, cube % -(-nz // LAYERS) * LAYERS
        begin, end = start[column + layer], start[column + min(layer + LAYERS, nz)]
        if _bounds(central, sorted_x, begin, end, box) == 0:
            continue
        candidates = _candidates(sorted_x, low, counts, width, start, cutoff, box, near_x, near_row)
        if candidates < 0:
            return candidates
        for i in range(begin, end):
            if not central[i]:
                continue
            x, y, z, m = splat(sorted_x[0, i], WIDTH), splat(sorted_x[1, i], WIDTH), splat(sorted_x[2, i], WIDTH), 0
            for q in range(0, candidates, WIDTH):
                dx, dy, dz = load(near_xs, q, WIDTH) - x, load(near_ys, q, WIDTH) - y, load(near_zs, q, WIDTH) - z
                row = load(near_row, q, WIDTH)
                close = (dx * dx + dy * dy + dz * dz < r2max) & (row != np.int32(i))
                store(found, m, compress(row, close))
                m += count(close)
            if at + m <= room:
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
