"""Electrostatics by damped shifted forces (C. J. Fennell and J. D. Gezelter, J. Chem. Phys. 124, 234104 (2006), eq. 18).

    v(r) = erfc(αr)/r − erfc(αR)/R + [erfc(αR)/R² + (2α/√π) e^{−α²R²}/R] (r − R),   E = C Σ_{i<j} q_i q_j v + E_self
    E_self = ½ C Σ q_i² lim_{r→0} [v(r) − 1/r]: each charge with the one that neutralises it on the sphere of radius R

No periodicity is asked for, and the cost is that of a pair potential.
"""

import math
from dataclasses import dataclass

from engine import units
from engine.config.quantities import Length
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from potentials.coulomb import excluded
from potentials.coulomb.ewald import InverseLength
from potentials.coulomb.pairs import TWO_OVER_ROOT_PI, ScreenedPairs


@dataclass
class DampedShiftedForce(Potential):
    """cutoff R in Å, alpha in 1/Å. Charges come with the atoms."""

    cutoff: Length = 12.0
    alpha: InverseLength = 0.2
    label = "potential 'dsf'"
    precision = "double"  # or "mixed"

    def bind(self, species_names):
        R, alpha = float(self.cutoff), float(self.alpha)
        if not (R > 0 and alpha >= 0):
            raise InputError(f"{self.label}: the cutoff must be positive and alpha not negative")
        end = math.erfc(alpha * R) / R
        slope = -(end + TWO_OVER_ROOT_PI * alpha * math.exp(-((alpha * R) ** 2))) / R
        self._pairs = ScreenedPairs(alpha=alpha, cutoff=R, shift=end - slope * R, slope=slope)
        self._pairs.precision = self.precision
        self._pairs.bind(species_names)

    def capabilities(self):
        return Capabilities(
            cutoff=float(self.cutoff), lists="half", takes=frozenset({"charges"}),
            provides=frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial", "charge_gradient"}),
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        pairs = self._pairs
        pairs.compute(atoms, neighbors, halo, inputs, needs - {"charge_gradient"}, out)
        excluded.correct(atoms, neighbors, needs, out, units.coulomb, pairs.alpha, pairs.shift, pairs.slope)
        n, q = atoms.n, atoms.charges[: atoms.n]
        self_energy = -0.5 * units.coulomb * (TWO_OVER_ROOT_PI * pairs.alpha + pairs.shift) * q
        if "energy" in needs:
            _add_by_system(out.energy, atoms, q * self_energy)
        if "atom_energy" in needs:
            out.atom_energy[:n] += q * self_energy
        if "charge_gradient" in needs:
            pairs.charge_gradient(atoms, neighbors, out.charge_gradient)
            out.charge_gradient[:n] += 2.0 * self_energy


def _add_by_system(energy, atoms, values):
    for s in range(len(energy)):
        energy[s] += values[atoms.system[: atoms.n] == s].sum()
