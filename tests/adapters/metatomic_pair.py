"""A pair model in the metatomic format: E = ½ Σ_ij c_i c_j (1 − r/R)³ over ordered pairs, c depending on the species."""

# ruff: noqa: UP006, UP035, UP045 (TorchScript reads the old forms only)
from typing import Dict, List, Optional

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
)

RADIUS = 4.0


class Pairs(torch.nn.Module):
    def __init__(self, full: bool):
        super().__init__()
        self.options = NeighborListOptions(cutoff=RADIUS, full_list=full, strict=True)
        self.factor = 0.5 if full else 1.0
        self.radius = RADIUS

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        return [self.options]

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels] = None
    ) -> Dict[str, TensorMap]:
        energies: List[torch.Tensor] = []
        for system in systems:
            block = system.get_neighbor_list(self.options)
            r = torch.sqrt((block.values.reshape(-1, 3) ** 2).sum(1))
            i = block.samples.column("first_atom").to(torch.int64)
            j = block.samples.column("second_atom").to(torch.int64)
            c = 1.0 + 0.01 * system.types.to(r.dtype)
            energies.append(self.factor * (c[i] * c[j] * (1.0 - r / self.radius) ** 3).sum().reshape(1))
        values = torch.stack(energies)
        block = TensorBlock(
            values=values,
            samples=Labels(["system"], torch.arange(len(systems), dtype=torch.int32).reshape(-1, 1)),
            components=torch.jit.annotate(List[Labels], []),
            properties=Labels(["energy"], torch.tensor([[0]], dtype=torch.int32)),
        )
        return {"energy": TensorMap(Labels(["_"], torch.tensor([[0]], dtype=torch.int32)), [block])}


def export(path, full):
    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(unit="eV", sample_kind="system")},
        atomic_types=[29, 79],
        interaction_range=RADIUS,
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    AtomisticModel(Pairs(full).eval(), ModelMetadata(), capabilities).save(path)
