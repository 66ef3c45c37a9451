"""Real spherical harmonics and Wigner 3j symbols in e3nn's convention, with NumPy alone (no torch at run time).

Convention: components of order l are numbered m = −l … l, the polar axis is y, so that l = 1 is (x, y, z); harmonics
are normalised by component, Σ_m Y_lm(n)² = 2l + 1 on the unit sphere; a 3j tensor has Frobenius norm one.

| symbol | name |
|---|---|
| C^{l1 l2 l3}_{ijk} | ``wigner_3j(l1, l2, l3)[i, j, k]`` |
| Y_{l+1,k} = c_l Σ C^{l 1 l+1}_{ijk} Y_{l,i} n_j | ``raising(l)[k, i, j]`` |
| ∂R_{l,k}/∂n_j = Σ_i D_{kij} R_{l−1,i}, R the homogeneous polynomial that equals Y on the sphere | ``lowering(l)[k, i, j]`` |
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, sqrt

import numpy as np


def dimension(l_max: int) -> int:
    """Number of harmonics up to and including l_max."""
    return (l_max + 1) ** 2


def degrees(l_max: int) -> np.ndarray:
    """(dimension,) the l of each component: 0, 1, 1, 1, 2, ..."""
    return np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)


def _clebsch_gordan(l1, m1, l2, m2, l3, m3):
    """<l1 m1 l2 m2 | l3 m3> by Racah's formula."""
    if m3 != m1 + m2:
        return 0.0
    f = factorial
    prefactor = sqrt((2 * l3 + 1) * f(l3 + l1 - l2) * f(l3 - l1 + l2) * f(l1 + l2 - l3) / f(l1 + l2 + l3 + 1))
    prefactor *= sqrt(f(l3 + m3) * f(l3 - m3) / (f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2)))
    low, high = max(0, l2 - l1 + m3 - l2 - m2, -l1 + m1), min(l2 + l3 + m1, l3 - l1 + l2, l3 + m3)
    total = 0.0
    for v in range(low, high + 1):
        denominators = (v, l3 - l1 + l2 - v, l3 + m3 - v, v + l1 - l2 - m3)
        if min(denominators) < 0:
            continue
        total += (-1) ** (v + l2 + m2) * f(l2 + l3 + m1 - v) * f(l1 - m1 + v) / np.prod([float(f(d)) for d in denominators])
    return prefactor * total


def _real_to_complex(l):
    """(2l+1, 2l+1): complex harmonics from real ones, with the phase (−i)^l that makes 3j tensors real."""
    q = np.zeros((2 * l + 1, 2 * l + 1), complex)
    for m in range(-l, 0):
        q[l + m, l + abs(m)], q[l + m, l - abs(m)] = 1 / sqrt(2), -1j / sqrt(2)
    q[l, l] = 1
    for m in range(1, l + 1):
        q[l + m, l + abs(m)], q[l + m, l - abs(m)] = (-1) ** m / sqrt(2), 1j * (-1) ** m / sqrt(2)
    return (-1j) ** l * q


@lru_cache
def wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    """(2l1+1, 2l2+1, 2l3+1) real, Frobenius norm 1: the only invariant of l1 ⊗ l2 ⊗ l3."""
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"l = {l1}, {l2}, {l3} violate the triangle rule")
    c = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= l3:
                c[l1 + m1, l2 + m2, l3 + m1 + m2] = _clebsch_gordan(l1, m1, l2, m2, l3, m1 + m2)
    q1, q2, q3 = map(_real_to_complex, (l1, l2, l3))
    real = np.einsum("ij,kl,mn,ikm->jln", q1, q2, q3.conj(), c)
    assert np.abs(real.imag).max() < 1e-9
    real = real.real / np.linalg.norm(real.real)
    real[np.abs(real) < 1e-12] = 0.0
    real.setflags(write=False)
    return real


@lru_cache
def raising(l: int) -> np.ndarray:
    """(2l+3, 2l+1, 3): Y_{l+1} from Y_l and the unit vector; the constant follows from the normalisation at n = y."""
    c = np.moveaxis(wigner_3j(l, 1, l + 1), 2, 0)
    n = np.array([0.0, 1.0, 0.0])
    norm = np.linalg.norm(np.einsum("kij,i,j->k", c, _harmonic(n, l), n))
    return c * (sqrt(2 * l + 3) / norm)


def _harmonic(n, l):
    """(2l+1,) Y_l of one unit vector."""
    y = np.ones(1)
    for k in range(l):
        y = np.einsum("kij,i,j->k", raising(k), y, n)
    return y


@lru_cache
def lowering(l: int) -> np.ndarray:
    """(2l+1, 2l−1, 3): the gradient of order l as harmonics of order l − 1; the constant from Euler's n·∇R = l R."""
    c = np.moveaxis(wigner_3j(l, 1, l - 1), (0, 1, 2), (0, 2, 1))
    n = np.array([0.36, 0.48, 0.8])
    euler = np.einsum("kij,i,j->k", c, _harmonic(n, l - 1), n)
    target = l * _harmonic(n, l)
    return c * (euler @ target / (euler @ euler))


def spherical_harmonics(vectors: np.ndarray, l_max: int) -> np.ndarray:
    """(..., 3) unit vectors -> (..., dimension) harmonics Y_00 … Y_{l_max}."""
    parts = [np.ones(vectors.shape[:-1] + (1,))]
    for l in range(l_max):
        parts.append(np.einsum("kij,...i,...j->...k", raising(l), parts[-1], vectors))
    return np.concatenate(parts, -1)
