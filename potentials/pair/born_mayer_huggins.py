"""Born–Mayer–Huggins: u(r) = A e^{(σ − r)/ρ} − C/r⁶ − D/r⁸  (M. P. Tosi and F. G. Fumi, J. Phys. Chem. Solids 25, 45 (1964)).

D is positive for the attractive dipole–quadrupole term, as in the paper (LAMMPS's ``born`` has the opposite sign).
"""

from dataclasses import dataclass

from engine.kernels.simd import exp, reciprocal, rsqrt
from potentials.pair.parameters import EnergyParameter, LengthParameter, SpeciesPairs, parameter


def born_mayer_huggins(r2, A, rho, sigma, C, D, shift, slope):
    """Energy and −dE/dr / r at squared distance `r2`."""
    y, k = rsqrt(r2), reciprocal(rho)
    r, inverse2 = r2 * y, y * y
    repulsion = A * exp((sigma - r) * k)
    c6 = C * inverse2 * inverse2 * inverse2
    c8 = D * inverse2 * inverse2 * inverse2 * inverse2
    return repulsion - c6 - c8 - shift - slope * r, (repulsion * k + slope) * y - (6.0 * c6 + 8.0 * c8) * inverse2


@dataclass(kw_only=True)
class BornMayerHuggins(SpeciesPairs):
    """A in eV, rho and sigma in Å, C in eV·Å⁶ and D in eV·Å⁸ (both 0 unless given); numbers for all pairs, or under `pairs`."""

    A: EnergyParameter = None
    rho: LengthParameter = None
    sigma: LengthParameter = None
    C: parameter("eV*angstrom**6", "dipole–dipole dispersion") = 0.0
    D: parameter("eV*angstrom**8", "dipole–quadrupole dispersion") = 0.0
    label = "potential 'born-mayer-huggins'"
    function = staticmethod(born_mayer_huggins)
    UNITS = {"A": "eV", "rho": "angstrom", "sigma": "angstrom", "C": "eV*angstrom**6", "D": "eV*angstrom**8"}
