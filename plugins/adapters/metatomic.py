"""Models in the metatomic format: ``kind = "metatomic"``, an exported ``.pt`` file (PET, SOAP-BPNN, ... of metatrain).

Neighbor lists are ours; the energy is differentiated here with respect to positions and a strain of atoms and cell.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.config.quantities import InputFile
from engine.domain.halo import positive
from engine.errors import InputError
from plugins.adapters.graph import GraphModel, symbols

SAMPLES = ["first_atom", "second_atom", "cell_shift_a", "cell_shift_b", "cell_shift_c"]


@dataclass
class Metatomic(GraphModel):
    """model : the file;  extensions : folder of compiled operations that it needs;  device : "cpu" or "cuda" """

    model: InputFile
    extensions: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"

    package, install, label = "metatomic-torch", "metatomic-torch", "potential 'metatomic'"

    def load(self):
        import torch
        from metatomic.torch import ModelEvaluationOptions, ModelOutput, load_atomistic_model

        self._model = load_atomistic_model(str(self.model), extensions_directory=self.extensions).to(self.device)
        capabilities = self._model.capabilities()
        if "energy" not in capabilities.outputs:
            raise InputError(f"{self.label}: {self.model} gives no energy; it gives: {', '.join(capabilities.outputs)}")
        self._dtype = {"float32": torch.float32, "float64": torch.float64}[capabilities.dtype]
        self._lists = list(self._model.requested_neighbor_lists())
        self._radii = [request.engine_cutoff("angstrom") for request in self._lists]
        self.cutoff = max(self._radii, default=0.0)
        self._types = [int(z) for z in capabilities.atomic_types]
        self.species = symbols(self._types)
        self._options = ModelEvaluationOptions(
            length_unit="angstrom", outputs={"energy": ModelOutput(unit="eV", sample_kind="system")}
        )

    def evaluate(self, graph, virial):
        import torch
        from metatomic.torch import System, register_autograd_neighbors

        S = len(graph.cells)
        parts = [(graph, np.arange(len(graph.numbers)))] if S == 1 else [graph.one(s) for s in range(S)]
        systems, positions, strains = [], [], []
        for part, _ in parts:
            x = torch.tensor(part.positions, dtype=self._dtype, device=self.device, requires_grad=True)
            strain = torch.eye(3, dtype=self._dtype, device=self.device, requires_grad=virial)
            cell = torch.tensor(part.cells[0] * part.periodic[:, None], dtype=self._dtype, device=self.device)
            system = System(
                torch.tensor(np.array(self._types)[part.numbers], dtype=torch.int32, device=self.device),
                x @ strain,
                cell @ strain,
                torch.tensor(part.periodic, device=self.device),
            )
            for request, radius in zip(self._lists, self._radii, strict=True):
                block = self._neighbors(part, radius, request.full_list)
                register_autograd_neighbors(system, block, check_consistency=False)
                system.add_neighbor_list(request, block)
            systems.append(system), positions.append(x), strains.append(strain)
        energy = self._model(systems, self._options, check_consistency=False)["energy"].block().values
        gradients = torch.autograd.grad(energy.sum(), positions + (strains if virial else []))
        forces = np.zeros((len(graph.numbers), 3))
        for (_, rows), gradient in zip(parts, gradients, strict=False):
            forces[rows] = -gradient.detach().cpu().numpy()
        W = -torch.stack(gradients[S:]).detach().cpu().numpy().astype(float) if virial else None
        return energy.detach().cpu().numpy().astype(float).reshape(S), forces, W

    def _neighbors(self, graph, radius, full):
        """Their block of neighbors: sample (i, j, shift), value the vector from i to j."""
        import torch
        from metatensor.torch import Labels, TensorBlock

        keep = (graph.vectors**2).sum(1) < radius**2
        if not full:
            zero = ~graph.shifts.any(1)
            keep &= np.where(zero, graph.centre < graph.neighbor, positive(graph.shifts))
        samples = np.column_stack([graph.centre, graph.neighbor, graph.shifts])[keep].astype(np.int32)
        return TensorBlock(
            values=torch.tensor(graph.vectors[keep], dtype=self._dtype, device=self.device)[:, :, None],
            samples=Labels(SAMPLES, torch.tensor(samples, device=self.device), assume_unique=True),
            components=[Labels.range("xyz", 3).to(self.device)],
            properties=Labels.range("distance", 1).to(self.device),
        )
