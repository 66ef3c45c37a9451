"""Exchange of per-atom torch tensors between ranks (and with periodic images), differentiable any number of times.

`spread` gives every atom that this rank sees its owner's value; `collect` adds what was found for ghosts to their owners. Both
are linear and each other's transpose, so the derivative of one is the other, to any order:

    spread: (n, ...) → (n_all, ...)        collect: (n_all, ...) → (n, ...)

A message-passing model spreads its node features before each layer after the first. Both calls are collective in the
forward and in the backward pass: all ranks must build the same graph, also those without atoms.
"""

import torch


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, owned, halo, n_all):
        ctx.halo = halo
        out = owned.new_empty((n_all, *owned.shape[1:]))
        out[: halo.n] = owned.detach()
        halo.forward(out.numpy())
        return out

    @staticmethod
    def backward(ctx, gradient):
        return _Collect.apply(gradient, ctx.halo), None, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx, seen, halo):
        ctx.halo, ctx.n_all = halo, len(seen)
        out = seen.detach().clone(memory_format=torch.contiguous_format)
        halo.reverse(out.numpy())
        return out[: halo.n].clone()

    @staticmethod
    def backward(ctx, gradient):
        return _Spread.apply(gradient, ctx.halo, ctx.n_all), None


def spread(owned, halo):
    """Values (n, ...) of owned atoms → (n_all, ...) of all that this rank sees."""
    return _Spread.apply(owned, halo, halo.n + len(halo.shift))


def collect(seen, halo):
    """Contributions (n_all, ...) → (n, ...): those to ghosts are added to their owners, wherever they are."""
    return _Collect.apply(seen, halo)
