"""The parts that both architectures are built from, in torch.

Irreps are given as in e3nn (0e scalar, 1o vector, ...); edges are padded to (atoms A, neighbours N). A missing edge is
a vector longer than the cutoff: the envelope makes all that follows exactly zero, so no mask is needed anywhere.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from plugins.equivariant.angular import raising
from plugins.equivariant.description import CHARGE
from plugins.equivariant.pieces import cut


class Linear(nn.Module):
    """(..., n_in) -> (..., n_out), no bias; weights of variance one times a constant, so one learning rate suits all."""

    def __init__(self, n_in, n_out, gain=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out).uniform_(-math.sqrt(3), math.sqrt(3)))
        self.scale = gain / math.sqrt(n_in)

    def forward(self, x):
        return x @ (self.weight * self.scale)


class Network(nn.Module):
    """(..., n_in) -> (..., n_out): `depth` hidden layers with SiLU, no biases, so that zero stays zero."""

    def __init__(self, n_in, n_out, depth, width):
        super().__init__()
        sizes = [n_in] + [width] * depth + [n_out]
        self.layers = nn.ModuleList(Linear(a, b, 1.0 if k == 0 else math.sqrt(2.0))
                                    for k, (a, b) in enumerate(zip(sizes, sizes[1:])))

    def forward(self, x):
        for k, layer in enumerate(self.layers):
            x = layer(nn.functional.silu(x) if k else x)
        return x


def harmonics(unit: torch.Tensor, l_max: int) -> torch.Tensor:
    """(..., 3) unit vectors -> (..., (l_max+1)²): 0e + 1o + 2e + ..., component normalised, e3nn's order."""
    axes = unit.unbind(-1)
    order, out = [torch.ones_like(axes[0])], [torch.ones_like(axes[0])]
    for l in range(l_max):
        table = raising(l)
        order = [sum(float(table[k, i, j]) * order[i] * axes[j] for i, j in zip(*table[k].nonzero()))
                 for k in range(2 * l + 3)]
        out += order
    return torch.stack(out, -1)


def envelope(x: torch.Tensor, p: int) -> torch.Tensor:
    """Polynomial cutoff of x = r/r_c with p − 1 continuous derivatives at one (DimeNet, arXiv 2003.03123, eq. 8)."""
    value = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return torch.where(x < 1, value, torch.zeros_like(value))


def bessel(x: torch.Tensor, count: int) -> torch.Tensor:
    """(...) -> (..., count): sin(k π x) / (π x), k = 1 ... count."""
    k = torch.arange(1, count + 1, dtype=x.dtype, device=x.device)
    x = math.pi * x.unsqueeze(-1)
    return torch.sin(x * k) / x


class PairEmbedding(nn.Module):
    """(..., N) distances/cutoff, species of centres (..., N or 1) and neighbours (..., N) -> (..., N, features) scalars: radial
    basis, mixed, times the pair's vector."""

    def __init__(self, species, count, power, features):
        super().__init__()
        self.count, self.power = count, power
        self.radial = Linear(count, features)
        self.centre = nn.Parameter(torch.randn(species, features // 2))
        self.neighbour = nn.Parameter(torch.randn(species, features // 2))

    def forward(self, x, centre, neighbour):
        basis = bessel(x, self.count) * envelope(x, self.power).unsqueeze(-1)
        pair = torch.cat([self.centre[centre].expand(*x.shape, -1), self.neighbour[neighbour]], -1)
        return self.radial(basis) * pair


class Latent(nn.Module):
    """Latent charges from the readout's second column, q_i = CHARGE · found_i + q(Z_i), where a model has them."""

    def __init__(self, d):
        super().__init__()
        if d.charges:
            self.base = nn.Parameter(0.1 * torch.randn(len(d.species)))

    def forward(self, found, species):
        """(A,), (A,) -> (A,) e."""
        return CHARGE * found + self.base[species]


def degrees(l_max):
    """How many harmonics there are of l = 0, 1, ..."""
    return [2 * l + 1 for l in range(l_max + 1)]


def weighted_sum(weights, y, l_max, channels):
    """Σ_n w_l(n) Y_l(n): weights (A, N, channels·(l_max+1)) by degree, y (A, N, dim) -> (A, dim, channels), 0e+1o+..."""
    of_degrees = zip(cut(y, degrees(l_max)), cut(weights, [channels] * (l_max + 1)))
    return torch.cat([y.transpose(1, 2) @ w for y, w in of_degrees], 1)


def weighted_dot(weights, y, vector, l_max, channels):
    """Σ_i w_l(i) Y_i n_i on each edge: vector (A, dim, channels) of the centre -> (A, N, channels) scalars."""
    of_degrees = zip(cut(weights, [channels] * (l_max + 1)), cut(y, degrees(l_max)), vector.split(degrees(l_max), 1))
    return sum(w * (y @ n) for w, y, n in of_degrees)
