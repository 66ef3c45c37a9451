"""How a tolerance becomes a splitting, a mesh and an order: error estimates, and the cheapest setting that meets them.

`rms` is the root mean square error of a force component's vector, √(Σ|ΔF|²/n), for sources at random places:

    rms² = (Q/n) (Q/V) C² ∫ |ΔF(r)|² d³r,   Q = Σ q_i²

ΔF(r) being the error of the force between two unit sources. Of the sum over pairs that is the force beyond the cutoff
(J. Kolafa and J. W. Perram, Mol. Simul. 9, 351 (1992), whose formula is its leading term). Of the mesh it is the difference
between the force that a pair has through splines, averaged over its place in the mesh, and the true one
(M. Deserno and C. Holm, J. Chem. Phys. 109, 7694 (1998), eq. 28, with forces as derivatives of the splines:
V. Ballenegger, J. J. Cerdà and C. Holm, J. Chem. Theory Comput. 8, 936 (2012), eq. 41):

    ∫ |ΔF|² = V⁻¹ Σ_k { Σ_l k_l² γ_l² − 2 G Σ_l k_l² Û_l² γ_l + G² (Σ_l Û_l²)(Σ_l k_l² Û_l²) },   k_l = k + 2π h⁻¹ K l

To it comes the force on an atom from its own smeared cloud, which goes with its place in the mesh as sin 2πu_a with the amplitude
q² A_a 2πK_a |b_a|, A_a = V⁻¹ Σ_k G Σ_l Û_l Û_{l + 1 along a} (cf. their eq. 63), b_a being a reciprocal vector without its 2π.

The sum over the zone is taken on SAMPLES points a direction, as it hardly depends on the size of the system.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine import cell as cells_
from potentials.mesh.influence import COULOMB, gamma
from potentials.mesh.splines import lanes_of, transform

SAMPLES = 16
ORDERS = (4, 5, 6, 7, 8, 10, 12, 14, 16)
SMOOTH = sorted({2**a * 3**b * 5**c * 7**d for a in range(12) for b in range(8) for c in range(6) for d in range(2)})
MOST = 2**27  # points of a mesh: 1 GB

#: ns on one core with 512-bit registers: of an atom, for each row of points that it touches, and beside that; of a mesh point
ATOM_ROW, ATOM, POINT = 1.3, 100.0, 17.0


@dataclass(frozen=True)
class Sources:
    """What an estimate needs to know of a system: number of atoms, Q = Σ q², Σ q⁴, cell (3, 3)."""

    count: float
    squares: float
    fourths: float
    cell: np.ndarray

    @property
    def volume(self):
        return abs(np.linalg.det(self.cell))


def force_beyond(kind, r, alpha):
    """The part of a unit pair's force at r (Å) that the sum over pairs holds."""
    x = (alpha * r) ** 2
    if kind == COULOMB:
        erfc = np.array([math.erfc(v) for v in alpha * r])
        return erfc / r**2 + 2.0 * alpha / math.sqrt(math.pi) * np.exp(-x) / r
    return np.exp(-x) * (alpha**6 / r + 6.0 * (1.0 + x + 0.5 * x * x) / r**7)


def pair_error(kind, alpha, cutoff, sources, strength):
    """rms error (eV/Å) of leaving out pairs beyond the cutoff."""
    r = cutoff + np.linspace(0.0, 6.0 / alpha, 200)
    f2 = force_beyond(kind, r, alpha) ** 2 * 4.0 * np.pi * r * r
    integral = np.sum(0.5 * (f2[1:] + f2[:-1]) * np.diff(r))
    return strength * sources.squares * math.sqrt(integral / (sources.count * sources.volume))


@njit(cache=True, error_model="numpy")
def _mesh_integral(kind, alpha, k0, k1, k2, u0, u1, u2, reciprocal):
    """Σ over samples of the braces above, and A (3,) times V; k_a (samples, 3): wave numbers of l = −1, 0, 1 and u_a their Û.

    With G = γ_0 Û_0² / (Σ Û_l²)² the terms of l = 0 are put together, so that nothing large cancels.
    """
    total, own = 0.0, np.zeros(3)
    for i in range(k0.shape[0]):
        for j in range(k1.shape[0]):
            for k in range(k2.shape[0]):
                square = gamma_ = central = rest = true = cross = steep = 0.0
                for a in range(3):
                    for b in range(3):
                        for c in range(3):
                            q2 = 0.0
                            for d in range(3):
                                q = (reciprocal[d, 0] * k0[i, a] + reciprocal[d, 1] * k1[j, b]
                                     + reciprocal[d, 2] * k2[k, c])
                                q2 += q * q
                            w = (u0[i, a] * u1[j, b] * u2[k, c]) ** 2
                            g = gamma(kind, q2, alpha)
                            if a == 1 and b == 1 and c == 1:
                                square, gamma_, central = q2, g, w
                            else:
                                rest += w
                                true += q2 * g * g
                                cross += q2 * w * g
                                steep += q2 * w
                if square == 0.0:
                    continue
                every = central + rest
                green = gamma_ * central / every**2
                missing = gamma_ * rest * (every + central) / every**2
                total += square * (missing**2 + green**2 * central * rest)
                total += max(true - 2.0 * green * cross + green**2 * every * steep, 0.0)
                p, q, r = u0[i], u1[j], u2[k]
                pp, qq, rr = (p * p).sum(), (q * q).sum(), (r * r).sum()
                own[0] += green * p[1] * (p[0] + p[2]) * qq * rr
                own[1] += green * q[1] * (q[0] + q[2]) * rr * pp
                own[2] += green * r[1] * (r[0] + r[2]) * pp * qq
    return total, own


def mesh_error(kind, alpha, points, order, sources, strength):
    """rms error (eV/Å) of the sum over the mesh."""
    waves, transforms, weight = [], [], 1.0
    for k in points:
        exact = k <= SAMPLES
        m = np.arange(k) - k // 2 if exact else ((np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5) * k
        weight *= 1.0 if exact else k / SAMPLES
        images = m[:, None] + k * np.arange(-1, 2)
        waves.append(images.astype(float))
        transforms.append(transform(images, k, order))
    reciprocal = 2.0 * np.pi * np.linalg.inv(sources.cell)
    total, own = _mesh_integral(kind, alpha, *waves, *transforms, reciprocal)
    pairs = sources.squares**2 / sources.count * weight * total
    slopes = weight * own * np.linalg.norm(reciprocal, axis=0) * points  # along a: per unit of q²
    alone = sources.fourths / sources.count * 0.5 * (slopes @ slopes)
    return strength * math.sqrt(pairs + alone) / sources.volume


def splitting(kind, cutoff, accuracy, sources, strength):
    """α (1/Å) for which the sum over pairs has this rms error in the worst of several systems."""
    low, high = 0.05 / cutoff, 12.0 / cutoff
    error = lambda alpha: max(pair_error(kind, alpha, cutoff, s, strength) for s in sources)
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error(middle) > accuracy else (low, middle)
    return high


def points_for(cell, spacing):
    """Smooth numbers of mesh points (3,) not further apart than `spacing` Å across the cell's faces."""
    wanted = cells_.heights(cell[None])[0] / spacing
    return tuple(int(SMOOTH[np.searchsorted(SMOOTH, max(4, math.ceil(w - 1e-9)))]) for w in wanted)


def mesh(kind, alpha, order, accuracy, sources, strength):
    """The coarsest mesh (3,) of this order with at most this rms error, or None."""
    low = (sources.volume / MOST) ** (1 / 3)
    high = 2.0 * np.pi / alpha
    fits = lambda spacing: mesh_error(kind, alpha, points_for(sources.cell, spacing), order, sources, strength) <= accuracy
    if not fits(low):
        return None
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return points_for(sources.cell, low)


def cost(points, order, count):
    """Time of one evaluation in ns, about."""
    return count * (ATOM + ATOM_ROW * order**2 * max(1, lanes_of(order) // 8)) + POINT * float(np.prod(points))


def cheapest(kind, alpha, accuracy, sources, strength):
    """Order and mesh (3,) of least cost, or None. Costs fall with the order, then rise."""
    best = None
    for order in ORDERS:
        points = mesh(kind, alpha, order, accuracy, sources, strength)
        if points is None:
            continue
        now = cost(points, order, sources.count)
        if best is not None and now > best[0]:
            break
        best = now, order, points
    return best and best[1:]
