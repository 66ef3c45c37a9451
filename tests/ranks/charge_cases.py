"""Learned models over ranks: ``mpiexec -n N python -m charge_cases FILE MODELS``.

MODELS is a folder with one trained model for each name of ``test_charges_on_ranks.MODELS``, and one of an enthalpy.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from rank_tools import evaluated

from engine.parallel import world
from plugins.dielectric.potential import Dielectric
from plugins.equivariant import ahead, folder
from plugins.equivariant.committee import Committee
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.torch_runner import TorchRunner


def liquid(count=64, length=11.0, seed=2):
    """Oxygen and hydrogen at random places, no two nearer than 1.1 Å, in a cell that is not orthogonal."""
    rng, cell, places = np.random.default_rng(seed), np.eye(3) * length, np.zeros((0, 3))
    while len(places) < count:
        trial = rng.uniform(0, length, 3)
        d = places - trial
        if (np.linalg.norm(d - length * np.round(d / length), axis=1) > 1.1).all():
            places = np.vstack([places, trial])
    atoms = Atoms("OHHO" * (count // 4), places, cell=cell, pbc=True)
    atoms.set_cell(cell @ (np.eye(3) + [[0, 0.1, 0], [0, 0, -0.05], [0.08, 0, 0]]), scale_atoms=True)
    return atoms


def in_segments(path):
    """The model by the functions that are compiled ahead of time, as they are before that."""
    model, potential = folder.to_model(path), Equivariant(path, backend="torch")
    potential._runner = TorchRunner(model, packages=ahead.functions(model.requires_grad_(False)))
    return potential


def everything(comm, models):
    folders = {path.name: str(path) for path in sorted(Path(models).iterdir())}
    found = {"dielectric": Dielectric(folders.pop("dielectric"))}
    for name, path in folders.items():
        found[name] = Equivariant(path, backend="torch" if "message" in name else "kernel")
    found["segments"] = in_segments(folders["message-passing, float64, neutral"])
    found["committee"] = Committee([path for name, path in folders.items() if "local, float64" in name])
    return {name: evaluated(comm, potential, liquid(), needs=potential.capabilities().provides)
            for name, potential in found.items()}


if __name__ == "__main__":
    comm = world()
    found = everything(comm, sys.argv[2])
    if comm.rank == 0:
        Path(sys.argv[1]).write_bytes(pickle.dumps(found))
