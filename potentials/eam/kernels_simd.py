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


@njit(cache=True, nogil=True, error_model="numpy")
def pack(x, records):
    """Records (n_all + 1, 4) of positions; the last one is far from everything."""
    for i in range(x.shape[0]):
        records[i, 0], records[i, 1], records[i, 2], records[i, 3] = x[i, 0], x[i, 1], x[i, 2], 0.0
    for d in range(4):
        records[x.shape[0], d] = 1e6 if d < 3 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def pack_fixed(x, low, per_length, records):
    """The same as 32-bit integers, x = low + record / per_length; the last one is as far off as can be."""
    for i in range(x.shape[0]):
        for d in range(3):
            records[i, d] = np.int32(np.rint((x[i, d] - low[d]) * per_length))
        records[i, 3] = 0
    for d in range(4):
        records[x.shape[0], d] = 2**30 if d < 3 else 0


@njit(cache=True, nogil=True, error_model="numpy")
def put_slopes(slope, records):
    """dF/dρ (n_all,) into the fourth place of floating-point records (rows, 4)."""
    for i in range(slope.shape[0]):
        records[i, 3] = slope[i]


@njit(cache=True, nogil=True, error_model="numpy")
def unpack(force, x, system, forces, virial, want_virial):
    """Add forces of all rows and, from ghosts' own forces, the virial W_ab = Σ r_a F_b."""
    for i in range(x.shape[0]):
        for a in range(3):
            forces[i, a] += force[i, a]
    if want_virial:
        for i in range(x.shape[0]):
            for a in range(3):
                for b in range(3):
                    part = 0.5 * x[i, a] * force[i, b]
                    virial[system[i], a, b] += part
                    virial[system[i], b, a] += part


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


@njit(cache=True, nogil=True, error_model="numpy")
def densities(n, records, scale, offsets, indices, species, cutoff2, per_r, table, rows, rho, near, near_start,
              distances):
    """Add densities to rho (n_all + 1,), species as long, and store neighbors inside the cutoff, of atom i
    near[near_start[i]:near_start[i + 1]], padded to whole registers with row n_all. `distances` has room for BATCH times
    the longest list and 2 WIDTH."""
    dummy = np.int32(rho.shape[0] - 1)
    r2max, far, step, last = real(cutoff2), splat(real(cutoff2), WIDTH), real(per_r), splat(real(rows - 1), WIDTH)
    place, counts = np.empty(WIDTH, np.int32), np.empty(BATCH, np.int64)
    unit = real(scale)
    k = 0
    for batch in range(0, n, BATCH):
        stop = min(batch + BATCH, n)
        at_distance = 0
        for i in range(batch, stop):
            near_start[i] = k
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
            k += (c + WIDTH - 1) // WIDTH * WIDTH
            at_distance += (c + WIDTH - 1) // WIDTH * WIDTH
        at_distance = 0
        for i in range(batch, stop):
            total = splat(0.0, WIDTH)
            here = near_start[i]
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
    near_start[n] = k


@njit(cache=True, nogil=True, error_model="numpy")
def forces(n, records, scale, near, near_start, species, system, cutoff2, per_r, table, rows, slope, force, energy,
           want_energy):
    """Add pair and embedding forces to force (n_all + 1, 4), flat, and pair energies to energy (S,)."""
    r2max, far, step, last = real(cutoff2), splat(real(cutoff2), WIDTH), real(per_r), splat(real(rows - 1), WIDTH)
    zero, double_zero = splat(real(0), WIDTH), splat(0.0, WIDTH)
    place = np.empty(WIDTH, np.int32)
    unit = real(scale)
    for i in range(n):
        x, y, z = (splat(records[4 * i], WIDTH), splat(records[4 * i + 1], WIDTH), splat(records[4 * i + 2], WIDTH))
        slope_i = splat(real(slope[i]), WIDTH)
        fx, fy, fz, pairs = double_zero, double_zero, double_zero, double_zero
        for k in range(near_start[i], near_start[i + 1], WIDTH):
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
