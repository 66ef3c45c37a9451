"""A trained equivariant model as a potential of the engine: ``kind = "equivariant"``.

On a CPU a local model runs on the Numba kernel generated from its description (no torch is imported); it needs one
shell of ghosts, exchanges nothing, and brings its own threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba
import numpy as np

from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest
from plugins.equivariant import folder

PROVIDES = frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"})


@dataclass
class Equivariant(Potential):
    """A trained model.

    model : the folder that ``engine train`` or ``engine convert`` wrote
    """

    model: InputFile
    _kernel: object = field(default=None, init=False, repr=False)
    _rows: np.ndarray = field(default=None, init=False, repr=False)

    def __post_init__(self):
        self.description, self.arrays = folder.load(self.model)

    def bind(self, species_names):
        from plugins.equivariant.kernel.run import Kernel

        known = self.description.species
        for name in species_names:
            if name not in known:
                raise InputError(f"the model {self.model} knows no {name}{nearest(name, known)}; it was trained on: "
                                 f"{', '.join(known)}")
        self._rows = np.array([known.index(name) for name in species_names], np.int32)
        if self._kernel is None:
            self._kernel = Kernel(self.description, self.arrays, numba.get_num_threads())

    def capabilities(self):
        return Capabilities(self.description.cutoff, "full", "local", provides=PROVIDES)

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        lists = neighbors.full(self.description.cutoff)
        species = neighbors.derived(("equivariant", id(self)), lambda: self._rows[atoms.species])
        energy = np.zeros(atoms.n)
        self._kernel(atoms.positions, species, atoms.system, lists.offsets, lists.indices, out.forces, energy,
                     out.virial if "virial" in needs else None, out.atom_virial if "atom_virial" in needs else None)
        energy += self._kernel.shifts[species[:atoms.n]]
        if "atom_energy" in needs:
            out.atom_energy[:atoms.n] += energy
        if "energy" in needs:
            out.energy += np.bincount(atoms.system[:atoms.n], energy, atoms.n_systems)
