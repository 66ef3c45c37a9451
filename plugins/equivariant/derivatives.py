"""Energy, forces and virial of a batch from the gradient on edges: one place, for training, checks and inference.

With g_ij = ∂E/∂r_ij and r_ij = r_j − r_i:  F_k = Σ_j g_kj − Σ_i g_ik,  W_ab = −∂E/∂ε_ab = −Σ_ij r_ij,a g_ij,b.
"""

from __future__ import annotations

import torch
from torch.func import functional_call, grad

from plugins.equivariant import lattice_sum


def scatter(g, vectors, neighbours, system, systems, virial, ghosts=0):
    """Edge gradient (A, N, 3) -> forces (A + ghosts, 3), virial (S, 3, 3) or None."""
    rows = len(g) + ghosts
    back = torch.zeros(rows + 1, 3, dtype=g.dtype, device=g.device)
    back = back.index_add(0, neighbours.reshape(-1), g.reshape(-1, 3))
    forces = torch.nn.functional.pad(g.sum(1), (0, 0, 0, ghosts)) - back[:rows]
    if not virial:
        return forces, None
    each = -(vectors.transpose(1, 2) @ g)
    total = torch.zeros(systems + 1, 3, 3, dtype=g.dtype, device=g.device)
    return forces, total.index_add(0, system, each)[:systems]


def evaluate(model, parameters, vectors, neighbours, species, around, system, systems, virial=True, lattice=None):
    """(energy (S,) float64 without shifts, forces (A, 3), virial (S, 3, 3), atom energies (A,)), differentiable.

    `parameters` may be the model's own (dict(model.named_parameters())) or others of the same shape.
    lattice : of a model with latent charges: ``lattice_sum.Lattice.tensors``; its energies of atoms are without theirs
    """
    if model.description.charges:
        return _charged(model, parameters, vectors, neighbours, species, around, system, systems, virial, lattice)

    def total(v):
        each = functional_call(model, parameters, (v, species, around, neighbours))
        return each.sum(), each

    g, each = grad(total, has_aux=True)(vectors)
    forces, w = scatter(g, vectors, neighbours, system, systems, virial)
    return _sum(each, system, systems), forces, w, each


def _charged(model, parameters, vectors, neighbours, species, around, system, systems, virial, lattice):
    """With the long-range energy of the charges: it hangs on edge vectors through the charges, and on positions."""
    positions, *lattice = lattice

    def total(v, x):
        each, charges = functional_call(model, parameters, (v, species, around, neighbours))
        far, *far_virial = lattice_sum.energy(charges, x, *lattice, system, model.description, virial)
        return each.sum() + far.sum(), (each, far, *far_virial)

    (g, slope), (each, far, *far_virial) = grad(total, argnums=(0, 1), has_aux=True)(vectors, positions)
    forces, w = scatter(g, vectors, neighbours, system, systems, virial)
    energy = _sum(each, system, systems) + far.double()
    return energy, forces - slope, w + far_virial[0] if virial else None, each


def _sum(each, system, systems):
    """(S,) float64 of atoms."""
    out = torch.zeros(systems + 1, dtype=torch.float64, device=each.device)
    return out.index_add(0, system, each.double())[:systems]
