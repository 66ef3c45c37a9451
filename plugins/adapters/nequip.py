"""NequIP and Allegro models compiled ahead of time: ``kind = "nequip"``, a ``.nequip.pt2`` file made with
``nequip-compile --mode aotinductor --target ase``.

Compiled code was made for one number of threads and one device; the file says neither, so a mismatch shows in speed or
as an error of torch when it is loaded.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.config.quantities import InputFile
from plugins.adapters.graph import GraphModel


@dataclass
class NequIP(GraphModel):
    """model : the file;  device : "cpu" or "cuda";  species : names of the model's types where they are no symbols"""

    model: InputFile
    device: Literal["cpu", "cuda"] = "cpu"

    package, install, label = "nequip", "nequip", "potential 'nequip'"

    def load(self):
        from nequip.data import AtomicDataDict as keys
        from nequip.integrations.ase import NequIPCalculator
        from nequip.model.inference_models import load_compiled_model
        from nequip.nn import graph_model

        target = NequIPCalculator._get_aoti_compile_target()
        self._model, metadata = load_compiled_model(str(self.model), self.device, list(target["input"]), list(target["output"]))
        self._keys = keys
        self.cutoff = float(metadata[graph_model.R_MAX_KEY])
        self.species = list(metadata[graph_model.TYPE_NAMES_KEY])

    def evaluate(self, graph, virial):
        S = len(graph.cells)
        energy, forces = np.zeros(S), np.zeros((len(graph.numbers), 3))
        W = np.zeros((S, 3, 3)) if virial else None
        for s in range(S):
            part, rows = (graph, slice(None)) if S == 1 else graph.one(s)
            energy[s], forces[rows], stress = self._one(part)
            if virial:
                W[s] = -stress * abs(np.linalg.det(graph.cells[s]))
        return energy, forces, W

    def _one(self, graph):
        import torch

        k = self._keys
        data = {
            k.POSITIONS_KEY: torch.as_tensor(graph.positions), k.CELL_KEY: torch.as_tensor(graph.cells),
            k.EDGE_INDEX_KEY: torch.as_tensor(np.stack([graph.centre, graph.neighbor])),
            k.EDGE_CELL_SHIFT_KEY: torch.as_tensor(graph.shifts, dtype=torch.float64),
            k.ATOM_TYPE_KEY: torch.as_tensor(graph.numbers, dtype=torch.int64),
            k.PBC_KEY: torch.as_tensor(graph.periodic)[None],
        }
        out = self._model({name: value.to(self.device) for name, value in data.items()})
        numpy = lambda name: out[name].detach().cpu().numpy().astype(float)
        return float(numpy(k.TOTAL_ENERGY_KEY).reshape(())), numpy(k.FORCE_KEY), numpy(k.STRESS_KEY).reshape(3, 3)
