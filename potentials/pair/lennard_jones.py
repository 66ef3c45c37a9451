"""Lennard-Jones: u(r) = 4ε[(σ/r)¹² − (σ/r)⁶]  (J. E. Jones, Proc. R. Soc. A 106, 463 (1924))."""

from dataclasses import dataclass

import numpy as np

from engine.config.quantities import Energy, Length
from engine.kernels.pair import PairPotential


def lennard_jones(r2, epsilon, sigma, shift):
    """Energy and −dE/dr / r at squared distance `r2`."""
    s2 = sigma * sigma / r2
    s6 = s2 * s2 * s2
    return 4.0 * epsilon * s6 * (s6 - 1.0) - shift, 24.0 * epsilon * s6 * (2.0 * s6 - 1.0) / r2


@dataclass
class LennardJones(PairPotential):
    """epsilon in eV, sigma and cutoff in Å; `shifted` subtracts the energy at the cutoff."""

    epsilon: Energy
    sigma: Length
    cutoff: Length
    shifted: bool = False
    function = staticmethod(lennard_jones)

    def tables(self, species_names):
        n = len(species_names)
        shift = lennard_jones(self.cutoff**2, self.epsilon, self.sigma, 0.0)[0] if self.shifted else 0.0
        full = lambda value: np.full((n, n), value)
        return full(self.cutoff), {"epsilon": full(self.epsilon), "sigma": full(self.sigma), "shift": full(shift)}
