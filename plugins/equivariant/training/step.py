"""One training step: loss, its gradient on the parameters (through forces: a double backward), compiled where possible.

    L = Σ_s w_s ((E_s − E*_s)/N_s)² + Σ_i w_i |F_i − F*_i|² + Σ_s w'_s |σ_s − σ*_s|²,   σ = −W/V
"""

from __future__ import annotations

import torch
from torch.func import grad_and_value

from engine.errors import one_line
from plugins.equivariant.derivatives import evaluate
from plugins.equivariant.packing import room_for
from plugins.equivariant.training.products import by_onednn


def losses(model, parameters, stress: bool, batch):
    """(loss, (energy, forces, stress)) of a batch of ``batches.Labels``."""
    return compare(predict(model, parameters, stress, batch), batch)


def predict(model, parameters, stress: bool, batch):
    """energy (S,), forces (A, 3), stress (S, 3, 3) or None of a batch."""
    vectors, neighbours, species, around, system, volume, *more = batch
    energy, forces, virial, _ = evaluate(model, parameters, vectors, neighbours, species, around, system,
                                         len(volume), stress, more[:3])
    return energy, forces, -virial / volume.to(virial.dtype).view(-1, 1, 1) if stress else None


def compare(found, batch):
    """(loss, found): what is found, against the labels of the batch."""
    energy, forces, stress = found
    *_, atoms, energy_, energy_weight, forces_, force_weight, stress_, stress_weight = batch
    loss = (energy_weight * ((energy - energy_) / atoms).square()).sum().to(forces.dtype)
    loss = loss + (force_weight.unsqueeze(-1) * (forces - forces_).square()).sum()
    if stress is not None:
        loss = loss + (stress_weight.view(-1, 1, 1) * (stress - stress_).square()).sum()
    return loss, found


class Step:
    """`step(parameters, batch) -> (gradients, loss)`, both lists in the order of `names`.

    compiled : try to compile the whole step; `note` then says whether it was, and why not
    losses : what is minimised, a function such as the one above
    edges : most edges of a batch, for models that can do without the others (``packing``)
    """

    def __init__(self, model, names, stress: bool, compiled: bool, losses=losses, edges=None):
        self.model, self.names, self.stress, self.losses, self.edges = model, names, stress, losses, edges
        self.note = "eager"
        self._wanted, self._compiled = compiled, None

    def _plain(self, parameters, *batch):
        def loss(values):
            return self.losses(self.model, dict(zip(self.names, values)), self.stress, batch)[0]
        with room_for(self.model, self.edges):
            return grad_and_value(loss)(parameters)

    def __call__(self, parameters, batch):
        if self.edges is not None:
            found = batch[1]  # (A, N) rows of neighbours, A for none
            if (present := int((found < len(found)).sum())) > self.edges:
                raise ValueError(f"a batch of {present} edges; there is room for {self.edges}")
        parameters = [p.detach() for p in parameters]
        with torch.no_grad():
            if self._wanted and self._compiled is None:
                self._compile(parameters, batch)
            if self._compiled is not None:
                return self._compiled(parameters, *batch)
            return self._plain(parameters, *batch)

    def _compile(self, parameters, batch):
        """Trace loss and both derivatives into one graph, then compile that: no autograd is left in it."""
        from torch.fx.experimental.proxy_tensor import make_fx

        self._wanted = False
        try:
            graph = make_fx(self._plain)(parameters, *batch)
            by_onednn(graph)
            candidate = torch.compile(graph, dynamic=False)
            candidate(parameters, *batch)
            self._compiled, self.note = candidate, "compiled"
        except Exception as error:  # no compiler, or a graph that this torch cannot compile: slower, but the same
            self.note = f"eager, as it could not be compiled ({one_line(error)})"


class Evaluation:
    """Energy, forces and stress of batches with given parameters; plain, gradients of first order only."""

    def __init__(self, model, names, stress, losses=losses):
        self.model, self.names, self.stress, self.losses = model, names, stress, losses

    def __call__(self, parameters, batch):
        with torch.no_grad():
            return self.losses(self.model, dict(zip(self.names, parameters)), self.stress, batch)
