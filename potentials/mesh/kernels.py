"""Spreading sources on a mesh by B-splines, and what the mesh gives back at the atoms; one atom after the other.

The mesh here is a rank's brick of the whole one, n0 × n1 × n2 points, flat, with LANES spare ones at the end: along the
last direction an atom's weights are one register, whose lanes beyond ORDER are zero.
"""

import numpy as np
from numba import njit

from engine.kernels.simd import hsum, load, splat, store

ORDER = 5  # of the splines; both by ``specialize``
LANES = 8  # register width: a power of two, not less than ORDER

inlined = njit(forceinline=True, error_model="numpy")


@inlined
def _place(x, i, origin, inverse, points, low, whole, size, index, t):
    """Mesh coordinates of atom i: point `index` (3,) of the brick and the rest t (3,); False if it is outside."""
    d0, d1, d2 = x[i, 0] - origin[0], x[i, 1] - origin[1], x[i, 2] - origin[2]
    inside = True
    for a in range(3):
        u = (d0 * inverse[0, a] + d1 * inverse[1, a] + d2 * inverse[2, a]) * points[a]
        if whole[a]:
            u -= points[a] * np.floor(u / points[a])
            u = u if u < points[a] else 0.0  # of a tiny negative number rounding makes the end
        g = np.floor(u)
        t[a] = u - g
        inside &= g >= low[a] and g <= low[a] + size[a] - ORDER  # also False where u is not a number
        index[a] = int(g) - low[a] if inside else 0
    return inside


@inlined
def _polynomial(coefficients, which, t):
    w = load(coefficients, (which * ORDER + ORDER - 1) * LANES, LANES)
    for k in range(ORDER - 2, -1, -1):
        w = w * t + load(coefficients, (which * ORDER + k) * LANES, LANES)
    return w


@njit(cache=True, nogil=True, error_model="numpy")
def spread(begin, end, x, rows, sources, origin, inverse, points, low, whole, size, coefficients, mesh):
    """Add the sources of atoms rows[begin:end] to the flat mesh; atoms outside of it are left out, and get NaN back.

    x (n_all, 3) Å; sources (n_all,); inverse (3, 3) of the cell; points (3,) of the whole mesh; low, size (3,): the
    brick's first point and numbers of points; whole (3,): does it hold all points of a direction, so that atoms wrap?
    """
    wx, wy = np.empty(LANES), np.empty(LANES)
    index, t = np.empty(3, np.int64), np.empty(3)
    n1, n2 = size[1], size[2]
    for r in range(begin, end):
        i = rows[r]
        if not _place(x, i, origin, inverse, points, low, whole, size, index, t):
            continue
        store(wx, 0, _polynomial(coefficients, 0, t[0]) * sources[i])
        store(wy, 0, _polynomial(coefficients, 0, t[1]))
        wz = _polynomial(coefficients, 0, t[2])
        for a in range(ORDER):
            row = ((index[0] + a) * n1 + index[1]) * n2 + index[2]
            for b in range(ORDER):
                o = row + b * n2
                store(mesh, o, load(mesh, o, LANES) + (wx[a] * wy[b]) * wz)


@njit(cache=True, nogil=True, error_model="numpy")
def interpolate(begin, end, x, rows, sources, origin, inverse, points, low, whole, size, coefficients, mesh, potential, forces):
    """What the mesh has at atoms rows[begin:end]: put into potential (rows,) if that has room, and its gradient per Å times the
    source taken from forces (n_all, 3), if those have."""
    wx, wy, sx, sy = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    index, t = np.empty(3, np.int64), np.empty(3)
    n1, n2 = size[1], size[2]
    values, slopes = potential.shape[0] > 0, forces.shape[0] > 0
    for r in range(begin, end):
        i = rows[r]
        if not _place(x, i, origin, inverse, points, low, whole, size, index, t):
            if values:
                potential[r] = np.nan
            if slopes:
                forces[i] = np.nan
            continue
        store(wx, 0, _polynomial(coefficients, 0, t[0]))
        store(wy, 0, _polynomial(coefficients, 0, t[1]))
        store(sx, 0, _polynomial(coefficients, 1, t[0]))
        store(sy, 0, _polynomial(coefficients, 1, t[1]))
        wz, sz = _polynomial(coefficients, 0, t[2]), _polynomial(coefficients, 1, t[2])
        value, along_x, along_y = splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES)
        for a in range(ORDER):
            row = ((index[0] + a) * n1 + index[1]) * n2 + index[2]
            line, line_y = splat(0.0, LANES), splat(0.0, LANES)
            for b in range(ORDER):
                v = load(mesh, row + b * n2, LANES)
                line += wy[b] * v
                line_y += sy[b] * v
            value += wx[a] * line
            along_x += sx[a] * line
            along_y += wx[a] * line_y
        if values:
            potential[r] = hsum(value * wz)
        if slopes:
            g0, g1, g2 = hsum(along_x * wz) * points[0], hsum(along_y * wz) * points[1], hsum(value * sz) * points[2]
            for d in range(3):
                forces[i, d] -= sources[i] * (inverse[d, 0] * g0 + inverse[d, 1] * g1 + inverse[d, 2] * g2)
