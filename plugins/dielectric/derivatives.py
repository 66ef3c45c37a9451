"""Everything that follows from one enthalpy F(R, E, cell) by differentiation.

With g_ij = ∂F/∂r_ij on edges (r_ij = r_j − r_i) and the field E (S, 3) of each system:

| what | how |
|---|---|
| forces −∂F/∂R (A, 3) | scatter of g |
| polarization P = −∂F/∂E (S, 3) | from the same reverse pass |
| virial (S, 3, 3) at fixed reduced field | −Σ r⊗g − P⊗E |
| polarizability ∂P/∂E (S, 3, 3) | three more reverse passes, symmetric because F is one function |
| Born charges ∂P/∂R (A, 3, 3), [atom, field axis, displacement axis] | the same three passes, scattered; their sum is zero |
| ∂α/∂R (A, 3, 3, 3), Raman | nine more |

A model that is quadratic in the field gives P and α itself; only what is left is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from plugins.equivariant.graphs import Batch


@dataclass
class Response:
    """What `evaluate` gives; a quantity that was not asked for is None. energy (S,) is without the species' shifts."""

    energy: torch.Tensor
    forces: torch.Tensor
    polarization: torch.Tensor
    virial: torch.Tensor | None = None
    born_charges: torch.Tensor | None = None
    polarizability: torch.Tensor | None = None
    raman: torch.Tensor | None = None
    atom_energy: torch.Tensor | None = None


def on_atoms(edge_gradient, neighbours, rows):
    """∂/∂R (rows, 3) of something with this gradient on edges (A, N, 3); rows ≥ A, ghosts after the A centres."""
    g = edge_gradient
    out = g.new_zeros(rows + 1, 3).index_add(0, neighbours.reshape(-1), g.reshape(-1, 3))[:rows]
    return out - torch.nn.functional.pad(g.sum(1), (0, 0, 0, rows - len(g)))


def gradients(value, inputs, create_graph):
    """∂value/∂inputs, zeros where the value does not hang on one."""
    found = torch.autograd.grad(value, inputs, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found)]


def evaluate(model, batch: Batch, field, needs=frozenset(), training=False, directions=None, rows=None):
    """Response of a batch in the field (S, 3).

    needs : of {"virial", "born_charges", "polarizability", "raman"};  training : keep the graph for one more derivative
    rows : of what is given for each atom, where neighbours include ghosts (a missing one then points to row `rows`)
    directions : (S, 3) or None: instead of the whole Born charges, their contraction with this field direction, (A, 3)
    """
    systems, rows = len(batch.volume), rows or len(batch.species)
    atoms = lambda g: on_atoms(g, batch.neighbours, rows)
    total = lambda x: x.new_zeros(systems + 1, *x.shape[1:]).index_add(0, batch.system, x)[:systems]
    vectors = batch.vectors.detach().requires_grad_()
    field = field.to(vectors.dtype).detach().requires_grad_()
    padded = torch.cat([field, field.new_zeros(1, 3)])
    each, P, alpha = model(vectors, batch.species, batch.around, padded[batch.system], batch.neighbours)
    third = training or "raman" in needs
    if P is None:
        second = bool(needs & {"born_charges", "polarizability", "raman"}) or directions is not None
        g, g_field = gradients(each.sum(), (vectors, field), training or second)
        P = -g_field
    else:
        (g,) = gradients(each.sum(), [vectors], training)
        P, alpha = total(P), total(alpha)
    out = Response(total(each.double()), -atoms(g), P, polarizability=alpha, atom_energy=each)
    if "virial" in needs:
        out.virial = -total(vectors.transpose(1, 2) @ g) - P[:, :, None] * field[:, None, :]
    if directions is not None:
        out.born_charges = atoms(gradients((P * directions).sum(), [vectors], training)[0])
    if "born_charges" in needs or alpha is None and needs & {"polarizability", "raman"}:
        found = [gradients(P[:, a].sum(), (vectors, field), third) for a in range(3)]
        if "born_charges" in needs:
            out.born_charges = torch.stack([atoms(g) for g, _ in found], 1)
        if alpha is None:
            out.polarizability = torch.stack([g for _, g in found], 1)
    if "raman" in needs:
        entries = [atoms(gradients(out.polarizability[:, a, b].sum(), [vectors], training)[0])
                   for a in range(3) for b in range(3)]
        out.raman = torch.stack(entries, 1).view(-1, 3, 3, 3)
    return out if training else detached(out)


def detached(out):
    return Response(**{k: None if v is None else v.detach() for k, v in vars(out).items()})
