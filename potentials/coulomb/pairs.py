"""The parts of electrostatic sums that run over pairs: screened charges, shifted or not.

    v(r) = erfc(αr)/r − shift − slope·r

Inside αr < NEAR, where all but very accurate sums end, neither an exponential nor erfc is computed: with z = (αr)² both
erf(√z)/√z and [erf(√z)/√z − 2e^{−z}/√π]/z are smooth, and 1/r and 1/r³ less α and α³ times rational functions of z
(interpolated at Chebyshev's points; 5e-12 of 1/r and 1/r³ at worst) are energy and force (the idea is that of GROMACS:
S. Páll et al., J. Chem. Phys. 153, 134110 (2020), section II D).
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine import units
from engine.kernels.pair import PairPotential
from engine.kernels.pair_clusters import ClusterDriver
from engine.kernels.simd import erfc, exp, reciprocal, rsqrt, sqrt

NEAR = 4.0
inlined = njit(forceinline=True, error_model="numpy")
TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)


@inlined
def _smooth_energy(z):
    """erf(√z)/√z for 0 ≤ z ≤ 16."""
    p = z * 4.301064592961725e-15 - 6.82296549114925e-13
    p = p * z + 3.6702266034713716e-11
    p = p * z + 4.802051193737894e-09
    p = p * z + 1.0249148285642217e-06
    p = p * z + 1.897581592986711e-05
    p = p * z + 0.0005077216102582586
    p = p * z + 0.004212297436494924
    p = p * z + 0.05622294693212804
    p = p * z + 0.18033300178523914
    p = p * z + 1.1283791671006411
    q = z * 1.2013510602411915e-07 + 4.710306613128482e-06
    q = q * z + 0.00010533181343352297
    q = q * z + 0.0015735134586402134
    q = q * z + 0.016297445117663425
    q = q * z + 0.11420938648688449
    q = q * z + 0.49314929524942924
    q = q * z + 1.0
    return p * reciprocal(q)


@inlined
def _smooth_force(z):
    """[erf(√z)/√z − 2e^{−z}/√π]/z for 0 ≤ z ≤ 16."""
    p = z * 1.1283020378144947e-14 - 2.0223567052274547e-12
    p = p * z + 1.6861906939758395e-10
    p = p * z - 8.663561027345226e-09
    p = p * z + 3.1147777961290105e-07
    p = p * z - 6.65036542703109e-06
    p = p * z + 0.00016447682138953805
    p = p * z - 0.00145177374025068
    p = p * z + 0.024019281485521297
    p = p * z - 0.07675977269031636
    p = p * z + 0.7522527780748903
    q = z * 1.3082085709312306e-07 + 5.012261456594878e-06
    q = q * z + 0.00011068778262357984
    q = q * z + 0.0016354754149683901
    q = q * z + 0.016772021703496405
    q = q * z + 0.11642016308034339
    q = q * z + 0.4979601345863941
    q = q * z + 1.0
    return p * reciprocal(q)


def screened_near(r2, q_i, q_j, alpha, scale):
    """scale q_i q_j erfc(αr)/r, and −dE/dr / r, for αr < NEAR."""
    y = rsqrt(r2)
    q, a2 = scale * q_i * q_j, alpha * alpha
    z = a2 * r2
    return q * (y - alpha * _smooth_energy(z)), q * (y * y * y - alpha * a2 * _smooth_force(z))


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
        if self.shift is not None:
            return screened_shifted
        return screened_near if self.alpha * self.cutoff < NEAR else screened

    def tables(self, species_names):
        full = lambda value: np.full((len(species_names),) * 2, float(value))
        return full(self.cutoff), {"alpha": full(self.alpha), "scale": full(units.coulomb),
                                   "shift": full(self.shift or 0.0), "slope": full(self.slope)}

    def bind(self, species_names):
        super().bind(species_names)
        # one row for all species, so that the fast driver looks nothing up
        self._fast = ClusterDriver(self.function, self._cutoffs[:1, :1], self._table[:1, :1], self.precision)

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
