"""The parts of electrostatic sums that run over pairs: screened charges, shifted or not.

    v(r) = erfc(αr)/r − shift − slope·r
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine import units
from engine.kernels.pair import PairPotential
from engine.kernels.simd import erfc, exp, sqrt

TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)


def screened(r2, q_i, q_j, alpha, scale):
    """scale q_i q_j erfc(αr)/r, and −dE/dr / r."""
    r = sqrt(r2)
    x = alpha * r
    q = scale * q_i * q_j
    e = q * erfc(x) / r
    return e, (e + q * 1.1283791670955126 * alpha * exp(-x * x)) / r2


def screened_shifted(r2, q_i, q_j, alpha, scale, shift, slope):
    """scale q_i q_j [erfc(αr)/r − shift − slope·r], and −dE/dr / r."""
    r = sqrt(r2)
    x = alpha * r
    q = scale * q_i * q_j
    e = q * erfc(x) / r
    return e - q * (shift + slope * r), (e + q * 1.1283791670955126 * alpha * exp(-x * x)) / r2 + q * slope / r


@dataclass
class ScreenedPairs(PairPotential):
    """Screened charges inside a cutoff (Å); alpha in 1/Å; made by the sums that they are a part of."""

    alpha: float
    cutoff: float
    shift: float | None = None
    slope: float = 0.0

    @property
    def function(self):
        return screened if self.shift is None else screened_shifted

    def tables(self, species_names):
        full = lambda value: np.full((len(species_names),) * 2, float(value))
        return full(self.cutoff), {"alpha": full(self.alpha), "scale": full(units.coulomb),
                                   "shift": full(self.shift or 0.0), "slope": full(self.slope)}

    def charge_gradient(self, atoms, neighbors, out):
        """Add ∂E/∂q of the pairs."""
        csr = neighbors.half(self.cutoff)
        _charge_gradient(atoms.positions, atoms.charges, csr.offsets, csr.indices, self.cutoff**2, units.coulomb,
                         self.alpha, self.shift or 0.0, self.slope, out)


@njit(cache=True, error_model="numpy")
def _charge_gradient(x, charges, offsets, indices, cutoff2, scale, alpha, shift, slope, out):
    for i in range(offsets.shape[0] - 1):
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            r2 = (x[i, 0] - x[j, 0]) ** 2 + (x[i, 1] - x[j, 1]) ** 2 + (x[i, 2] - x[j, 2]) ** 2
            if r2 < cutoff2:
                r = math.sqrt(r2)
                v = scale * (math.erfc(alpha * r) / r - shift - slope * r)
                out[i] += charges[j] * v
                out[j] += charges[i] * v
