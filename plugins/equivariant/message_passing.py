"""The message-passing model (NequIP: Batzner et al., Nat. Commun. 13, 2453 (2022)) in torch.

| symbol | name |
|---|---|
| h⁰_i = embedding of Z_i | ``start``, (A, 1, channels) 0e |
| m_i = Σ_j R(r_ij) ⊙ (h_j ⊗ Y(r̂_ij)) / √n | ``Interaction.messages``, paths as in the paper's eq. 7 |
| h' = gate(W m + W_Z h) | ``Interaction.forward``, W_Z one matrix for each species (self-connection); silu, and tanh for 0o |
| E_i = σ(Z_i) W₂ W₁ h_i + µ(Z_i) | ``finish`` (without µ) |
| q_i, from a second column of W₂ | ``blocks.Latent`` |

Features are (atoms, Σ(2l+1), channels), irreps one after the other, all of the same multiplicity. Between layers a
centre needs the features of its neighbours: the model is written as segments (`start`, one for each layer, `finish`)
so that an engine can exchange features of ghosts between them.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from plugins.equivariant import fused
from plugins.equivariant.angular import wigner_3j
from plugins.equivariant.blocks import Latent, Linear, Network, bessel, degrees, envelope, harmonics
from plugins.equivariant.description import Description
from plugins.equivariant.irreps import SILU_GAIN, TANH_GAIN, irreps_of_layers, paths
from plugins.equivariant.pieces import cut, join


def dims(irreps):
    return [2 * l + 1 for l, _ in irreps]


class Interaction(nn.Module):
    """(rows, dim_in, channels) features of all atoms -> (A, dim_out, channels) of the centres."""

    def __init__(self, d: Description, irreps_in, irreps_out):
        super().__init__()
        self.irreps_in, self.irreps_out, self.l_max, self.channels = irreps_in, irreps_out, d.l_max, d.channels
        self.neighbors, self.unrolled = d.neighbors, False  # unrolled : for compilers of whole functions
        self.paths = paths(irreps_in, irreps_out, d.l_max)
        self.plan = fused.Plan(tuple(irreps_in), tuple(irreps_out), d.l_max)
        for p, (a, l2, c) in enumerate(self.paths):
            table = wigner_3j(irreps_in[a][0], l2, irreps_out[c][0]) * math.sqrt(2 * irreps_out[c][0] + 1)
            self.register_buffer(f"w3j{p}", torch.tensor(table), persistent=False)
        self.radial = Network(d.bessel, len(self.paths) * d.channels, d.latent_depth, d.latent_width)
        self.before = nn.ModuleList(Linear(d.channels, d.channels) for _ in irreps_in)
        count = [sum(path[2] == c for path in self.paths) for c in range(len(irreps_out))]
        self.gated = [c for c, (l, _) in enumerate(irreps_out) if l > 0]
        gates = d.channels * len(self.gated)
        self.after = nn.ModuleList(Linear(n * d.channels, d.channels + (gates if c == 0 else 0))
                                   for c, n in enumerate(count))
        species = len(d.species)
        shared = [(irreps_in.index(x), c) for c, x in enumerate(irreps_out) if x in irreps_in]
        self.shared = dict((c, (k, a)) for k, (a, c) in enumerate(shared))
        self.own = nn.ParameterList(
            nn.Parameter(torch.empty(species, d.channels, d.channels + (gates if c == 0 else 0)).uniform_(
                -math.sqrt(3), math.sqrt(3))) for _, c in shared)

    def messages(self, features, basis, y, neighbours):
        """For each irrep out: (A, 2l+1, paths · channels), summed over neighbours."""
        parts = cut(features, dims(self.irreps_in), 1)
        mixed = join(*(linear(part) for linear, part in zip(self.before, parts)), dim=1)
        weights = self.radial(basis)
        if self.on_gpu(features):
            found = fused.product("g", self.plan.text, neighbours, mixed.shape[0], mixed,
                                  weights.unflatten(-1, (len(self.paths), self.channels)), y)
            parts = zip(self.irreps_out, cut(found, self.plan.sizes, 1))
            return [x.reshape(x.shape[0], 2 * l + 1, -1) / math.sqrt(self.neighbors) for (l, _), x in parts]
        mixed = torch.cat([mixed, mixed.new_zeros(1, *mixed.shape[1:])])[neighbours]  # (A, N, dim, channels)
        weights = cut(weights, [self.channels] * len(self.paths))
        of_path, out = self.written_out if self.unrolled else self.as_product, [[] for _ in self.irreps_out]
        mixed, y = cut(mixed, dims(self.irreps_in), 2), cut(y, degrees(self.l_max))
        for p, (i, l2, c) in enumerate(self.paths):
            out[c].append(of_path(getattr(self, f"w3j{p}"), mixed[i], weights[p], y[l2]))
        return [join(*x) / math.sqrt(self.neighbors) for x in out]

    @staticmethod
    def on_gpu(x):
        """Does the fused product (``fused``) run where these are?"""
        return x.is_cuda

    @staticmethod
    def as_product(table, h, weight, y):
        """One path: h (A, N, 2l₁+1, channels), weight (A, N, channels), y (A, N, 2l₂+1) -> (A, 2l+1, channels)."""
        z = torch.einsum("anj,ijk->anik", y, table.to(y.dtype))
        return z.flatten(1, 2).transpose(1, 2) @ (h * weight.unsqueeze(2)).flatten(1, 2)

    @staticmethod
    def written_out(table, h, weight, y):
        """The same, coefficient by coefficient: a compiler makes one loop over neighbours of it, in registers, where products
        of small matrices write every edge's features to memory. Eagerly it is slow."""
        table, components = table.tolist(), []  # [i][j][k]
        for k in range(len(table[0][0])):
            total = 0.0
            for m, row in enumerate(table):
                if terms := [x[k] * y[..., j] for j, x in enumerate(row) if abs(x[k]) > 1e-9]:
                    total = total + h[:, :, m] * sum(terms).unsqueeze(-1)
            components.append((total * weight).sum(1))
        return torch.stack(components, 1)

    def forward(self, features, basis, y, neighbours, species):
        found = self.messages(features, basis, y, neighbours)
        parts, outputs, u = cut(features[:species.shape[0]], dims(self.irreps_in), 1), [], self.channels
        for c, m in enumerate(found):
            value = self.after[c](m)
            if c in self.shared:
                k, i = self.shared[c]
                matrix = self.own[k][species] * (1 / math.sqrt(u))  # (A, channels, out)
                value = (value + parts[i] @ matrix) * math.sqrt(0.5)
            outputs.append(value)
        scalars, *gates = cut(outputs[0], [u] * (1 + len(self.gated)))
        result = [nn.functional.silu(scalars) * SILU_GAIN]
        for c in range(1, len(outputs)):
            if c in self.gated:
                gate = gates[self.gated.index(c)]
                result.append(outputs[c] * nn.functional.silu(gate) * SILU_GAIN)
            else:  # 0o: an odd function of it
                result.append(torch.tanh(outputs[c]) * TANH_GAIN)
        return join(*result, dim=1)


class MessagePassingModel(nn.Module):
    """Energies of atoms from edge vectors, through `layers` exchanges of features."""

    def __init__(self, description: Description):
        super().__init__()
        d = self.description = description
        self.embedding = nn.Parameter(torch.randn(len(d.species), d.channels, 1))
        irreps = irreps_of_layers(d.l_max, d.parity, d.layers)
        self.interactions = nn.ModuleList(Interaction(d, a, b) for a, b in zip(irreps, irreps[1:]))
        self.readout = nn.ModuleList([Linear(d.channels, d.readout_width), Linear(d.readout_width, 1 + d.charges)])
        self.latent = Latent(d)
        self.register_buffer("scales", torch.ones(len(d.species)))
        self.register_buffer("shifts", torch.zeros(len(d.species), dtype=torch.float64))
        self.register_buffer("cutoffs", torch.tensor(d.pair_cutoffs(), dtype=torch.float64), persistent=False)
        self.to(getattr(torch, d.dtype))
        self.shifts = self.shifts.double()

    def start(self, species):
        """(rows,) species -> (rows, 1, channels) 0e."""
        return self.embedding[species].transpose(1, 2)

    def edges(self, vectors, species, around):
        """(A, N, 3) -> radial functions (A, N, bessel), which vanish beyond the cutoff, and harmonics (A, N, dim)."""
        d = self.description
        r = vectors.square().sum(-1).sqrt()
        x = r / self.cutoffs.to(r.dtype)[species.unsqueeze(1), around]
        basis = bessel(x, d.bessel) * envelope(x, d.envelope).unsqueeze(-1)
        return basis, harmonics(vectors / r.unsqueeze(-1), d.l_max)

    def layer(self, k, features, vectors, neighbours, species, around):
        """Features of all rows -> (A, dim, channels) of the centres: what happens between two exchanges."""
        basis, y = self.edges(vectors, species, around)
        return self.interactions[k](features, basis, y, neighbours, species)

    def finish(self, features, species):
        """(A, 1, channels) -> (A,) eV; with latent charges a pair, (A,) eV and (A,) e."""
        value = features[:, 0]
        for linear in self.readout:
            value = linear(value)
        energy = value[:, 0] * self.scales[species]
        return (energy, self.latent(value[:, 1], species)) if self.description.charges else energy

    def forward(self, vectors, centre, around, neighbours):
        """(A, N, 3) Å, species (A,), (A, N), rows (A, N), A for none -> as `finish`, without shifts."""
        features = self.start(centre)
        basis, y = self.edges(vectors, centre, around)
        for interaction in self.interactions:
            features = interaction(features, basis, y, neighbours, centre)
        return self.finish(features, centre)
