"""Both forms in eager torch: edges padded into a batch, every response by differentiation."""

import numpy as np
import torch

from plugins.dielectric.derivatives import evaluate
from plugins.dielectric.storage import load
from plugins.equivariant.graphs import Batch


class TorchRunner:
    """As `kernel_runner.KernelRunner`."""

    def __init__(self, path, description, arrays, threads, form, field_scale):
        self.cutoff, self.model = description.cutoff, load(path)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    def batch(self, atoms, edges, species):
        """Edges padded to (atoms, neighbors); what is missing sits at twice the cutoff and belongs to no row."""
        n, widest = atoms.n, int(np.diff(edges.offsets).max(initial=1))
        dtype = next(self.model.parameters()).dtype
        vectors = np.zeros((n, widest, 3))
        vectors[..., 0] = 2 * self.cutoff
        index = np.full((n, widest), atoms.n_all)
        around = np.zeros((n, widest), int)
        slot = np.arange(len(edges.centre)) - edges.offsets[edges.centre]
        vectors[edges.centre, slot] = edges.vectors
        index[edges.centre, slot] = edges.neighbor
        around[edges.centre, slot] = species[edges.neighbor]
        t = torch.tensor
        count = np.bincount(atoms.system[:n], minlength=atoms.n_systems).astype(float)
        return Batch(t(vectors, dtype=dtype), t(index), t(species[:n].astype(int)), t(around), t(atoms.system[:n].astype(int)),
                     torch.zeros(atoms.n_systems, dtype=torch.float64), t(count))

    def __call__(self, atoms, neighbors, species, field, needs, out):
        batch = self.batch(atoms, neighbors.edges(self.cutoff), species)
        wanted = needs & {"virial", "born_charges", "polarizability"}
        found = evaluate(self.model, batch, torch.tensor(field), wanted, rows=atoms.n_all)
        out.forces[:] += found.forces.double().numpy()
        for name in ("virial", "polarization", "born_charges", "polarizability"):
            if name in needs:
                getattr(out, name)[...] += getattr(found, name).double().numpy()
        return found.atom_energy.double().numpy()
