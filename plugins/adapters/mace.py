"""MACE (Batatia et al., NeurIPS 2022): ``kind = "mace"``, a ``.model`` file as its training writes it.

The file is a pickle, as MACE's own calculator reads it: load only what you trust.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.config.quantities import InputFile
from engine.errors import InputError, nearest
from plugins.adapters.graph import GraphModel, symbols


@dataclass
class MACE(GraphModel):
    """model : the file;  device : "cpu" or "cuda";  head : of a model that has several"""

    model: InputFile
    device: Literal["cpu", "cuda"] = "cpu"
    head: str | None = None

    package, install, label = "mace-torch", "mace-torch", "potential 'mace'"

    def load(self):
        import mace  # noqa: F401  (its classes are in the pickle)
        import torch

        self._model = torch.load(str(self.model), map_location=self.device, weights_only=False).eval()
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)
        self._dtype = next(self._model.parameters()).dtype
        self.cutoff = float(self._model.r_max)
        self.species = symbols(self._model.atomic_numbers)
        heads = list(getattr(self._model, "heads", None) or ["Default"])
        if self.head is not None and self.head not in heads:
            raise InputError(
                f"{self.label}: no head is called '{self.head}'{nearest(self.head, heads)}; there are: {', '.join(heads)}"
            )
        self._head = heads.index(self.head) if self.head else len(heads) - 1

    def evaluate(self, graph, virial):
        import torch

        def real(x):
            return torch.as_tensor(np.ascontiguousarray(x), dtype=self._dtype, device=self.device)

        def whole(x):
            return torch.as_tensor(np.ascontiguousarray(x), dtype=torch.int64, device=self.device)

        S = len(graph.cells)
        order = np.argsort(graph.system, kind="stable")  # MACE wants each system's atoms together
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        system = graph.system[order]
        shift = np.einsum("ma,mab->mb", graph.shifts, graph.cells[graph.system[graph.centre]])
        data = {
            "positions": real(graph.positions[order]),
            "node_attrs": torch.nn.functional.one_hot(whole(graph.numbers[order]), len(self.species)).to(self._dtype),
            "edge_index": whole(np.stack([place[graph.centre], place[graph.neighbor]])),
            "unit_shifts": real(graph.shifts),
            "shifts": real(shift),
            "cell": real(graph.cells.reshape(-1, 3)),
            "batch": whole(system),
            "ptr": whole(np.searchsorted(system, np.arange(S + 1))),
            "head": whole(np.full(S, self._head)),
            "pbc": torch.as_tensor(np.tile(graph.periodic, (S, 1))),
        }
        out = self._model(data, compute_virials=virial, compute_displacement=virial)
        forces = out["forces"].detach().cpu().numpy().astype(float)[place]
        W = out["virials"].detach().cpu().numpy().astype(float).reshape(S, 3, 3) if virial else None
        return out["energy"].detach().cpu().numpy().astype(float), forces, W
