"""Dispersion, −C6/r⁶, of all pairs of a periodic crystal or liquid, by smooth particle-mesh Ewald.

    E = −Σ_{i<j} c_i c_j/r⁶ = −Σ c_i c_j g(αr)/r⁶ − ½ Σ_k (π^{3/2}α³/3V) B f(k/2α) |S|² + (α⁶/12) Σ c_i²,
    g = e^{−x}(1 + x + x²/2), x = α²r²,   c_i = √C6_i,   S from the sources c_i

U. Essmann et al., J. Chem. Phys. 103, 8577 (1995), section V; D. E. Williams, Acta Cryst. A27, 452 (1971). The coefficient of
two species is the geometric mean, as sources on a mesh have to multiply.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammainc

from engine.config.quantities import convert
from engine.errors import InputError, nearest
from engine.kernels.pair import PairPotential
from engine.kernels.simd import exp
from potentials.coulomb.excluded import rows_of
from potentials.mesh.influence import DISPERSION
from potentials.mesh.particle_mesh import ParticleMesh
from potentials.pair.parameters import PerSpecies


def damped_dispersion(r2, c6, alpha2, core):
    """−c6 (g − core)/r⁶ and −dE/dr / r at squared distance `r2`; core is 1 where another potential has −c6/r⁶ itself."""
    x = alpha2 * r2
    g = exp(-x)
    inverse6 = 1.0 / (r2 * r2 * r2)
    e = -c6 * (g * (1.0 + x + 0.5 * x * x) - core) * inverse6
    return e, (6.0 * e - c6 * alpha2 * alpha2 * alpha2 * g) / r2


@dataclass
class DampedPairs(PairPotential):
    """The part of dispersion that is summed over pairs; made by the sum that it is a part of. coefficients (T,): √C6."""

    alpha: float
    cutoff: float
    coefficients: np.ndarray
    core: float = 0.0
    function = staticmethod(damped_dispersion)

    def tables(self, species_names):
        full = lambda value: np.full((len(species_names),) * 2, float(value))
        return full(self.cutoff), {"c6": np.outer(self.coefficients, self.coefficients), "alpha2": full(self.alpha**2),
                                   "core": full(self.core)}


@dataclass(kw_only=True)
class DispersionPME(ParticleMesh):
    """C6 : eV Å⁶ of each species, { Ar = 65.0 }
    beyond : only what pairs beyond the cutoff add, for a pair potential that is "cut" at the same `cutoff` and has −C6/r⁶
        inside it, with whatever mixing of its own

    accuracy in eV/Å, cutoff and spacing in Å; see ``potentials/mesh/particle_mesh.py``.
    """

    C6: PerSpecies = field(default_factory=dict)
    beyond: bool = False
    kind = DISPERSION
    label = "potential 'dispersion/pme'"
    strength = 1.0

    def bind(self, species_names):
        super().bind(species_names)
        missing = next((s for s in species_names if s not in self.C6), None)
        if missing is not None:
            raise InputError(f"{self.label}: 'C6' has no value for species '{missing}'{nearest(missing, self.C6)}; it has: "
                             f"{', '.join(self.C6) or 'none'}")
        values = []
        for name in species_names:
            try:
                values.append(convert(self.C6[name], "eV*angstrom**6"))
            except ValueError as error:
                raise InputError(f"{self.label}, 'C6' of {name}: {error}") from None
            if not values[-1] >= 0:
                raise InputError(f"{self.label}: 'C6' of {name} = {values[-1]} must not be negative")
        self._coefficients_of = np.sqrt(np.array(values, float))

    def sources(self, atoms):
        return self._coefficients_of[atoms.species]

    def pairs(self, alpha):
        return DampedPairs(alpha, self.cutoff, self._coefficients_of, float(self.beyond))

    def self_energy(self):
        return self._alpha**6 / 12.0

    def excluded(self, atoms, neighbors, needs, out):
        """Take away −c_i c_j (1 − g)/r⁶ of excluded pairs; 1 − g is the incomplete gamma function P(3, x)."""
        if not len(atoms.exclusions):
            return
        i, j = rows_of(atoms, neighbors).T
        d = atoms.positions[i] - atoms.positions[j]
        r2 = (d * d).sum(1)
        x, c = self._alpha**2 * r2, self.sources(atoms)
        energy = c[i] * c[j] * gammainc(3, x) / r2**3
        w = (6.0 * energy - c[i] * c[j] * self._alpha**6 * np.exp(-x)) / r2
        np.add.at(out.forces, i, w[:, None] * d)
        np.subtract.at(out.forces, j, w[:, None] * d)
        tensor = w[:, None, None] * d[:, :, None] * d[:, None, :]
        if "energy" in needs:
            np.add.at(out.energy, atoms.system[i], energy)
        if "virial" in needs:
            np.add.at(out.virial, atoms.system[i], tensor)
        for k in (i, j):
            if "atom_energy" in needs:
                np.add.at(out.atom_energy, k, 0.5 * energy)
            if "atom_virial" in needs:
                np.add.at(out.atom_virial, k, 0.5 * tensor)
