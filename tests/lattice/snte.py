"""The SnTe toy force field (Bianco et al., PRB 96, 014111 (2017)) as one quartic polynomial of its 2×2×2 supercell.

Harmonic part from dyn files; for each Sn–Te nearest neighbor along ±α, with v = (u_Sn − u_Te)/√2 (bohr, Ry),
A = v_α and T² = |v|² − A²:   V = −2 p3 (±A³) − 2 p4 A⁴ − 2 p4x A² T².  (Signs and factors found by comparing with
ten labelled configurations of the published code, to 4e-6.)
"""

import numpy as np

from plugins.lattice.quantum_espresso import BOHR, RYDBERG, read_dyn
from potentials.polynomial import Polynomial

P3, P4, P4X = 0.036475, -0.022, -0.014


def tensors(lattice):
    n = len(lattice)
    third, fourth = np.zeros((3 * n,) * 3), np.zeros((3 * n,) * 4)
    inverse = np.linalg.inv(lattice.cell)
    near = min(np.linalg.norm(lattice.positions - lattice.positions[0], axis=1)[1:])
    for i in (k for k, s in enumerate(lattice.symbols) if s == "Sn"):
        for a in range(3):
            for sign in (1, -1):
                f = (lattice.positions - lattice.positions[i] - sign * near * np.eye(3)[a]) @ inverse
                j = np.argmin(np.linalg.norm((f - np.round(f)) @ lattice.cell, axis=1))
                e = np.zeros((3, 3 * n))  # v_x, v_y, v_z as linear forms
                for x in range(3):
                    e[x, 3 * i + x], e[x, 3 * j + x] = 0.5**0.5, -(0.5**0.5)
                at = np.r_[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
                s = e[:, at]
                third[np.ix_(at, at, at)] += 6 * (-2 * P3 * sign) * np.einsum("i,j,k->ijk", s[a], s[a], s[a])
                fourth[np.ix_(at, at, at, at)] += 24 * (-2 * P4) * np.einsum("i,j,k,l->ijkl", *[s[a]] * 4)
                for b in (x for x in range(3) if x != a):
                    orders = {(a, a, b, b), (a, b, a, b), (a, b, b, a), (b, a, a, b), (b, a, b, a), (b, b, a, a)}
                    q = sum(np.einsum("i,j,k,l->ijkl", *s[list(o)]) for o in orders)
                    fourth[np.ix_(at, at, at, at)] += 4 * (-2 * P4X) * q
    return third * RYDBERG / BOHR**3, fourth * RYDBERG / BOHR**4


def toy(folder):
    """Lattice (harmonic, sum rule imposed) and Cartesian polynomial (eV, Å) around its positions."""
    lattice = read_dyn([folder / f"ffield_dynq{k}" for k in (1, 2, 3)])
    lattice = lattice.sum_rule()
    return lattice, Polynomial.from_tensors(lattice.force_constants, *tensors(lattice))
