"""Cutting a dimension into pieces and joining pieces along it, each the transpose of the other.

Slices and `torch.cat` compute the same, but the derivative of a slice is a whole array of zeros with the slice in it: those of
all pieces are written, read and added up again, twice in a training step, which differentiates twice.
"""

from __future__ import annotations

import torch


class _Cut(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, sizes, dim):
        return x.split(sizes, dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.sizes, ctx.dim = inputs

    @staticmethod
    def backward(ctx, *g):
        return _Join.apply(ctx.sizes, ctx.dim, *g), None, None


class _Join(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(sizes, dim, *pieces):
        return torch.cat(pieces, dim)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.sizes, ctx.dim, *_ = inputs

    @staticmethod
    def backward(ctx, g):
        return None, None, *_Cut.apply(g, ctx.sizes, ctx.dim)


def cut(x, sizes, dim=-1):
    """x (..., n) -> pieces (..., sizes[0]), ..., which add up to n."""
    return _Cut.apply(x, sizes, dim)


def join(*pieces, dim=-1):
    """(..., n_0), (..., n_1), ... -> (..., n_0 + n_1 + ...)."""
    return _Join.apply([piece.shape[dim] for piece in pieces], dim, *pieces)
