"""A trained electric enthalpy as a potential of the engine: ``kind = "dielectric"``.

The polarization of a local model is a function of the structure, single-valued and continuous: atoms that cross the
boundary change nothing, and a current that flows for ever is not in it (``itinerant = False``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest
from potentials.dielectric import RESPONSES, field_of

PROVIDES = frozenset({"energy", "forces", "virial", "atom_energy"}) | RESPONSES


@dataclass
class Dielectric(Potential):
    """model : the folder of a trained model"""

    model: InputFile
    _torch_model: object = field(default=None, init=False, repr=False)

    itinerant = False

    def __post_init__(self):
        from plugins.dielectric.training import load

        self._torch_model = load(self.model)
        for parameter in self._torch_model.parameters():
            parameter.requires_grad_(False)
        self.description = self._torch_model.description

    def bind(self, species_names):
        known = self.description.species
        for name in species_names:
            if name not in known:
                raise InputError(f"the model {self.model} knows no {name}{nearest(name, known)}; it was trained on: "
                                 f"{', '.join(known)}")
        self._rows = np.array([known.index(name) for name in species_names])

    def capabilities(self):
        return Capabilities(self.description.cutoff, "full", "local", takes=frozenset({"field"}), provides=PROVIDES,
                            heat_flux=False)

    def _batch(self, atoms, edges):
        """Edges padded to (atoms, neighbors); what is missing sits at twice the cutoff and belongs to no row."""
        import torch

        from plugins.equivariant.graphs import Batch

        n, widest = atoms.n, int(np.diff(edges.offsets).max(initial=1))
        dtype = next(self._torch_model.parameters()).dtype
        vectors = np.zeros((n, widest, 3))
        vectors[..., 0] = 2 * self.description.cutoff
        index = np.full((n, widest), atoms.n_all)
        around = np.zeros((n, widest), int)
        slot = np.arange(len(edges.centre)) - edges.offsets[edges.centre]
        species = self._rows[atoms.species]
        vectors[edges.centre, slot] = edges.vectors
        index[edges.centre, slot] = edges.neighbor
        around[edges.centre, slot] = species[edges.neighbor]
        t = torch.tensor
        count = np.bincount(atoms.system[:n], minlength=atoms.n_systems).astype(float)
        return Batch(t(vectors, dtype=dtype), t(index), t(species[:n]), t(around), t(atoms.system[:n].astype(int)),
                     torch.zeros(atoms.n_systems, dtype=torch.float64), t(count))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        import torch

        from plugins.dielectric.derivatives import evaluate

        batch = self._batch(atoms, neighbors.edges(self.description.cutoff))
        E = torch.tensor(np.ascontiguousarray(field_of(atoms, inputs)))
        found = evaluate(self._torch_model, batch, E, needs & {"virial", "born_charges", "polarizability"}, rows=atoms.n_all)
        out.forces[:] += found.forces.double().numpy()
        if needs & {"energy", "atom_energy"}:
            each = (found.atom_energy.double() + self._torch_model.shifts[batch.species]).numpy()
            if "energy" in needs:
                out.energy += np.bincount(atoms.system[: atoms.n], each, atoms.n_systems)
            if "atom_energy" in needs:
                out.atom_energy[: atoms.n] += each
        for name in ("virial", "polarization", "born_charges", "polarizability"):
            if name in needs:
                getattr(out, name)[...] += getattr(found, name).double().numpy()
