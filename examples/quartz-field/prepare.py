"""α-quartz in an orthorhombic cell of 72 atoms, 2a × √3a × 2c, at the PBE lattice constants of arXiv 2403.17207."""

from ase.build import make_supercell
from ase.io import write
from ase.spacegroup import crystal

A, C = 4.98530, 5.47853  # Å


def quartz():
    cell = crystal(["Si", "O"], [(0.4697, 0, 2 / 3), (0.4135, 0.2669, 0.7858)], spacegroup=154, cellpar=[A, A, C, 90, 90, 120])
    atoms = make_supercell(cell, [[2, 0, 0], [1, 2, 0], [0, 0, 2]])
    atoms.wrap()
    return atoms[atoms.numbers.argsort(kind="stable")]


if __name__ == "__main__":
    write("quartz.extxyz", quartz())
