"""Cutting the last dimension into pieces and joining pieces, each the transpose of the other.

Slices and `torch.cat` compute the same, but the derivative of a slice is a whole array of zeros with the slice in it: those of
all pieces are written, read and added up again, twice in a training step, which differentiates twice.
"""

from __future__ import annotations

import torch


class _Cut(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, sizes):
        return x.split(sizes, -1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.sizes = inputs[1]

    @staticmethod
    def backward(ctx, *g):
        return _Join.apply(ctx.sizes, *g), None


class _Join(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(sizes, *pieces):
        return torch.cat(pieces, -1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.sizes = inputs[0]

    @staticmethod
    def backward(ctx, g):
        return None, *_Cut.apply(g, ctx.sizes)


def cut(x, sizes):
    """x (..., n) -> pieces (..., sizes[0]), ..., which add up to n."""
    return _Cut.apply(x, sizes)


def join(*pieces):
    """(..., n_0), (..., n_1), ... -> (..., n_0 + n_1 + ...)."""
    return _Join.apply([piece.shape[-1] for piece in pieces], *pieces)
