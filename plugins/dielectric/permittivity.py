"""Static and optical permittivity from the fluctuations of the polarization at zero (or constant) macroscopic field.

    ε∞ = 1 + <α>/(ε0 V),     ε(0)_ab = ε∞_ab + (<P_a P_b> − <P_a><P_b>)/(ε0 V kT)

for tin-foil boundaries, which a macroscopic field held fixed is (M. Neumann, Mol. Phys. 50, 841 (1983)). Error bars by the
jackknife over blocks of the run. `finite_field` is the other way to the same: the slope of P between two fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from engine import units
from plugins.analysis.observer import Observer, Series, per_system
from plugins.dielectric.conditions import refuse_displacement, refuse_driven


@dataclass(kw_only=True)
class Permittivity(Observer):
    """blocks : the run is cut into so many parts for the error bars (halved in number when twice as many are full)"""

    blocks: PositiveInt = 16

    kind = "permittivity"
    TOTALS = ("parts", "size")
    size = 1  # looks in a part

    def start(self, simulation):
        super().start(simulation)
        refuse_displacement(self, simulation)
        refuse_driven(self, simulation)
        self.optical = "polarizability" in simulation.forces.provides
        self.needs = frozenset({"polarization"} | ({"polarizability"} if self.optical else set()))
        if not hasattr(self, "parts"):  # of each part: count, P, P⊗P, α, V, T
            self.parts = np.zeros((0, simulation.state.n_systems, 1 + 3 + 9 + 9 + 2))

    def observe(self, simulation):
        state = simulation.state
        P = simulation.quantity("polarization")
        S = state.n_systems
        alpha = simulation.quantity("polarizability").reshape(S, 9) if self.optical else np.zeros((S, 9))
        row = np.concatenate([np.ones((S, 1)), P, np.einsum("sa,sb->sab", P, P).reshape(S, 9), alpha,
                              np.stack([state.volume, simulation.temperature()], 1)], 1)
        if not len(self.parts) or self.parts[-1, 0, 0] >= self.size:
            if len(self.parts) == 2 * self.blocks:
                self.parts = self.parts[::2] + self.parts[1::2]
                self.size *= 2
            self.parts = np.concatenate([self.parts, np.zeros((1, *row.shape))])
        self.parts[-1] += row

    @staticmethod
    def _permittivity(total):
        """(optical, static) tensors (S, 3, 3) of sums (S, 24)."""
        mean = total[:, 1:] / total[:, :1]
        P, PP, alpha, volume, temperature = np.split(mean, [3, 12, 21, 22], axis=1)
        strength = units.epsilon0 * volume[:, :, None]
        optical = np.eye(3) + alpha.reshape(-1, 3, 3) / strength
        fluctuation = PP.reshape(-1, 3, 3) - P[:, :, None] * P[:, None, :]
        return optical, optical + fluctuation / (strength * units.kB * temperature[:, :, None])

    def result(self, simulation):
        optical, static = self._permittivity(self.parts.sum(0))
        out = {"optical": Series(per_system(optical)), "static": Series(per_system(static))}
        if len(self.parts) > 2:
            without = np.array([self._permittivity(self.parts.sum(0) - part) for part in self.parts])  # (parts, 2, S, 3, 3)
            n = len(without)
            errors = np.sqrt((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0))
            out |= {f"{name}_error": Series(per_system(error)) for name, error in zip(("optical", "static"), errors)}
        return out


def finite_field(up, down, field, volume):
    """ε_ab (3,), b the direction of `field` (3,) V/Å: from P (3,) e·Å relaxed (or averaged) in +E and −E, on one branch."""
    strength = np.linalg.norm(field)
    return field / strength + (np.asarray(up) - np.asarray(down)) / (2 * strength * units.epsilon0 * volume)
