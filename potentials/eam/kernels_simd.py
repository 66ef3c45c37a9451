"""The fast passes of an embedded-atom potential: energies, forces and virials, eight or sixteen neighbors at a time.

Pass one compacts each atom's neighbors inside the cutoff, sums densities from their distances, and keeps the slopes that
forces need of each pair, so that tables are looked up once. Pass two has only to combine them with dF/dρ. Positions are
records of four (the fourth a place for dF/dρ), spline coefficients records of eight or, of several species, twelve:
density given to the first atom, to the second, and r φ; both are loaded by rows and transposed.

In mixed precision positions are 32-bit fixed-point numbers, whose differences are exact, pairs are evaluated in single
precision, and densities, forces and energies are summed in double precision.
"""
import numpy as np
from numba import njit

from engine.kernels.simd import (
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
BATCH = 4      # atoms whose neighbors are compacted before their densities are summed: no load waits for a store

SEVERAL = SPECIES > 1
STRIDE = 12 if SEVERAL else 8       # of a table row: density to i, density to j unless it is the same, r φ
RPHI = STRIDE - 4
PARTS = 3 if SEVERAL else 2      # numbers that forces need of a pair
real = np.float32 if MIXED else np.float64

inlined = njit(forceinline=True, error_model="numpy")


@inlined
def displacement(near, far, scale):
    """Records' difference as real numbers."""
    if MIXED:
        return to_float32(near - far) * scale
    return near - far


@inlined
def interval(r2, per_r, last):
    """1/r at squared distance r2, the spline interval and the position in it."""
    inverse = rsqrt(r2)
    s = minimum(r2 * inverse * per_r, last)
    m = to_int32(s)
    return inverse, s - (to_float32(m) if MIXED else to_float64(m)), m


@inlined
def table_rows(m, species, neighbors, k, own, rows, place):
    """Where the table's rows of intervals m of (own species, neighbor's species) begin, to `place`."""
    if SEVERAL:
        m = m + (gather(species, load(neighbors, k, WIDTH)) + np.int32(own * SPECIES)) * np.int32(rows)
    store(place, 0, m * np.int32(STRIDE))


@inlined
def value(c, p):
    return ((c[3] * p + c[2]) * p + c[1]) * p + c[0]


@inlined
def slope_of(c, p):
    return (real(3) * c[3] * p + real(2) * c[2]) * p + c[1]


@njit(cache=True, nogil=True, error_model="numpy")
def densities(begin, end, records, scale, offsets, indices, species, system, cutoff2, per_r, table, rows, want_energy,
              near, near_stop, kept, room, rho, energy):
    """What atoms begin … end − 1 and their neighbors give each other, and what forces will need of it.

    rho (n_all + 1,) densities; energy (S,) of pairs, if wanted
    near : their neighbors inside the cutoff one atom after the other, from offsets[begin] + begin WIDTH on, atom i's until
        near_stop[i], each atom's padded to whole registers with row n_all; species has as many entries
    kept : for a register of `near` that begins at k, from PARTS k on, f'/r of what neighbors give [of several species also
        of what they receive] and φ'/r
    room : of the longest list
    """
    most = BATCH * (room + 2 * WIDTH)
    distances, to_neighbors = np.empty(most, real), np.empty(most, real)
    rho[:], energy[:] = 0.0, 0.0
    dummy = np.int32(rho.shape[0] - 1)
    r2max, far, step, last = real(cutoff2), splat(real(cutoff2), WIDTH), real(per_r), splat(real(rows - 1), WIDTH)
    place = np.empty(WIDTH, np.int32)
    unit, zero = real(scale), splat(real(0), WIDTH)
    k = offsets[begin] + begin * WIDTH
    for batch in range(begin, end, BATCH):
        stop = min(batch + BATCH, end)
        began = here = k
        at_distance = 0
        for i in range(batch, stop):
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
            padded = (c + WIDTH - 1) // WIDTH * WIDTH
            k += padded
            at_distance += padded
            near_stop[i] = k
        at_distance = 0
        for i in range(batch, stop):
            total, pairs = splat(0.0, WIDTH), splat(0.0, WIDTH)
            for q in range(here, near_stop[i], WIDTH):
                r2 = load(distances, at_distance, WIDTH)
                inside = r2 < r2max
                inverse, p, m = interval(r2, step, last)
                table_rows(m, species, near, q, species[i], rows, place)
                f = load_rows(table, place, 0, WIDTH, 1, 0)
                rphi = load_rows(table, place, 0, WIDTH, 1, RPHI)
                given = select(inside, value(f, p), zero)
                total += to_float64(given)
                scaled = select(inside, inverse * step, zero)
                phi = select(inside, value(rphi, p) * inverse, zero)
                store(kept, PARTS * q, slope_of(f, p) * scaled)
                store(kept, PARTS * q + (PARTS - 1) * WIDTH, (slope_of(rphi, p) * scaled - phi * inverse) * inverse)
                if SEVERAL:
                    f = load_rows(table, place, 0, WIDTH, 1, 4)
                    given = select(inside, value(f, p), zero)
                    store(kept, PARTS * q + WIDTH, slope_of(f, p) * scaled)
                if want_energy:
                    pairs += to_float64(phi)
                store(to_neighbors, at_distance, given)
                at_distance += WIDTH
            rho[i] += hsum(total)
            if want_energy:
                energy[system[i]] += hsum(pairs)
            here = near_stop[i]
        for q in range(np.uint64(k - began)):   # one by one takes less than extracting lanes
            rho[np.uint64(near[np.uint64(began) + q])] += to_neighbors[q]


@njit(cache=True, nogil=True, error_model="numpy")
def forces(begin, end, records, scale, offsets, near, near_stop, kept, slope, force):
    """Forces of atoms begin … end − 1 and their neighbors, from what `densities` has left and from dF/dρ, into force
    (n_all + 1, 4), flat."""
    force[:] = 0.0
    double_zero = splat(0.0, WIDTH)
    unit = real(scale)
    k = offsets[begin] + begin * WIDTH
    for i in range(begin, end):
        x, y, z = (splat(records[4 * i], WIDTH), splat(records[4 * i + 1], WIDTH), splat(records[4 * i + 2], WIDTH))
        slope_i = splat(real(slope[i]), WIDTH)
        fx, fy, fz = double_zero, double_zero, double_zero
        while k < near_stop[i]:
            X, Y, Z, slope_j = load_rows(records, near, k, WIDTH, 4, 0)
            if MIXED:
                slope_j = reinterpret(slope_j)
            dx, dy, dz = displacement(X, x, unit), displacement(Y, y, unit), displacement(Z, z, unit)
            to_i = load(kept, PARTS * k, WIDTH)
            to_j = load(kept, PARTS * k + WIDTH, WIDTH) if SEVERAL else to_i
            w = slope_i * to_i + slope_j * to_j + load(kept, PARTS * k + (PARTS - 1) * WIDTH, WIDTH)
            gx, gy, gz = to_float64(w * dx), to_float64(w * dy), to_float64(w * dz)
            fx, fy, fz = fx + gx, fy + gy, fz + gz
            add_rows(force, near, k, -gx, -gy, -gz, double_zero)
            k += WIDTH
        force[4 * i] += hsum(fx)
        force[4 * i + 1] += hsum(fy)
        force[4 * i + 2] += hsum(fz)
