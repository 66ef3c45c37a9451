"""The strictly local, pair-equivariant model (Allegro: Musaelian et al., Nat. Commun. 14, 579 (2023)) in torch.

| symbol | name |
|---|---|
| x_ij = MLP(B(r_ij) ⊙ t(Z_i, Z_j)) | ``embedded``, (A, N, features) 0e |
| V⁰_ij = w⁰_l Y_l(r̂_ij) | ``initial`` weights, (A, N, channels·(l_max+1)) |
| A_i = Σ_j w_l Y_l / √n | ``environment``, (A, dim, channels) 0e+1o+2e+... |
| n_k, with scalar_k(ij) = V⁰_ij · n_k | ``track.layers`` and ``operator`` |
| E_i = σ(Z_i) Σ_j MLP(all scalars) / √(2n) + µ(Z_i) | ``forward`` (without µ, which is added in float64) |
| q_i, likewise, from a second column of that MLP | ``blocks.Latent`` |

The tensor track is linear in V⁰, so it is applied as an operator of the centre atom: nothing of size edges × tensor
exists. Everything that is made of an edge vanishes with its envelope, value and derivatives.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from plugins.equivariant import track
from plugins.equivariant.blocks import Latent, Linear, Network, PairEmbedding, harmonics, weighted_dot, weighted_sum
from plugins.equivariant.description import Description
from plugins.equivariant.packing import edges
from plugins.equivariant.pieces import cut, join


class TensorProduct(nn.Module):
    """Weights of one layer's paths, (channels, paths); gives dense coefficients (channels, in, environment, out)."""

    def __init__(self, layer: track.Layer, channels, l_max):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, len(layer.paths)).uniform_(-math.sqrt(3), math.sqrt(3)))
        basis = track.dense(layer, np.eye(len(layer.paths)), l_max)  # (paths, i, j, k)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def forward(self):
        return torch.einsum("up,pijk->uijk", self.weight, self.basis.to(self.weight.dtype))


class LocalModel(nn.Module):
    """Edge vectors in, energy of each centre atom out; forces follow from its gradient on the edges."""

    room = None  # most edges of a batch, while they are packed (``packing``)

    def __init__(self, description: Description):
        super().__init__()
        d = self.description = description
        width = d.channels * (d.l_max + 1)
        self.embedding = PairEmbedding(len(d.species), d.bessel, d.envelope, d.features)
        self.two_body = Network(d.features, d.features, d.embedding_depth, d.embedding_width)
        self.initial = Linear(d.features, width)
        self.first = Linear(d.features, d.features + width)
        products = track.layers(d.l_max, d.parity, d.layers)
        self.products = nn.ModuleList(TensorProduct(layer, d.channels, d.l_max) for layer in products)
        self.latents = nn.ModuleList(
            Network(d.features * (k + 1) + d.channels, d.features + (width if k < d.layers - 1 else 0),
                    d.latent_depth, d.latent_width) for k in range(d.layers))
        self.readout = Network(d.features * (d.layers + 1), 1 + d.charges, d.readout_depth, d.readout_width)
        self.latent = Latent(d)
        self.register_buffer("scales", torch.ones(len(d.species)))
        self.register_buffer("shifts", torch.zeros(len(d.species), dtype=torch.float64))
        self.register_buffer("cutoffs", torch.tensor(d.pair_cutoffs(), dtype=torch.float64), persistent=False)
        self.to(getattr(torch, d.dtype))
        self.shifts = self.shifts.double()

    def operator(self, environments, coefficients, k):
        """(A, dim, channels) n_k from the environments 1 ... k+1 of the centre atoms."""
        def contract(t, environment):  # (u, i, j, m) with A_j -> (u, A, i, m)
            u, i, j, m = t.shape
            flat = environment.permute(2, 0, 1) @ t.permute(0, 2, 1, 3).reshape(u, j, i * m)
            return flat.view(u, -1, i, m)

        vector = contract(coefficients[k][..., :1], environments[k])
        for step in range(k - 1, -1, -1):
            vector = contract(coefficients[step], environments[step]) @ vector
        return vector.squeeze(-1).permute(1, 2, 0)

    def forward(self, vectors, centre, neighbour, neighbours=None):
        """(A, N, 3) Å, (A,) and (A, N) species -> (A,) eV without the species' shifts; padding: |vector| > cutoff.

        With latent charges a pair: (A,) eV without what they add, and (A,) e. `neighbours` (A, N), the rows of the
        neighbours, are of no interest to a strictly local model but where they tell which slots are empty.
        """
        d = self.description
        seen = edges(centre, neighbour, neighbours, self.room, 2 * d.cutoff)
        vectors = seen.vectors(vectors)
        r = vectors.square().sum(-1).sqrt()
        y = harmonics(vectors / r.unsqueeze(-1), d.l_max)
        x = r / self.cutoffs.to(r.dtype)[seen.centre, seen.neighbour]
        embedded = self.two_body(self.embedding(x, seen.centre, seen.neighbour))
        initial, (scalars, weights) = seen.spread(self.initial(embedded)), self.split(self.first(embedded))
        coefficients, y = [product() for product in self.products], seen.spread(y)
        environments, track_scalars = [], [scalars]
        for k, latent in enumerate(self.latents):
            environments.append(weighted_sum(seen.spread(weights), y, d.l_max, d.channels) / math.sqrt(d.neighbors))
            vector = self.operator(environments, coefficients, k)
            found = seen.pack(weighted_dot(initial, y, vector, d.l_max, d.channels))
            scalars, weights = self.split(latent(join(*track_scalars, found)))
            track_scalars.append(scalars)
        found = seen.spread(self.readout(join(*track_scalars)))
        energy = found[..., 0].sum(1) * self.scales[centre] / math.sqrt(2 * d.neighbors)
        if not d.charges:
            return energy
        return energy, self.latent(found[..., 1].sum(1) / math.sqrt(2 * d.neighbors), centre)

    def split(self, x):
        """(..., features) scalars, and the weights of the next environment, if there are any."""
        features = self.description.features
        return cut(x, [features, x.shape[-1] - features]) if x.shape[-1] > features else (x, None)
