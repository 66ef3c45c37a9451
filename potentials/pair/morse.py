"""Morse: u(r) = D [e^{−2α(r − r₀)} − 2 e^{−α(r − r₀)}]  (P. M. Morse, Phys. Rev. 34, 57 (1929))."""

from dataclasses import dataclass

from engine.kernels.simd import exp, sqrt
from potentials.pair.parameters import EnergyParameter, LengthParameter, SpeciesPairs, parameter


def morse(r2, depth, alpha, r0, shift, slope):
    """Energy and −dE/dr / r at squared distance `r2`."""
    r = sqrt(r2)
    e = exp(-alpha * (r - r0))
    return depth * e * (e - 2.0) - shift - slope * r, (2.0 * depth * alpha * e * (e - 1.0) + slope) / r


@dataclass(kw_only=True)
class Morse(SpeciesPairs):
    """depth D in eV, alpha in 1/Å, r0 in Å; each a number for all pairs, or given under `pairs`."""

    depth: EnergyParameter = None
    alpha: parameter("1/angstrom", "inverse width") = None
    r0: LengthParameter = None
    label = "potential 'morse'"
    function = staticmethod(morse)
    UNITS = {"depth": "eV", "alpha": "1/angstrom", "r0": "angstrom"}
