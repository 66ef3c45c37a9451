"""Buckingham: u(r) = A e^{−r/ρ} − C/r⁶  (R. A. Buckingham, Proc. R. Soc. A 168, 264 (1938))."""

from dataclasses import dataclass

from engine.kernels.simd import exp, sqrt
from potentials.pair.parameters import EnergyParameter, LengthParameter, SpeciesPairs, parameter


def buckingham(r2, A, rho, C, shift, slope):
    """Energy and −dE/dr / r at squared distance `r2`."""
    r = sqrt(r2)
    repulsion = A * exp(-r / rho)
    dispersion = C / (r2 * r2 * r2)
    return repulsion - dispersion - shift - slope * r, (repulsion / rho + slope) / r - 6.0 * dispersion / r2


@dataclass(kw_only=True)
class Buckingham(SpeciesPairs):
    """A in eV, rho in Å, C in eV·Å⁶; each a number for all pairs, or given under `pairs`.

    The energy falls to −∞ at short distances: melts need a repulsion beside it.
    """

    A: EnergyParameter = None
    rho: LengthParameter = None
    C: parameter("eV*angstrom**6", "dispersion") = None
    label = "potential 'buckingham'"
    function = staticmethod(buckingham)
    UNITS = {"A": "eV", "rho": "angstrom", "C": "eV*angstrom**6"}
