"""Edges one after the other, without the slots that padding leaves empty: networks on edges then do no work for them.

Edges come padded to (atoms A, neighbours N), which sums over neighbours want; a liquid's atoms have three quarters as many
neighbours as the one that has most. A place among the edges and a slot of an atom are two names of one thing, so
moving there and moving back are each other's transpose, whatever is empty on either side being zero:

    packed (edges, ...) = P padded,   padded (A, N, ...) = Pᵀ packed
"""

from __future__ import annotations

from contextlib import contextmanager

import torch


class _Move(torch.autograd.Function):
    """x (rows, ...) -> x[there], with zeros where that points after the last row; `back` is the same for the transpose."""

    @staticmethod
    def forward(x, there, back):
        return torch.cat([x, x.new_zeros(1, *x.shape[1:])])[there]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, g):
        there, back = ctx.saved_tensors
        return _Move.apply(g, back, there), None, None


class Padded:
    """Edges as they come."""

    def __init__(self, centre, neighbour):
        self.centre, self.neighbour = centre.unsqueeze(1), neighbour

    def vectors(self, x):
        return x

    def pack(self, x):
        return x

    def spread(self, x):
        return x


class Packed:
    """Edges packed into `room` places, of which there must be enough; centre (A,), neighbour (A, N): species, and of both
    ends of an edge afterwards; neighbours (A, N) rows, A for none; away : a length at which models are zero."""

    def __init__(self, centre, neighbour, neighbours, room, away):
        self.shape, self.away = neighbours.shape, away
        absent = (neighbours >= self.shape[0]).reshape(-1)
        slots = absent.shape[0]
        slot = torch.argsort(absent.to(torch.uint8), stable=True)[:room]
        self.empty = absent[slot]
        self.slot = torch.where(self.empty, slots, slot)
        place = torch.cumsum((~absent).long(), 0) - 1
        self.place = torch.where(absent, room, place)
        self.centre = centre[torch.div(slot, self.shape[1], rounding_mode="floor")]
        self.neighbour = neighbour.reshape(-1)[slot]

    def vectors(self, x):
        """(A, N, 3) -> (room, 3), far away where no edge is left."""
        return self.pack(x) + self.away * self.empty.to(x.dtype).unsqueeze(-1)

    def pack(self, x):
        return _Move.apply(x.reshape(-1, *x.shape[2:]), self.slot, self.place)

    def spread(self, x):
        return _Move.apply(x, self.place, self.slot).view(*self.shape, *x.shape[1:])


def edges(centre, neighbour, neighbours, room, away):
    """How a model is to see its edges: packed if `room` says how many there are at most and that is less than all slots."""
    if room is None or neighbours is None or room >= neighbours.numel():
        return Padded(centre, neighbour)
    return Packed(centre, neighbour, neighbours, room, away)


@contextmanager
def room_for(model, count):
    """Inside, models pack their edges, of which there are `count` at most (None: they stay padded)."""
    parts = [part for part in model.modules() if hasattr(part, "room")]
    for part in parts:
        part.room = count
    try:
        yield
    finally:
        for part in parts:
            part.room = None
