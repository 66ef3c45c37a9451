"""A two-layer message-passing network whose node features travel between ranks, differentiated twice.

    h⁰_i = embedding(species),  h^{l+1}_i = tanh(A_l h^l_i + Σ_j c(r_ij) B_l [h^l_j, 1/r_ij]),  E = Σ_i w·h²_i

with c(r) = (1 − r²/rc²)³. It is no model of anything: it is there because it exchanges features as real ones do.
"""

import numpy as np
import torch

from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.domain.migration import share_out
from plugins.torch_halo import collect, spread

CUTOFF, WIDTH = 4.0, 5


class Toy(torch.nn.Module):
    def __init__(self, n_species):
        super().__init__()
        rng = np.random.default_rng(0)
        tensor = lambda *shape: torch.nn.Parameter(torch.tensor(rng.normal(scale=0.4, size=shape)))
        self.embedding = tensor(n_species, WIDTH)
        self.keep = tensor(2, WIDTH, WIDTH)
        self.mix = tensor(2, WIDTH + 1, WIDTH)
        self.readout = tensor(WIDTH)

    def forward(self, species, centre, neighbor, vectors, halo):
        """Atom energies (n,) of owned atoms."""
        r2 = (vectors * vectors).sum(1, keepdim=True)
        envelope, inverse = (1 - r2 / CUTOFF**2) ** 3, r2**-0.5
        h = self.embedding[species[: halo.n]]
        for layer in range(2):
            seen = spread(h, halo)
            message = envelope * (torch.cat([seen[neighbor], inverse], 1) @ self.mix[layer])
            h = torch.tanh(h @ self.keep[layer] + torch.zeros_like(h).index_add(0, centre, message))
        return h @ self.readout


def evaluated(comm, atoms):
    """Energy, forces, and the gradient of Σ|F|² with respect to parameters and positions: two passes through the halo."""
    state = state_from_atoms(atoms)
    share_out(state, comm)
    domain = Domain(state, CUTOFF, 0.5)
    domain.refresh()
    halo, edges = domain.halo, domain.neighbors.edges(CUTOFF)
    model = Toy(len(state.species_names))
    centre, neighbor = torch.tensor(edges.centre).long(), torch.tensor(edges.neighbor).long()
    vectors = torch.tensor(edges.vectors, requires_grad=True)
    energies = model(torch.tensor(state.species).long(), centre, neighbor, vectors, halo)
    (g,) = torch.autograd.grad(energies.sum(), vectors, create_graph=True)

    def gather(on_edges):
        """−∂/∂r of owned atoms from derivatives with respect to edge vectors r_j − r_i."""
        zero = torch.zeros((state.n_all, 3), dtype=torch.float64)
        return collect(zero.index_add(0, centre, on_edges).index_add(0, neighbor, -on_edges), halo)

    forces = gather(g)
    gradients = torch.autograd.grad((forces**2).sum(), [vectors, *model.parameters()])
    hessian_product = gather(gradients[0])
    parameters = np.concatenate([p.numpy().ravel() for p in gradients[1:]])
    rows = {"forces": forces.detach().numpy(), "hessian_product": hessian_product.numpy(), "energies": energies.detach().numpy()}
    return state, rows, {"energy": comm.sum(np.array([energies.detach().sum().item()])), "parameters": comm.sum(parameters)}
