"""Energy, forces and virial of a batch from the gradient on edges: one place, for training, checks and inference.

With g_ij = ∂E/∂r_ij and r_ij = r_j − r_i:  F_k = Σ_j g_kj − Σ_i g_ik,  W_ab = −∂E/∂ε_ab = −Σ_ij r_ij,a g_ij,b.
"""

from __future__ import annotations

import torch
from torch.func import functional_call, grad


def scatter(g, vectors, neighbours, system, systems, virial):
    """Edge gradient (A, N, 3) -> forces (A, 3), virial (S, 3, 3) or None."""
    rows = len(g)
    back = torch.zeros(rows + 1, 3, dtype=g.dtype, device=g.device)
    back = back.index_add(0, neighbours.reshape(-1), g.reshape(-1, 3))
    forces = g.sum(1) - back[:rows]
    if not virial:
        return forces, None
    each = -(vectors.transpose(1, 2) @ g)
    total = torch.zeros(systems + 1, 3, 3, dtype=g.dtype, device=g.device)
    return forces, total.index_add(0, system, each)[:systems]


def evaluate(model, parameters, vectors, neighbours, species, around, system, systems, virial=True):
    """(energy (S,) float64 without shifts, forces (A, 3), virial (S, 3, 3), atom energies (A,)), differentiable.

    `parameters` may be the model's own (dict(model.named_parameters())) or others of the same shape.
    """
    def total(v):
        each = functional_call(model, parameters, (v, species, around, neighbours))
        return each.sum(), each

    g, each = grad(total, has_aux=True)(vectors)
    forces, w = scatter(g, vectors, neighbours, system, systems, virial)
    energy = torch.zeros(systems + 1, dtype=torch.float64, device=g.device).index_add(0, system, each.double())
    return energy[:systems], forces, w, each
