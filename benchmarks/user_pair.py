"""A pair potential as a user's plugin has it: one scalar function and its parameters, nothing else."""
from dataclasses import dataclass

import numpy as np

from engine.config.quantities import Energy, Length
from engine.kernels.pair import PairPotential


def twelve_six(r2, epsilon, sigma):
    """(energy, −dE/dr / r) of 4ε[(σ/r)¹² − (σ/r)⁶]."""
    s6 = (sigma * sigma / r2) ** 3
    return 4.0 * epsilon * (s6 * s6 - s6), 24.0 * epsilon * (2.0 * s6 * s6 - s6) / r2


@dataclass
class TwelveSix(PairPotential):
    """epsilon in eV, sigma and cutoff in Å."""

    epsilon: Energy
    sigma: Length
    cutoff: Length
    function = staticmethod(twelve_six)

    def tables(self, species_names):
        n = len(species_names)
        full = lambda value: np.full((n, n), value)
        return full(self.cutoff), {"epsilon": full(self.epsilon), "sigma": full(self.sigma)}
