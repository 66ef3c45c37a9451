"""The Stillinger–Weber potential (F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)).

    E = Σ_{i<j} φ2(r_ij) + Σ_i Σ_{j<k} φ3(r_ij, r_ik, θ_jik)
    φ2 = A ε [B (σ/r)^p − (σ/r)^q] exp(σ/(r − aσ))
    φ3 = λ ε (cos θ − cos θ0)² exp(γσ/(r_ij − aσ)) exp(γσ/(r_ik − aσ))

| equation | column | | equation | column |
|---|---|---|---|---|
| ε, σ, a | ``EPS``, ``SIG``, ``CUT`` | | cos θ0 | ``COS0`` |
| λ, γ | ``LAM``, ``GAM`` | | A, B, p, q | ``BIG_A``, ``BIG_B``, ``P``, ``Q`` |

Parameters of several elements as in LAMMPS's files: two-body ones, and γ, σ, a of a bond, from the entry (i, j, j);
λ, ε, cos θ0 of an angle from (i, j, k). The files' last column is LAMMPS's tolerance: where it is positive, a bond ends
where its exponential exp(σ/(r − aσ)), or with γ there where γ < 1, falls below it (at most 0.01); energies jump there.
"""

from dataclasses import dataclass

import numpy as np

from engine.config.quantities import InputFile
from engine.errors import InputError
from engine.kernels.site import SitePotential
from potentials.manybody.lanes import stillinger_weber_lanes
from potentials.manybody.triplets import read_triplets, table

NAMES = ("epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q", "tol")
EPS, SIG, CUT, LAM, GAM, COS0, BIG_A, BIG_B, P, Q, TOL = range(11)


def stillinger_weber(kind, count, vectors, distances, kinds, parameters, gradient):
    """Half of the pair energies and the angles of one centre; parameters (T, T, T, 11)."""
    energy = 0.0
    for j in range(count):
        p, r = parameters[kind, kinds[j], kinds[j]], distances[j]
        end = p[SIG] * p[CUT]
        if r >= end:
            continue
        x = p[SIG] / r
        rise, fall = p[BIG_B] * x ** p[P], x ** p[Q]
        tail = np.exp(p[SIG] / (r - end))
        pair = p[BIG_A] * p[EPS] * (rise - fall) * tail
        slope = p[BIG_A] * p[EPS] * tail * (p[Q] * fall - p[P] * rise) / r - pair * p[SIG] / (r - end) ** 2
        energy += 0.5 * pair
        for d in range(3):
            gradient[j, d] += 0.5 * slope * vectors[j, d] / r
        fade_j = np.exp(p[GAM] * p[SIG] / (r - end))
        rate_j = -p[GAM] * p[SIG] / (r - end) ** 2
        for k in range(j):
            q, s = parameters[kind, kinds[k], kinds[k]], distances[k]
            last = q[SIG] * q[CUT]
            if s >= last:
                continue
            t = parameters[kind, kinds[j], kinds[k]]
            c = (vectors[j, 0] * vectors[k, 0] + vectors[j, 1] * vectors[k, 1] + vectors[j, 2] * vectors[k, 2]) / (r * s)
            delta = c - t[COS0]
            fade = t[LAM] * t[EPS] * fade_j * np.exp(q[GAM] * q[SIG] / (s - last))
            angle = fade * delta * delta
            rate_k = -q[GAM] * q[SIG] / (s - last) ** 2
            energy += angle
            for d in range(3):
                u, v = vectors[j, d] / r, vectors[k, d] / s
                gradient[j, d] += angle * rate_j * u + 2.0 * fade * delta * (v - c * u) / r
                gradient[k, d] += angle * rate_k * v + 2.0 * fade * delta * (u - c * v) / s
    return energy


def _reach(pairs):
    """How far (T, T) bonds of parameters (T, T, 11) reach, Å: aσ, or with a tolerance aσ + min(γ, 1) σ/ln(tolerance)."""
    tolerance = np.minimum(pairs[..., TOL], 0.01)
    wanted = tolerance > 0
    shortened = np.minimum(pairs[..., GAM], 1.0) * pairs[..., SIG] / np.log(np.where(wanted, tolerance, 0.5))
    return pairs[..., SIG] * pairs[..., CUT] + np.where(wanted, shortened, 0.0)


@dataclass
class StillingerWeber(SitePotential):
    """file : parameters in the format of LAMMPS's ``pair_style sw``."""

    file: InputFile
    site = staticmethod(stillinger_weber)
    label = "potential 'sw'"

    def parameters(self, species_names):
        values = table(read_triplets(self.file, self.label, NAMES), species_names, self.file, self.label)
        pairs = np.einsum("ijjp->ijp", values)
        two_body = pairs[..., [EPS, SIG, CUT, BIG_A, BIG_B, P, Q]]
        if not np.array_equal(two_body, two_body.transpose(1, 0, 2)):
            a, b = np.argwhere((two_body != two_body.transpose(1, 0, 2)).any(-1))[0]
            raise InputError(f"{self.label}: {self.file}: the pair parameters of {species_names[a]} and {species_names[b]} "
                             "depend on their order")
        if not np.array_equal(values[..., [EPS, LAM, COS0]], values.transpose(0, 2, 1, 3)[..., [EPS, LAM, COS0]]):
            raise InputError(f"{self.label}: {self.file}: the parameters of an angle depend on the order of its ends")
        cutoffs = _reach(pairs)
        if not np.array_equal(cutoffs, cutoffs.T):
            raise InputError(f"{self.label}: {self.file}: the tolerance ends a bond earlier at one of its atoms than "
                             "at the other")
        if not (cutoffs > 0).all():
            raise InputError(f"{self.label}: {self.file}: a bond has no length: sigma and a must be positive, or its tolerance "
                             "is too large")
        return cutoffs, values

    def lanes(self, parameters):
        standard = parameters[0, 0, 0, P] == 4.0 and parameters[0, 0, 0, Q] == 0.0
        return (stillinger_weber_lanes, parameters[0, 0, 0]) if standard else None
