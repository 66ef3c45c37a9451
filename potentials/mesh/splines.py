"""Cardinal B-splines: their polynomials, and the transforms by which a mesh smears what is spread on it.

| symbol (U. Essmann et al., J. Chem. Phys. 103, 8577 (1995)) | meaning | name here |
|---|---|---|
| M_n(u) | B-spline of order n, nonzero for 0 < u < n (eq. 4.1) | ``pieces(n)`` |
| K | mesh points along a direction | ``points`` |
| Û(m) = (sin(πm/K) / (πm/K))^n | transform of M_n at the wave number m | ``transform`` |

An atom at u = g + t mesh spacings, g whole and 0 ≤ t < 1, gives the weights M_n(t + n − 1 − j) to points g + j, j = 0 … n − 1
(all points are shifted by n − 1, which spreading and interpolation share, so that it cancels).
"""

from fractions import Fraction
from functools import lru_cache

import numpy as np

ALIASES = 8  # images of the mesh's wave numbers on either side that sums over them take


@lru_cache
def pieces(order):
    """Coefficients (order, order) of the weights w_j(t) = Σ_k c[k, j] t^k, exact until rounded at the end."""
    rows = [[Fraction(1)]]  # M_1 on its only piece
    for n in range(2, order + 1):
        zero = [Fraction(0)] * (n - 1)
        new = []
        for i in range(n):  # M_n(t+i) = [(t+i) M_{n-1}(t+i) + (n−t−i) M_{n-1}(t+i−1)] / (n−1)
            same = rows[i] if i < n - 1 else zero
            last = rows[i - 1] if i > 0 else zero
            piece = [Fraction(0)] * n
            for k in range(n - 1):
                piece[k] += i * same[k] + (n - i) * last[k]
                piece[k + 1] += same[k] - last[k]
            new.append([c / (n - 1) for c in piece])
        rows = new
    return np.array([[float(c) for c in row] for row in rows]).T[:, ::-1]  # point j holds piece n − 1 − j


def lanes_of(order):
    """Width of the register that holds the weights of one direction: a power of two, at least four."""
    return max(4, 1 << (order - 1).bit_length())


@lru_cache
def polynomials(order):
    """`pieces` and their derivatives by t, (2, order, lanes), zero beyond `order`."""
    c = pieces(order)
    out = np.zeros((2, order, lanes_of(order)))
    out[0, :, :order] = c
    out[1, : order - 1, :order] = c[1:] * np.arange(1, order)[:, None]
    return out


def transform(m, points, order):
    """Û at wave numbers m (any shape)."""
    return np.sinc(np.asarray(m) / points) ** order


def smearing(m, points, order):
    """Factors (len(m),) that undo the spreading and interpolation of wave numbers m along one direction.

    Û² / (Σ_l Û_l²)², l over the images m + l K: of all factors the one with the smallest error of the energy, where
    1/(Σ_l Û_l)² is Essmann's (V. Ballenegger, J. J. Cerdà and C. Holm, J. Chem. Theory Comput. 8, 936 (2012), eq. 33;
    the images of the Green function itself are left out, being smaller than what the mesh leaves out).
    """
    images = np.asarray(m)[:, None] + points * np.arange(-ALIASES, ALIASES + 1)
    u2 = transform(images, points, order) ** 2
    return u2[:, ALIASES] / u2.sum(1) ** 2
