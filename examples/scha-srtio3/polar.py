"""Does the stress that the pulse leaves turn the crystal polar?   python polar.py srtio3.h5md [model.h5 start.h5]

The crystal is strained as a free one would be by the persistent stress of the run, ε = −S σ times a factor, SCHA is solved
in closed form at 0 K in each strained cell, and the squared frequency of the polar mode (free-energy Hessian, with the
third-order term) is printed against the stress. The model is linear in strain, so its elastic constants are not its own:
S is from C11 = 318, C12 = 103, C44 = 124 GPa (SrTiO3, Bell and Rupprecht, Phys. Rev. 129, 90 (1963)).
"""

import sys

import numpy as np

from engine import units
from integrators.gaussian.lattice import Lattice
from integrators.gaussian.recorder import read
from integrators.scha import ClosedForm, Minimiser, stability
from plugins.lattice.symmetry import Symmetry
from potentials.force_constants import ForceConstants

C11, C12, C44 = 318.0, 103.0, 124.0


def persistent(path, window=2000.0):
    """Mean stress of the last `window` fs less the start's, (3, 3) GPa."""
    rows = read(path)
    late = rows["time"] > rows["time"][-1] - window
    return rows["stress"][late].mean(0) - rows["stress"][0]


def strain_of(stress):
    """Strain of a free cubic crystal whose internal stress has changed by `stress` GPa."""
    normal = np.full((3, 3), C12) + (C11 - C12) * np.eye(3)
    e = np.diag(np.linalg.solve(normal, -np.diag(stress)))
    off = -(stress - np.diag(np.diag(stress))) / (2 * C44)
    return e + off


def polar_modes(model, lattice, strain):
    """Squared frequencies (cm⁻²) of the softest mode polar along x, y, z: of the auxiliary phonons and of the Hessian."""
    F = np.eye(3) + strain
    strained = Lattice(lattice.symbols, lattice.cell @ F, lattice.positions @ F, lattice.masses, lattice.force_constants)
    c = strained.coordinates()
    polynomial, _ = model.projected(c.reference, c.to_cartesian, strained.cell)
    _, Z = model.polarization(c.reference, c.to_cartesian, strained.cell)
    D = c.matrix(strained.force_constants)
    m = Minimiser(lambda R, D: ClosedForm(polynomial.averages, 0.0), np.zeros(c.size), D, Symmetry.of(strained).reduced(c))
    if not m.run(40, 1e-2):
        return None
    out = []
    for matrix in (m.D, stability(m.D, polynomial.mean_third(m.R), 0.0)):
        w2, e = np.linalg.eigh(matrix)
        charge = Z @ e  # (3, d): a mode is polar along an axis if it carries a good part of its mode charge
        out.append([w2[np.argmax(charge[a] ** 2 > 0.02 * (charge[a] ** 2).max())] * units.per_cm**2 for a in range(3)])
    return np.array(out)


def main(path, model="model.h5", start="start.h5"):
    model, lattice = ForceConstants(model), Lattice.load(start).sum_rule()
    model.bind(sorted(set(model.symbols)))
    stress = persistent(path)
    print(f"persistent stress, GPa: xx {stress[0, 0]:.4f} yy {stress[1, 1]:.4f} zz {stress[2, 2]:.4f}")
    print(f"{'factor':>7} {'pressure released [GPa]':>24} {'w2 x, y, z of D [1/cm2]':>36} {'of the free-energy Hessian':>36}")
    for factor in (-2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0):
        found = polar_modes(model, lattice, factor * strain_of(stress))
        words = "SCHA has no minimum near the cubic-like phase: it is polar" if found is None else "".join(
            f"{x:12.1f}" for x in found.ravel())
        print(f"{factor:7.1f} {-factor * np.trace(stress) / 3:24.4f} {words}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
