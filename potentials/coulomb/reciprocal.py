"""The reciprocal half of Ewald's sum, one system at a time (P. P. Ewald, Ann. Phys. 369, 253 (1921)).

    E = (C 4π/V) Σ_k∈half g(k) |S(k)|²,   g = e^{−k²/4α²}/k²,   S(k) = Σ_i q_i e^{ik·r_i},   C = e²/4πε₀
    f_i = (C 8π/V) q_i Σ g k Im[S* e^{ik·r_i}],   ∂E/∂q_i = (C 8π/V) Σ g Re[S* e^{ik·r_i}]
    W_ab = Σ E_k [δ_ab − 2 k_a k_b (1/k² + 1/4α²)]

Of k and −k one is summed. k = 2π h⁻¹ m with integers m; phases are products of three one-dimensional ones.
"""

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
def _count_or_fill(reciprocal, limit, bounds, out):
    """Integers m of one half-space with |2π h⁻¹ m| ≤ limit, grouped by their first two; returns how many."""
    count = 0
    for mx in range(0, bounds[0] + 1):
        for my in range(-bounds[1] if mx > 0 else 0, bounds[1] + 1):
            for mz in range(-bounds[2] if mx > 0 or my > 0 else 1, bounds[2] + 1):
                k2 = 0.0
                for d in range(3):
                    k = reciprocal[d, 0] * mx + reciprocal[d, 1] * my + reciprocal[d, 2] * mz
                    k2 += k * k
                if k2 <= limit * limit:
                    if count < out.shape[0]:
                        out[count, 0], out[count, 1], out[count, 2] = mx, my, mz
                    count += 1
    return count


def half_space(cell, limit):
    """Integers (K, 3) and vectors (K, 3) in 1/Å of half the reciprocal lattice inside a sphere of radius `limit`."""
    reciprocal = 2.0 * np.pi * np.linalg.inv(cell)  # columns are the reciprocal vectors
    bounds = np.floor(limit * np.linalg.norm(cell, axis=1) / (2.0 * np.pi) + 1e-9).astype(np.int64)
    integers = np.empty((_count_or_fill(reciprocal, limit, bounds, np.empty((0, 3), np.int64)), 3), np.int64)
    _count_or_fill(reciprocal, limit, bounds, integers)
    return integers, integers @ reciprocal.T


@njit(cache=True, error_model="numpy")
def phases(fractional, highest):
    """cos and sin of 2π m f_d: (3, highest + 1, n), m ≥ 0."""
    n = fractional.shape[0]
    c, s = np.empty((3, highest + 1, n)), np.empty((3, highest + 1, n))
    for d in range(3):
        for m in range(highest + 1):
            for i in range(n):
                f = fractional[i, d] * m
                f = 2.0 * np.pi * (f - np.rint(f))
                c[d, m, i], s[d, m, i] = np.cos(f), np.sin(f)
    return c, s


@njit(cache=True, error_model="numpy", inline="always")
def _column(c, s, mx, my, u, v):
    """cos and sin (u, v) of the first two phases of every atom."""
    sign = 1.0 if my >= 0 else -1.0
    a, b, p, q = c[0, mx], s[0, mx], c[1, abs(my)], s[1, abs(my)]
    for i in range(u.shape[0]):
        u[i] = a[i] * p[i] - sign * b[i] * q[i]
        v[i] = b[i] * p[i] + sign * a[i] * q[i]


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def structure_factors(integers, c, s, charges, out):
    """Add Σ q cos, Σ q sin into out (K, 2)."""
    n = charges.shape[0]
    u, v = np.empty(n), np.empty(n)
    for k in range(integers.shape[0]):
        mx, my, mz = integers[k]
        if k == 0 or mx != integers[k - 1, 0] or my != integers[k - 1, 1]:
            _column(c, s, mx, my, u, v)
        sign = 1.0 if mz >= 0 else -1.0
        p, q = c[2, abs(mz)], s[2, abs(mz)]
        re = im = 0.0
        for i in range(n):
            re += charges[i] * (u[i] * p[i] - sign * v[i] * q[i])
            im += charges[i] * (v[i] * p[i] + sign * u[i] * q[i])
        out[k, 0] += re
        out[k, 1] += im


@njit(cache=True, error_model="numpy")
def back(integers, vectors, c, s, weights, factors, potential, field):
    """Potential (n,) Σ 2w Re[S* e] and field (n, 3) Σ 2w k Im[S* e] at every atom; weights w (K,) = C 4π g/V."""
    n = potential.shape[0]
    u, v = np.empty(n), np.empty(n)
    for k in range(integers.shape[0]):
        mx, my, mz = integers[k]
        if k == 0 or mx != integers[k - 1, 0] or my != integers[k - 1, 1]:
            _column(c, s, mx, my, u, v)
        sign = 1.0 if mz >= 0 else -1.0
        p, q = c[2, abs(mz)], s[2, abs(mz)]
        re, im = 2.0 * weights[k] * factors[k, 0], 2.0 * weights[k] * factors[k, 1]
        kx, ky, kz = vectors[k]
        for i in range(n):
            x, y = u[i] * p[i] - sign * v[i] * q[i], v[i] * p[i] + sign * u[i] * q[i]
            potential[i] += re * x + im * y
            g = re * y - im * x
            field[i, 0] += g * kx
            field[i, 1] += g * ky
            field[i, 2] += g * kz


@njit(cache=True, error_model="numpy")
def atom_virials(integers, c, s, weights, factors, shapes, charges, out):
    """Add q_i Σ w Re[S* e] shape into out (n, 3, 3); shapes (K, 3, 3) are the brackets of W."""
    n = charges.shape[0]
    u, v = np.empty(n), np.empty(n)
    for k in range(integers.shape[0]):
        mx, my, mz = integers[k]
        if k == 0 or mx != integers[k - 1, 0] or my != integers[k - 1, 1]:
            _column(c, s, mx, my, u, v)
        sign = 1.0 if mz >= 0 else -1.0
        p, q = c[2, abs(mz)], s[2, abs(mz)]
        re, im = weights[k] * factors[k, 0], weights[k] * factors[k, 1]
        for i in range(n):
            e = charges[i] * (re * (u[i] * p[i] - sign * v[i] * q[i]) + im * (v[i] * p[i] + sign * u[i] * q[i]))
            for a in range(3):
                for b in range(3):
                    out[i, a, b] += e * shapes[k, a, b]
