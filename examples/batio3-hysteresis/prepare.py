"""Tetragonal BaTiO3, poled along +z: python prepare.py 3 (135 atoms) or 6 (1080 atoms)."""

import sys

from ase import Atoms
from ase.io import write

A, C = 3.96608, 4.30403  # Å, PBE, the cell of arXiv 2403.17207


def batio3(repeat):
    """Ba at the corner, Ti and O displaced against one another along z."""
    s = [[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, -0.04], [0.5, 0, 0.46], [0, 0.5, 0.46]]
    return Atoms("BaTiO3", scaled_positions=s, cell=[A, A, C], pbc=True).repeat(repeat)


if __name__ == "__main__":
    write("batio3.extxyz", batio3(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
