"""A trained electric enthalpy as a potential of the engine: ``kind = "dielectric"``.

It runs on the Numba kernel generated from its description (no torch is imported), or in torch.

The polarization of a local model is a function of the structure, single-valued and continuous: atoms that cross the
boundary change nothing, and a current that flows for ever is not in it (``itinerant = False``).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numba
import numpy as np

from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest
from plugins.equivariant import folder
from potentials.dielectric import RESPONSES, field_of

PROVIDES = frozenset({"energy", "forces", "virial", "atom_energy"}) | RESPONSES


def about(path) -> dict:
    """What `plugins.dielectric.training.write` said of a model: its form and scale of fields."""
    found = tomllib.loads(Path(path, "model.toml").read_text()).get("about", {})
    if found.get("form") not in ("quadratic", "full"):
        raise InputError(f"{path} is a model without an electric field (its [about] names no form)")
    return found


@dataclass
class Dielectric(Potential):
    """model : the folder of a trained model;  backend : "kernel" (Numba), "torch" (slower), or the best"""

    model: InputFile
    backend: Literal["auto", "kernel", "torch"] = "auto"
    _runner: object = field(default=None, init=False, repr=False)

    itinerant = False

    def __post_init__(self):
        self.description, self.arrays = folder.load(self.model)
        self._about = about(self.model)

    def bind(self, species_names):
        known = self.description.species
        for name in species_names:
            if name not in known:
                raise InputError(f"the model {self.model} knows no {name}{nearest(name, known)}; it was trained on: "
                                 f"{', '.join(known)}")
        self._rows = np.array([known.index(name) for name in species_names], np.int32)
        if self._runner is None:
            if self.backend == "torch":
                from plugins.dielectric.torch_runner import TorchRunner as Runner
            else:
                from plugins.dielectric.kernel_runner import KernelRunner as Runner
            self._runner = Runner(self.model, self.description, self.arrays, numba.get_num_threads(), self._about["form"],
                                  self._about["field_scale"])

    def capabilities(self):
        return Capabilities(self.description.cutoff, "full", "local", takes=frozenset({"field"}), provides=PROVIDES,
                            heat_flux=False)

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        species = neighbors.derived(("dielectric", id(self)), lambda: self._rows[atoms.species])
        E = np.ascontiguousarray(field_of(atoms, inputs))
        energy = self._runner(atoms, neighbors, species, E, needs, out) + self.arrays["shifts"][species[: atoms.n]]
        if "atom_energy" in needs:
            out.atom_energy[: atoms.n] += energy
        if "energy" in needs:
            out.energy += np.bincount(atoms.system[: atoms.n], energy, atoms.n_systems)
