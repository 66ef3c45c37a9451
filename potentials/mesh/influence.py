"""What the mesh multiplies the sources' transform by, and the sums over wave numbers.

    E = ½ Σ_k G |S|²,   G = B γ(k²)/V,   W_ab = ½ Σ_k G |S|² [δ_ab + 2 (γ′/γ) k_a k_b]

S is the transform of the mesh, B the splines' `smearing`, a product over directions that does not depend on the cell, so
that W is the exact −∂E/∂ε of the sum as it is. γ is the transform of the smooth part of a pair's energy:

Coulomb, erf(αr)/r, with b = k/2α (P. P. Ewald, Ann. Phys. 369, 253 (1921)):
    γ = 4π e^{−b²}/k²,   γ′/γ = −(1/k² + 1/4α²),   and at k = 0 the neutralising background: γ = −π/α²
Dispersion, −(1 − e^{−x}(1 + x + x²/2))/r⁶ with x = α²r² (D. E. Williams, Acta Cryst. A27, 452 (1971)):
    γ = −(π^{3/2}α³/3) f,   f = (1 − 2b²)e^{−b²} + 2√π b³ erfc b,   γ′/γ = −(3/4α²)(e^{−b²} − √π b erfc b)/f

Half the wave numbers are stored, as the mesh is real. Those on the edge of the zone along a direction with an even number
of points stand for +k and −k at once, which in a triclinic cell have different lengths: they are left out.
"""

import math

import numpy as np
from numba import njit

from potentials.mesh.splines import smearing

COULOMB, DISPERSION = 0, 1
ROOT_PI = math.sqrt(math.pi)
inlined = njit(inline="always", error_model="numpy")


@njit(cache=True, error_model="numpy")
def gamma(kind, k2, alpha):
    """γ(k²) for unit strength."""
    b2 = k2 / (4.0 * alpha * alpha)
    if kind == COULOMB:
        return 4.0 * math.pi * math.exp(-b2) / k2 if k2 > 0.0 else -math.pi / (alpha * alpha)
    return -(ROOT_PI * math.pi * alpha**3 / 3.0) * _f(b2)


@njit(cache=True, error_model="numpy")
def _f(b2):
    b = math.sqrt(b2)
    return (1.0 - 2.0 * b2) * math.exp(-b2) + 2.0 * ROOT_PI * b * b2 * math.erfc(b)


@njit(cache=True, error_model="numpy")
def _slope(kind, k2, alpha):
    """γ′/γ, 0 where k = 0."""
    if k2 == 0.0:
        return 0.0
    if kind == COULOMB:
        return -(1.0 / k2 + 0.25 / (alpha * alpha))
    b2 = k2 / (4.0 * alpha * alpha)
    b, f = math.sqrt(b2), _f(b2)
    return -0.75 / (alpha * alpha) * (math.exp(-b2) - ROOT_PI * b * math.erfc(b)) / f if f > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(kind, waves0, waves1, waves2, smear0, smear1, smear2, reciprocal, alpha, scale, out):
    for i in range(waves0.shape[0]):
        for j in range(waves1.shape[0]):
            x = reciprocal[0, 0] * waves0[i] + reciprocal[0, 1] * waves1[j]
            y = reciprocal[1, 0] * waves0[i] + reciprocal[1, 1] * waves1[j]
            z = reciprocal[2, 0] * waves0[i] + reciprocal[2, 1] * waves1[j]
            factor = scale * smear0[i] * smear1[j]
            for k in range(waves2.shape[0]):
                m = waves2[k]
                kx, ky, kz = x + reciprocal[0, 2] * m, y + reciprocal[1, 2] * m, z + reciprocal[2, 2] * m
                g = factor * smear2[k]
                out[i, j, k] = g * gamma(kind, kx * kx + ky * ky + kz * kz, alpha) if g != 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(spectrum, green):
    a, g = spectrum.reshape(-1), green.reshape(-1)
    for k in range(a.shape[0]):
        a[k] *= g[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(kind, waves0, waves1, waves2, twice, reciprocal, alpha, spectrum, green):
    """Energy, and the six sums of W: of E δ aside, Σ G |S|² (γ′/γ) k_a k_b in the order xx, yy, zz, yz, xz, xy."""
    energy = 0.0
    w = np.zeros(6)
    for i in range(waves0.shape[0]):
        for j in range(waves1.shape[0]):
            for k in range(waves2.shape[0]):
                g = green[i, j, k]
                if g == 0.0:
                    continue
                s = spectrum[i, j, k]
                e = 0.5 * twice[k] * g * (s.real * s.real + s.imag * s.imag)
                energy += e
                m0, m1, m2 = waves0[i], waves1[j], waves2[k]
                x = reciprocal[0, 0] * m0 + reciprocal[0, 1] * m1 + reciprocal[0, 2] * m2
                y = reciprocal[1, 0] * m0 + reciprocal[1, 1] * m1 + reciprocal[1, 2] * m2
                z = reciprocal[2, 0] * m0 + reciprocal[2, 1] * m1 + reciprocal[2, 2] * m2
                v = 2.0 * e * _slope(kind, x * x + y * y + z * z, alpha)
                w[0] += v * x * x
                w[1] += v * y * y
                w[2] += v * z * z
                w[3] += v * y * z
                w[4] += v * x * z
                w[5] += v * x * y
    return energy, w


@njit(cache=True, nogil=True, error_model="numpy")
def _shaped(kind, waves0, waves1, waves2, reciprocal, alpha, spectrum, green, a, b, out):
    for i in range(waves0.shape[0]):
        for j in range(waves1.shape[0]):
            for k in range(waves2.shape[0]):
                m0, m1, m2 = waves0[i], waves1[j], waves2[k]
                k2 = 0.0
                for d in range(3):
                    c = reciprocal[d, 0] * m0 + reciprocal[d, 1] * m1 + reciprocal[d, 2] * m2
                    k2 += c * c
                ka = reciprocal[a, 0] * m0 + reciprocal[a, 1] * m1 + reciprocal[a, 2] * m2
                kb = reciprocal[b, 0] * m0 + reciprocal[b, 1] * m1 + reciprocal[b, 2] * m2
                shape = (1.0 if a == b else 0.0) + 2.0 * _slope(kind, k2, alpha) * ka * kb
                out[i, j, k] = green[i, j, k] * shape * spectrum[i, j, k]


class Influence:
    """G at some wave numbers [m0, m1, m2 ≥ 0] of one mesh; made anew when the cell changes.

    kind : COULOMB or DISPERSION;  strength : of a unit pair, in eV Å or eV Å⁶;  points (3,): of the mesh
    """

    def __init__(self, kind, alpha, strength, points, order, waves):
        self.kind, self.alpha, self.strength = kind, float(alpha), float(strength)
        self.waves, self.smear = [], []
        for m, k in zip(waves, points):
            signed = np.where(m > k // 2, m - k, m)
            factor = smearing(signed, k, order)
            factor[2 * np.abs(signed) == k] = 0.0
            self.waves.append(signed.astype(float))
            self.smear.append(factor)
        self.twice = np.where((waves[2] == 0) | (2 * waves[2] == points[2]), 1.0, 2.0)
        self.green = np.empty([len(m) for m in waves])
        self._cell = None

    def at(self, cell):
        """Have G for this cell (3, 3)."""
        if self._cell is None or (cell != self._cell).any():
            self._cell = cell.copy()
            self.reciprocal = 2.0 * np.pi * np.linalg.inv(cell)  # k = reciprocal @ m
            scale = self.strength / abs(np.linalg.det(cell))
            _fill(self.kind, *self.waves, *self.smear, self.reciprocal, self.alpha, scale, self.green)
        return self

    def multiply(self, spectrum):
        """S -> G S, in place."""
        _multiply(spectrum, self.green)

    def sums(self, spectrum):
        """Energy and virial (3, 3) of the wave numbers here."""
        energy, w = _sums(self.kind, *self.waves, self.twice, self.reciprocal, self.alpha, spectrum, self.green)
        return energy, energy * np.eye(3) + w[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]

    def shaped(self, spectrum, a, b, out):
        """G [δ_ab + 2 (γ′/γ) k_a k_b] S."""
        _shaped(self.kind, *self.waves, self.reciprocal, self.alpha, spectrum, self.green, a, b, out)
