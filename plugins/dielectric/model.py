"""A learned electric enthalpy: the strictly local equivariant model with the field beside the edges.

Two forms, one interface (edge vectors and field in, enthalpy of each centre atom out):

``full``: the field enters every layer's environment as if it were one more neighbor,

    A_i = Σ_j w_l Y_l(r̂_ij)/√n + v_l(Z_i) |e|^l Y_l(ê),   e = E/E₀,  l ≥ 1

regular solid harmonics, polynomials of the field: smooth at zero, where the data are, and of all orders in E through the
layers that follow. Nothing of the field is left where an atom has no neighbors.

``quadratic``: the readout gives four scalars for each edge, and

    F = Σ_ij [ε_ij − p_ij (r̂_ij·E) − ½ a_ij E² − ½ b_ij ((r̂_ij·E)² − E²/3)]

so that P0 and α are equivariant readouts of one network, exactly second order in E: P = P0 + α·E and α need no derivative.

| equation | name |
|---|---|
| v_l(Z) | ``field_weights[k]``, (species, channels·l_max) |
| E₀ | ``field_scale``, V/Å |
| ε, p, a, b | columns of the readout; units eV, e·Å, e·Å²/V |
"""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.errors import InputError
from plugins.equivariant.blocks import Network, harmonics, weighted_dot, weighted_sum
from plugins.equivariant.description import Description
from plugins.equivariant.local import LocalModel
from plugins.equivariant.packing import edges
from plugins.equivariant.pieces import join


class DielectricModel(LocalModel):
    """`form` "quadratic" or "full"; forward(vectors, centre, neighbour, field) with field (A, 3) V/Å of each atom gives
    enthalpies (A,), and their parts of P (A, 3) and of α (A, 3, 3), which are None where only a derivative knows them."""

    def __init__(self, description: Description, form="quadratic", field_scale=1.0):
        super().__init__(description)
        d = description
        if d.architecture != "local":
            raise InputError(f"model: a model in an electric field is strictly local; architecture = \"{d.architecture}\" is not")
        if d.charges or d.zbl:
            raise InputError("model: a model in an electric field has no latent charges and no nuclear core; leave "
                             f"`{'charges' if d.charges else 'zbl'}` out")
        if form == "full" and d.l_max < 1:
            raise InputError("model: the full form takes the field in by harmonics; it needs l_max = 1 at least")
        self.form, self.field_scale = form, field_scale
        dtype = getattr(torch, d.dtype)
        if form == "quadratic":
            self.readout = Network(d.features * (d.layers + 1), 4, d.readout_depth, d.readout_width).to(dtype)
            self.register_buffer("response_scales", torch.ones(3, dtype=dtype))  # of p, a, b beside the energy's
        else:
            self.field_weights = nn.ParameterList(
                nn.Parameter(0.3 * torch.randn(len(d.species), d.channels * d.l_max, dtype=dtype)) for _ in range(d.layers))

    def field_environment(self, field, centre, k):
        """(A, dim, channels) what the field adds to the environment of layer k."""
        d = self.description
        y = harmonics(field / self.field_scale, d.l_max)
        w = self.field_weights[k][centre].view(-1, d.l_max, d.channels)
        degrees = torch.repeat_interleave(torch.arange(d.l_max), 2 * torch.arange(1, d.l_max + 1) + 1)
        return nn.functional.pad(w[:, degrees] * y[:, 1:, None], (0, 0, 1, 0))

    def edges(self, vectors, centre, neighbour, field, neighbours):
        """Unit vectors (A, N, 3) and the readout (A, N, 1 or 4)."""
        d = self.description
        seen = edges(centre, neighbour, neighbours, self.room, 2 * d.cutoff)
        vectors = seen.vectors(vectors)
        r = vectors.square().sum(-1).sqrt()
        unit = vectors / r.unsqueeze(-1)
        x = r / self.cutoffs.to(r.dtype)[seen.centre, seen.neighbour]
        embedded = self.two_body(self.embedding(x, seen.centre, seen.neighbour))
        initial, (scalars, weights) = seen.spread(self.initial(embedded)), self.split(self.first(embedded))
        coefficients, y = [product() for product in self.products], seen.spread(harmonics(unit, d.l_max))
        environments, track_scalars = [], [scalars]
        for k, latent in enumerate(self.latents):
            environment = weighted_sum(seen.spread(weights), y, d.l_max, d.channels) / math.sqrt(d.neighbors)
            if self.form == "full":
                environment = environment + self.field_environment(field, centre, k)
            environments.append(environment)
            vector = self.operator(environments, coefficients, k)
            found = seen.pack(weighted_dot(initial, y, vector, d.l_max, d.channels))
            scalars, weights = self.split(latent(join(*track_scalars, found)))
            track_scalars.append(scalars)
        return seen.spread(unit), seen.spread(self.readout(join(*track_scalars)))

    def forward(self, vectors, centre, neighbour, field, neighbours=None):
        """(A, N, 3) Å, (A,) and (A, N) species, (A, 3) V/Å -> eV without the species' shifts, e·Å, e·Å²/V; neighbours: as in
        ``LocalModel``."""
        norm = math.sqrt(2 * self.description.neighbors)
        unit, out = self.edges(vectors, centre, neighbour, field, neighbours)
        energy = out[..., 0].sum(1) * self.scales[centre] / norm
        if self.form == "full":
            return energy, None, None
        p, a, b = (out[..., 1:] * (self.response_scales / norm)).unbind(-1)
        fixed = (p.unsqueeze(-1) * unit).sum(1)
        isotropic = (a - b / 3).sum(1)[:, None, None] * torch.eye(3, dtype=out.dtype, device=out.device)
        alpha = isotropic + unit.transpose(1, 2) @ (b.unsqueeze(-1) * unit)
        induced = (alpha @ field.unsqueeze(-1)).squeeze(-1)
        return energy - (field * (fixed + 0.5 * induced)).sum(-1), fixed + induced, alpha
