"""The universal screened nuclear repulsion of Ziegler, Biersack and Littmark.

    u(r) = Z_a Z_b e²/(4πε₀ r) φ(r/a),   φ(x) = Σ_k c_k e^{−d_k x},   a = 0.46850 Å / (Z_a^0.23 + Z_b^0.23)

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter, vol. 1 (Pergamon, 1985). Between
`inner` and `cutoff` the polynomial A/3 (r − inner)³ + B/4 (r − inner)⁴ is added, and a constant below the cutoff, so
that energy, force and its slope vanish there (as LAMMPS's ``zbl`` does).
"""

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from engine import units as constants
from engine.errors import InputError
from engine.kernels.simd import exp, select, sqrt
from potentials.pair.parameters import LengthParameter, SpeciesPairs

WEIGHTS = np.array([0.02817, 0.28022, 0.50986, 0.18175])
DECAYS = np.array([0.20162, 0.40290, 0.94229, 3.19980])
RADIUS, POWER = 0.46850, 0.23


def zbl(r2, charge, length, inner, A, B, constant):
    """Energy and −dE/dr / r; `charge` = Z_a Z_b e²/4πε₀ in eV·Å, `length` = a in Å."""
    r = sqrt(r2)
    x = r / length
    t1 = 0.02817 * exp(-0.20162 * x)
    t2 = 0.28022 * exp(-0.40290 * x)
    t3 = 0.50986 * exp(-0.94229 * x)
    t4 = 0.18175 * exp(-3.19980 * x)
    phi = t1 + t2 + t3 + t4
    slope = (0.20162 * t1 + 0.40290 * t2 + 0.94229 * t3 + 3.19980 * t4) / length
    t = select(r > inner, r - inner, 0.0 * r)
    energy = charge * phi / r + t * t * t * (A / 3.0 + 0.25 * B * t) + constant
    return energy, (charge * (phi / r + slope) / r - t * t * (A + B * t)) / r


def derivatives(r, charge, length):
    """u, u', u'' at r (Å) for one pair, for the switching polynomial."""
    terms, d = WEIGHTS * np.exp(-DECAYS * r / length), DECAYS / length
    phi, first, second = terms.sum(), -(d * terms).sum(), (d * d * terms).sum()
    return (charge * phi / r, charge * (first / r - phi / r**2),
            charge * (second / r - 2 * first / r**2 + 2 * phi / r**3))


@dataclass(kw_only=True)
class ZBL(SpeciesPairs):
    """inner and cutoff in Å; nuclear charges are those of the elements that species are named after."""

    inner: LengthParameter = None
    label = "potential 'zbl'"
    function = staticmethod(zbl)
    UNITS = {"inner": "angstrom"}

    def rules(self):
        return {"inner": lambda a, b, *_: min(a, b)}

    def tables(self, species_names):
        for name in species_names:
            if name not in atomic_numbers or atomic_numbers[name] == 0:
                raise InputError(f"{self.label}: '{name}' is not an element, so its nuclear charge is unknown")
        self._z = np.array([float(atomic_numbers[name]) for name in species_names])
        return super().tables(species_names)

    def check(self, tables, present, cutoffs):
        super().check(tables, present, cutoffs)
        if (tables["inner"][present] >= cutoffs[present]).any() or (tables["inner"][present] < 0).any():
            raise InputError(f"{self.label}: 'inner' must lie between 0 and the cutoff")
        if self.truncation != "cut":
            raise InputError(f"{self.label}: it ends smoothly by itself; leave out 'truncation'")

    def derived(self, tables, present, cutoffs):
        charge = constants.coulomb * np.multiply.outer(self._z, self._z)
        length = RADIUS / np.add.outer(self._z**POWER, self._z**POWER)
        A, B, constant = (np.zeros_like(charge) for _ in range(3))
        for a, b in np.argwhere(present):
            width = cutoffs[a, b] - tables["inner"][a, b]
            u, u1, u2 = derivatives(cutoffs[a, b], charge[a, b], length[a, b])
            A[a, b] = (-3 * u1 + width * u2) / width**2
            B[a, b] = (2 * u1 - width * u2) / width**3
            constant[a, b] = -u + width / 2 * u1 - width**2 / 12 * u2
        return {"charge": charge, "length": length, "inner": tables["inner"], "A": A, "B": B, "constant": constant}
