"""Any model with TorchSim's interface: ``kind = "torch-sim"``, ``model = "module:maker"``.

Such a model takes a state of S systems and finds neighbors itself, so no list of ours is made. Its cells have vectors as
columns, its stress is positive in tension: W = −σV.
"""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from engine.contracts import Capabilities
from engine.errors import InputError
from plugins.adapters.graph import PROVIDES, Graph, GraphModel


@dataclass
class TorchSim(GraphModel):
    """model : ``"module:Class"`` or a function that makes a model (in Python also the model itself)
    parameters : its keyword arguments
    """

    model: Any
    parameters: dict[str, Any] = field(default_factory=dict)

    package, install, label = "torch-sim-atomistic", "torch-sim-atomistic", "potential 'torch-sim'"
    cutoff = 0.0

    def load(self):
        import torch_sim  # noqa: F401

        made = self.model
        if isinstance(made, str):
            module, _, name = made.partition(":")
            try:
                made = getattr(import_module(module), name)(**self.parameters)
            except (ImportError, AttributeError, ValueError) as error:
                raise InputError(f"{self.label}: model = '{self.model}' must be 'module:Class': {error}") from None
        if not getattr(made, "compute_forces", False):
            raise InputError(f"{self.label}: {type(made).__name__} does not compute forces; make it with compute_forces = true")
        self._model = made

    def bind(self, species_names):
        from ase.data import atomic_numbers

        unknown = [name for name in species_names if name not in atomic_numbers]
        if unknown:
            raise InputError(f"{self.label}: '{unknown[0]}' is no chemical element")
        self._rows = np.array([atomic_numbers[name] for name in species_names])

    def capabilities(self):
        provides = PROVIDES if self._model.compute_stress else PROVIDES - {"virial"}
        return Capabilities(0.0, "none", "global", provides=provides, heat_flux=False)

    def graph(self, atoms, neighbors, halo):
        none, n = np.zeros(0, np.int64), atoms.n
        self._masses = atoms.masses[:n]
        return Graph(
            self._rows[atoms.species[:n]],
            atoms.positions[:n].copy(),
            atoms.system[:n].astype(np.int64),
            atoms.cells.copy(),
            atoms.periodic,
            none,
            none,
            np.zeros((0, 3), np.int64),
            np.zeros((0, 3)),
        )

    def evaluate(self, graph, virial):
        import torch
        from torch_sim.state import SimState

        device, dtype = self._model.device, self._model.dtype
        order = np.argsort(graph.system, kind="stable")  # each system's atoms together
        real = lambda x: torch.tensor(np.ascontiguousarray(x), dtype=dtype, device=device)
        whole = lambda x: torch.tensor(np.ascontiguousarray(x), dtype=torch.int64, device=device)
        state = SimState(
            positions=real(graph.positions[order]),
            masses=real(self._masses[order]),
            cell=real(graph.cells.transpose(0, 2, 1)),
            pbc=bool(graph.periodic.all()) if graph.periodic.all() or not graph.periodic.any() else torch.tensor(graph.periodic),
            atomic_numbers=whole(graph.numbers[order]),
            system_idx=whole(graph.system[order]),
        )
        out = self._model(state)
        numpy = lambda name: out[name].detach().cpu().numpy().astype(float)
        forces = np.empty((len(order), 3))
        forces[order] = numpy("forces")
        W = -numpy("stress") * np.abs(np.linalg.det(graph.cells))[:, None, None] if virial else None
        return numpy("energy").reshape(-1), forces, W
