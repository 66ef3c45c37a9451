"""Exchange of per-atom torch tensors between ranks (and with periodic images), differentiable any number of times.

`spread` gives every atom that this rank sees its owner's value; `collect` adds what was found for ghosts to their owners. Both
are linear and each other's transpose, so the derivative of one is the other, to any order:

    spread: (n, ...) → (n_all, ...)        collect: (n_all, ...) → (n, ...)

A message-passing model spreads its node features before each layer after the first. Both calls are collective in the
forward and in the backward pass: all ranks must build the same graph, also those without atoms.

Tensors may be on any device. What is on a GPU stays there: images of a rank's own atoms are copied where they are, and only what
goes to other ranks, or comes from them, passes through the host.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch

_indices: WeakKeyDictionary = WeakKeyDictionary()  # halo -> {device: see `_on_device`}


def shares_memory(tensor):
    """Is this where the halo itself can read and write?"""
    return tensor.device.type == "cpu"


def _on_device(halo, device):
    """(owners of own images, atoms that other ranks see, each once), on `device`; made once for a plan."""
    found = _indices.setdefault(halo, {})
    if device not in found:
        found[device] = tuple(torch.from_numpy(np.asarray(x, np.int64)).to(device) for x in (halo.owner, np.unique(halo.rows)))
    return found[device]


def _array(halo, tensor):
    """An array on the host for all rows, not filled, for what ranks exchange."""
    return torch.empty((halo.n + len(halo.shift), *tensor.shape[1:]), dtype=tensor.dtype)


def _filled(owned, halo):
    if shares_memory(owned):
        out = _array(halo, owned)
        out[: halo.n] = owned
        halo.forward(out.numpy())
        return out
    owner, sent = _on_device(halo, owned.device)
    parts = [owned, owned[owner]]
    if halo.table is not None:  # there are other ranks, whose rounds a rank without neighbors counts too
        array = _array(halo, owned)
        array[sent.cpu()] = owned[sent].cpu()
        halo.forward(array.numpy())
        parts.append(array[halo.n + len(owner):].to(owned.device))
    return torch.cat(parts)


def _added(seen, halo):
    if shares_memory(seen):
        out = seen.clone(memory_format=torch.contiguous_format)
        halo.reverse(out.numpy())
        return out[: halo.n].clone()
    owner, sent = _on_device(halo, seen.device)
    end = halo.n + len(owner)
    out = seen[: halo.n].index_add(0, owner, seen[halo.n : end])
    if halo.table is not None:
        array = _array(halo, seen)
        array[:end], array[end:] = 0, seen[end:].cpu()
        halo.reverse(array.numpy())
        out = out.index_add(0, sent, array[sent.cpu()].to(seen.device))
    return out


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, owned, halo):
        ctx.halo = halo
        return _filled(owned.detach(), halo)

    @staticmethod
    def backward(ctx, gradient):
        return _Collect.apply(gradient, ctx.halo), None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx, seen, halo):
        ctx.halo = halo
        return _added(seen.detach(), halo)

    @staticmethod
    def backward(ctx, gradient):
        return _Spread.apply(gradient, ctx.halo), None


def spread(owned, halo):
    """Values (n, ...) of owned atoms → (n_all, ...) of all that this rank sees."""
    return _Spread.apply(owned, halo)


def collect(seen, halo):
    """Contributions (n_all, ...) → (n, ...): those to ghosts are added to their owners, wherever they are."""
    return _Collect.apply(seen, halo)
