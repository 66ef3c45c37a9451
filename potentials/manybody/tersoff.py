"""The Tersoff potential (J. Tersoff, Phys. Rev. B 37, 6991 (1988); 39, 5566 (1989)), as LAMMPS's ``tersoff`` files have it.

    E    = ½ Σ_i Σ_j f_C(r_ij) [A e^{−λ1 r_ij} − b_ij B e^{−λ2 r_ij}]
    f_C  = 1 below R − D, ½ − ½ sin(π/2 (r − R)/D) up to R + D, 0 beyond
    b_ij = (1 + βⁿ ζ_ijⁿ)^{−1/2n},   ζ_ij = Σ_k f_C(r_ik) g(θ_jik) exp[λ3^m (r_ij − r_ik)^m]
    g    = γ (1 + c²/d² − c²/[d² + (cos θ − cos θ0)²])

| equation | column | | equation | column |
|---|---|---|---|---|
| m, γ, λ3 | ``M``, ``GAM``, ``L3`` | | β, n | ``BETA``, ``N`` |
| c, d, cos θ0 | ``SMALL_C``, ``SMALL_D``, ``COS0`` | | A, λ1; B, λ2 | ``BIG_A``, ``L1``; ``BIG_B``, ``L2`` |
| R, D | ``BIG_R``, ``BIG_D`` | | | |

A, λ1, B, λ2, β, n and the f_C of a bond are those of the entry (i, j, j); all else, f_C(r_ik) included, of (i, j, k).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.config.quantities import InputFile
from engine.errors import InputError
from engine.kernels.site import SitePotential
from potentials.manybody.lanes import tersoff_lanes
from potentials.manybody.triplets import read_triplets, table

NAMES = ("m", "gamma", "lambda3", "c", "d", "cos_theta0", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A")
M, GAM, L3, SMALL_C, SMALL_D, COS0, N, BETA, L2, BIG_B, BIG_R, BIG_D, L1, BIG_A = range(14)


@njit(error_model="numpy")
def fade(r, p):
    """f_C and its derivative."""
    if r <= p[BIG_R] - p[BIG_D]:
        return 1.0, 0.0
    if r >= p[BIG_R] + p[BIG_D]:
        return 0.0, 0.0
    phase = 0.5 * np.pi * (r - p[BIG_R]) / p[BIG_D]
    return 0.5 - 0.5 * np.sin(phase), -0.25 * np.pi / p[BIG_D] * np.cos(phase)


@njit(error_model="numpy")
def angular(cosine, p):
    """g and its derivative by cos θ."""
    c2, d2, h = p[SMALL_C] ** 2, p[SMALL_D] ** 2, cosine - p[COS0]
    return p[GAM] * (1.0 + c2 / d2 - c2 / (d2 + h * h)), 2.0 * p[GAM] * c2 * h / (d2 + h * h) ** 2


@njit(error_model="numpy")
def stretch(difference, p):
    """exp[λ3^m (r_ij − r_ik)^m] and its derivative by the difference; m is 1 or 3."""
    if p[M] == 3.0:
        e = np.exp(min((p[L3] * difference) ** 3, 69.0))
        return e, 3.0 * p[L3] ** 3 * difference**2 * e
    e = np.exp(min(p[L3] * difference, 69.0))
    return e, p[L3] * e


@njit(error_model="numpy")
def bond_order(zeta, p):
    """b and its derivative by ζ."""
    if zeta <= 0.0:
        return 1.0, 0.0
    t = (p[BETA] * zeta) ** p[N]
    b = (1.0 + t) ** (-0.5 / p[N])
    return b, -0.5 * b * t / ((1.0 + t) * zeta)


def tersoff(kind, count, vectors, distances, kinds, parameters, gradient):
    """Half of the bonds' energies of one centre; parameters (T, T, T, 14)."""
    energy = 0.0
    for j in range(count):
        p, r = parameters[kind, kinds[j], kinds[j]], distances[j]
        f, df = fade(r, p)
        if f == 0.0:
            continue
        zeta = 0.0
        for k in range(count):
            q, s = parameters[kind, kinds[j], kinds[k]], distances[k]
            if k == j or s >= q[BIG_R] + q[BIG_D]:
                continue
            c = (vectors[j, 0] * vectors[k, 0] + vectors[j, 1] * vectors[k, 1] + vectors[j, 2] * vectors[k, 2]) / (r * s)
            zeta += fade(s, q)[0] * angular(c, q)[0] * stretch(r - s, q)[0]
        b, db = bond_order(zeta, p)
        repulsion, attraction = p[BIG_A] * np.exp(-p[L1] * r), -p[BIG_B] * np.exp(-p[L2] * r)
        energy += 0.5 * f * (repulsion + b * attraction)
        slope = 0.5 * (df * (repulsion + b * attraction) - f * (p[L1] * repulsion + b * p[L2] * attraction))
        by_zeta = 0.5 * f * attraction * db
        for k in range(count):
            q, s = parameters[kind, kinds[j], kinds[k]], distances[k]
            if k == j or s >= q[BIG_R] + q[BIG_D]:
                continue
            c = (vectors[j, 0] * vectors[k, 0] + vectors[j, 1] * vectors[k, 1] + vectors[j, 2] * vectors[k, 2]) / (r * s)
            fk, dfk = fade(s, q)
            g, dg = angular(c, q)
            e, de = stretch(r - s, q)
            slope += by_zeta * fk * g * de
            along_k = by_zeta * g * (dfk * e - fk * de)
            turn = by_zeta * fk * dg * e
            for a in range(3):
                u, v = vectors[j, a] / r, vectors[k, a] / s
                gradient[j, a] += turn * (v - c * u) / r
                gradient[k, a] += turn * (u - c * v) / s + along_k * v
        for a in range(3):
            gradient[j, a] += slope * vectors[j, a] / r
    return energy


@dataclass
class Tersoff(SitePotential):
    """file : parameters in the format of LAMMPS's ``pair_style tersoff``."""

    file: InputFile
    site = staticmethod(tersoff)
    label = "potential 'tersoff'"

    def parameters(self, species_names):
        values = table(read_triplets(self.file, self.label, NAMES), species_names, self.file, self.label)
        if not np.isin(values[..., M], (1.0, 3.0)).all():
            raise InputError(f"{self.label}: {self.file}: the exponent m must be 1 or 3")
        bonds = np.einsum("ijjp->ijp", values)
        if (values[..., BIG_D] < 0).any() or (values[..., SMALL_D] == 0).any() or (bonds[..., N] <= 0).any():
            raise InputError(f"{self.label}: {self.file}: D must not be negative, d not zero, and n of a bond positive")
        return (values[..., BIG_R] + values[..., BIG_D]).max(1), values

    def lanes(self, parameters):
        return tersoff_lanes, parameters[0, 0, 0]
