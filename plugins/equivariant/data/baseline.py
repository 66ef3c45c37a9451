"""What every atom of a species contributes on average: shifts by least squares, scales from the forces."""

from __future__ import annotations

import numpy as np

from engine.errors import InputError
from plugins.equivariant.data.frames import Frame


def shifts(frames: list[Frame], species: list[str], given: dict[str, float] | str | None = None) -> np.ndarray:
    """(species,) eV for each atom.

    From the energies by least squares; refused where compositions do not tell the species apart, as in a set of one
    composition. given : {"O": -432.1, ...}, or "mean": one shift for all, the average energy of an atom.
    """
    if isinstance(given, dict):
        for name in species:
            if name not in given:
                raise InputError(f"shifts: none is given for {name}; give all of {', '.join(species)}")
        return np.array([float(given[name]) for name in species])
    having = [f for f in frames if f.energy is not None]
    if not having:
        return np.zeros(len(species))
    counts = np.array([[(f.symbols == s).sum() for s in species] for f in having], float)
    energies = np.array([f.energy for f in having])
    if given == "mean":
        return np.full(len(species), (energies / counts.sum(1)).mean())
    fractions = counts / counts.sum(1, keepdims=True)
    rank = np.linalg.matrix_rank(fractions, tol=1e-3)
    if rank < len(species):
        raise InputError(
            f"shifts: energies of {', '.join(species)} cannot be told apart, as the compositions in the data have rank {rank} "
            f"of {len(species)}; set shifts = \"mean\" (one shift for all) or give one for each, as {{ "
            + ", ".join(f"{s} = ..." for s in species) + " }")
    return np.linalg.lstsq(counts, energies, rcond=None)[0]


def scales(frames: list[Frame], species: list[str]) -> np.ndarray:
    """(species,) eV: rms force component of all atoms (their unit of length is the Å), else of the energies."""
    forces = [f.forces for f in frames if f.forces is not None]
    rms = float(np.sqrt((np.concatenate(forces) ** 2).mean())) if forces else 0.0
    return np.full(len(species), rms if rms > 1e-8 else 1.0)
