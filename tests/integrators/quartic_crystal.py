"""A small anharmonic crystal of the tests' own: four atoms in a ring, bonds with cubic and quartic terms, charges."""

import numpy as np
from ase import Atoms

from integrators.gaussian.lattice import Lattice
from potentials.force_constants import ForceConstants, StrainCoupling
from potentials.polynomial import Polynomial

SYMBOLS = ["Na", "Cl", "Na", "Cl"]
MASSES = np.array([22.98976928, 35.45, 22.98976928, 35.45])


def tensors(cubic=-3.0, quartic=12.0):
    """Force constants of springs between neighbors along x (period 4), stiff along the bond, soft across."""
    second, third, fourth = np.zeros((12, 12)), np.zeros((12,) * 3), np.zeros((12,) * 4)
    for i in range(4):
        j = (i + 1) % 4
        for axis, k in ((0, 6.0), (1, 2.0), (2, 2.5)):
            e = np.zeros(12)
            e[3 * i + axis], e[3 * j + axis] = -1.0, 1.0
            second += k * np.outer(e, e)
            third += (cubic if axis == 0 else 0.0) * np.einsum("i,j,k->ijk", e, e, e)
            fourth += quartic * np.einsum("i,j,k,l->ijkl", e, e, e, e)
    return second, third, fourth


def write(folder, **strengths):
    """model.h5 (the potential), lattice.h5 (its harmonic phonons, as a SCHA start), crystal.extxyz; returns the polynomial."""
    positions = np.zeros((4, 3))
    positions[:, 0] = 2.5 * np.arange(4) + 0.3
    cell = np.diag([10.0, 6.0, 7.0])
    second, third, fourth = tensors(**strengths)
    polynomial = Polynomial.from_tensors(second, third, fourth)
    rng = np.random.default_rng(8)
    translation = np.eye(12) - np.kron(np.ones((4, 4)) / 4, np.eye(3))
    w2 = rng.normal(size=(6, 12, 12))
    w2 = translation @ (w2 + w2.transpose(0, 2, 1)) @ translation
    virial = StrainCoupling(rng.normal(size=6) * 0.1, rng.normal(size=(6, 12)) @ translation, w2)
    born = np.array([1.0, -1.0, 1.0, -1.0])[:, None, None] * (np.eye(3) + np.array([[0, 0.2, 0], [-0.1, 0, 0], [0, 0, 0]]))
    ForceConstants.save(folder / "model.h5", SYMBOLS, positions, cell, polynomial, virial, born)
    Lattice(SYMBOLS, cell, positions, MASSES, second, born=born, dielectric=2.0 * np.eye(3)).save(folder / "lattice.h5")
    atoms = Atoms(SYMBOLS, positions=positions, cell=cell, pbc=True)
    atoms.set_masses(MASSES)
    atoms.write(folder / "crystal.extxyz")
    return atoms, polynomial
