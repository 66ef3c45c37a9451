"""The fast passes of an embedded-atom potential: energies, forces and virials, eight or sixteen neighbors at a time.

Pass one compacts each atom's neighbors inside the cutoff and sums densities from their distances; pass two reuses the
compacted list. Positions are records of four (the fourth a place for dF/dρ), spline coefficients records of twelve:
density given to the first atom, to the second, and r φ; both are loaded by rows and transposed.

In mixed precision positions are 32-bit fixed-point numbers, whose differences are exact, pairs are evaluated in single
precision, and densities, forces and energies are summed in double precision.
"""
import numpy as np
from numba import njit

from engine.kernels.simd import (
    add_lanes,
    add_rows,
    compress,
    count,
    gather,
    hsum,
    lanes,
    load,
    load_rows,
    minimum,
    reinterpret,
    rsqrt,
    select,
    splat,
    store,
    to_float32,
    to_float64,
    to_int32,
)

WIDTH = 8       # lanes; these three are set by ``specialize``
MIXED = False
SPECIES = 1
BATCH = 16      # atoms whose neighbors are compacted before their densities are summed: no load waits for a store

SEVERAL = SPECIES > 1
STRIDE = 12 if SEVERAL else 8       # of a table row: density to i, density to j unless it is the same, r φ
RPHI = STRIDE - 4
real = np.float32 if MIXED else np.float64

inlined = njit(forceinline=True, error_model="numpy")


@inlined
def displacement(near, far, scale):
    """Records' difference as real numbers."""
    if MIXED:
        return to_float32(near - far) * scale
    return near - far


@inlined
def interval(r2, per_r, last, place):
    """Spline interval (stored to `place`) and position in it, at squared distance r2; and 1/r."""
    inverse = rsqrt(r2)
    s = minimum(r2 * inverse * per_r, last)
    m = to_int32(s)
    store(place, 0, m)
    return inverse, s - (to_float32(m) if MIXED else to_float64(m)), m


@inlined
def species_rows(species, neighbors, k, own, rows, m, place):
    """Turn intervals into rows of the table of (own species, neighbor's species)."""
    if SEVERAL:
        kinds = gather(species, load(neighbors, k, WIDTH))
        store(place, 0, m + (kinds + np.int32(own * SPECIES)) * np.int32(rows))


@inlined
def near_begin(offsets, i):
    """Where atom i's neighbors inside the cutoff begin: there is room for all of its list."""
    return offsets[i] + i * WIDTH


@njit(cache=True, nogil=True, error_model="numpy")
def densities(begin, end, records, scale, offsets, indices, species, cutoff2, per_r, table, rows, near, near_stop, room,
              rho):
    """Densities that atoms begin … end − 1 give and receive into rho (n_all + 1,), species as long, and their neighbors
    inside the cutoff, of atom i near[near_begin(offsets, i):near_stop[i]], padded to whole registers with row n_all;
    `room`: of the longest list."""
    distances = np.empty(BATCH * (room + 2 * WIDTH), real)
    rho[:] = 0.0
    dummy = np.int32(rho.shape[0] - 1)
    r2max, far, step, last = real(cutoff2), splat(real(cutoff2), WIDTH), real(per_r), splat(real(rows - 1), WIDTH)
    place, counts = np.empty(WIDTH, np.int32), np.empty(BATCH, np.int64)
    unit = real(scale)
    for batch in range(begin, end, BATCH):
        stop = min(batch + BATCH, end)
        at_distance = 0
        for i in range(batch, stop):
            k = near_begin(offsets, i)
            x, y, z = (splat(records[4 * i], WIDTH), splat(records[4 * i + 1], WIDTH),
                       splat(records[4 * i + 2], WIDTH))
            c = 0
            for q in range(offsets[i], offsets[i + 1], WIDTH):
                rows_of = load(indices, q, WIDTH)
                valid = lanes(WIDTH) < np.int32(offsets[i + 1] - q)
                X, Y, Z, _ = load_rows(records, indices, q, WIDTH, 4, 0)
                dx, dy, dz = displacement(X, x, unit), displacement(Y, y, unit), displacement(Z, z, unit)
                r2 = dx * dx + dy * dy + dz * dz
                inside = (r2 < r2max) & valid
                store(near, k + c, compress(rows_of, inside))
                store(distances, at_distance + c, compress(r2, inside))
                c += count(inside)
            store(near, k + c, splat(dummy, WIDTH))
            store(distances, at_distance + c, far)
            counts[i - batch] = c
            near_stop[i] = k + (c + WIDTH - 1) // WIDTH * WIDTH
            at_distance += (c + WIDTH - 1) // WIDTH * WIDTH
        at_distance = 0
        for i in range(batch, stop):
            total = splat(0.0, WIDTH)
            here = near_begin(offsets, i)
            for q in range(0, counts[i - batch], WIDTH):
                r2 = load(distances, at_distance + q, WIDTH)
                _, p, m = interval(r2, step, last, place)
                species_rows(species, near, here + q, species[i], rows, m, place)
                c0, c1, c2, c3 = load_rows(table, place, 0, WIDTH, STRIDE, 0)
                given = select(r2 < r2max, ((c3 * p + c2) * p + c1) * p + c0, real(0))
                total += to_float64(given)
                if SEVERAL:
                    c0, c1, c2, c3 = load_rows(table, place, 0, WIDTH, STRIDE, 4)
                    given = select(r2 < r2max, ((c3 * p + c2) * p + c1) * p + c0, real(0))
                add_lanes(rho, near, here + q, to_float64(given))
            rho[i] += hsum(total)
            at_distance += (counts[i - batch] + WIDTH - 1) // WIDTH * WIDTH


@njit(cache=True, nogil=True, error_model="numpy")
def forces(begin, end, records, scale, offsets, near, near_stop, species, system, cutoff2, per_r, table, rows, slope,
           want_energy, force, energy):
    """Pair and embedding forces of atoms begin … end − 1 and their neighbors into force (n_all + 1, 4), flat, and pair
    energies into energy (S,)."""
    force[:], energy[:] = 0.0, 0.0
    r2max, far, step, last = real(cutoff2), splat(real(cutoff2), WIDTH), real(per_r), splat(real(rows - 1), WIDTH)
    zero, double_zero = splat(real(0), WIDTH), splat(0.0, WIDTH)
    place = np.empty(WIDTH, np.int32)
    unit = real(scale)
    for i in range(begin, end):
        x, y, z = (splat(records[4 * i], WIDTH), splat(records[4 * i + 1], WIDTH), splat(records[4 * i + 2], WIDTH))
        slope_i = splat(real(slope[i]), WIDTH)
        fx, fy, fz, pairs = double_zero, double_zero, double_zero, double_zero
        for k in range(near_begin(offsets, i), near_stop[i], WIDTH):
            X, Y, Z, slope_j = load_rows(records, near, k, WIDTH, 4, 0)
            if MIXED:
                slope_j = reinterpret(slope_j)
            dx, dy, dz = displacement(X, x, unit), displacement(Y, y, unit), displacement(Z, z, unit)
            r2 = dx * dx + dy * dy + dz * dz
            inside = r2 < r2max
            inverse, p, m = interval(select(inside, r2, far), step, last, place)
            species_rows(species, near, k, species[i], rows, m, place)
            a0, a1, a2, a3 = load_rows(table, place, 0, WIDTH, STRIDE, 0)
            c0, c1, c2, c3 = load_rows(table, place, 0, WIDTH, STRIDE, RPHI)
            to_i = (3.0 * a3 * p + 2.0 * a2) * p + a1
            embedding = (slope_i + slope_j) * to_i
            if SEVERAL:
                b0, b1, b2, b3 = load_rows(table, place, 0, WIDTH, STRIDE, 4)
                embedding = slope_i * to_i + slope_j * ((3.0 * b3 * p + 2.0 * b2) * p + b1)
            phi = (((c3 * p + c2) * p + c1) * p + c0) * inverse
            slope_rphi = (3.0 * c3 * p + 2.0 * c2) * p + c1
            w = select(inside, ((embedding + slope_rphi * inverse) * step - phi * inverse) * inverse, zero)
            if want_energy:
                pairs += to_float64(select(inside, phi, zero))
            gx, gy, gz = to_float64(w * dx), to_float64(w * dy), to_float64(w * dz)
            fx, fy, fz = fx + gx, fy + gy, fz + gz
            add_rows(force, near, k, -gx, -gy, -gz, double_zero)
        force[4 * i] += hsum(fx)
        force[4 * i + 1] += hsum(fy)
        force[4 * i + 2] += hsum(fz)
        if want_energy:
            energy[system[i]] += hsum(pairs)
