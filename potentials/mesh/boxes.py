"""Moving three-dimensional arrays between ranks whose boxes differ: one plan, run forward or back.

A box is a half-open range of mesh points in each direction, [[low, high)] × 3. Source boxes may reach beyond the mesh, or
around it, and overlap: points that are the same modulo the mesh are added up on the way forward and all get their
value on the way back. Target boxes lie inside the mesh and tile it. Alone, a plan only copies.
"""

from itertools import product

import numpy as np


def _segments(source, target, points):
    """[(start in source, start in target, length)] along one direction where source + l·points overlaps the target."""
    (a, b), (c, d) = source, target
    out = []
    if a < b and c < d:
        for shift in range(-((b - 1 - c) // points), (d - 1 - a) // points + 1):
            low, high = max(a, c - shift * points), min(b, d - shift * points)
            if low < high:
                out.append((low - a, low + shift * points - c, high - low))
    return out


def _pieces(source, target, points):
    """[(slices of the source's array, slices of the target's)] that a source box and a target box share."""
    each = [_segments(source[d], target[d], points[d]) for d in range(3)]
    return [tuple(tuple(slice(part[end], part[end] + part[2]) for part in parts) for end in (0, 1))
            for parts in product(*each)]


def volume(box):
    return int(np.prod([max(0, high - low) for low, high in box]))


def shape(box):
    return tuple(max(0, high - low) for low, high in box)


class Redistribution:
    """From `sources[r]` to `targets[r]` on the ranks r of `comm`; all ranks know all boxes. points (3,): of the mesh."""

    def __init__(self, sources, targets, points, comm):
        self.comm, me = comm, comm.rank
        self.out = [_pieces(sources[me], target, points) for target in targets]
        self.into = [_pieces(source, targets[me], points) for source in sources]
        self.own = list(self.out[me])
        self.out[me], self.into[me] = [], []
        self.alone = comm.size == 1

    def forward(self, source, target):
        """target = 0, then + source, piece by piece in the order of ranks."""
        target[...] = 0.0
        for a, b in self.own:
            target[b] += source[a]
        if not self.alone:
            received = self._exchange(source, [[a for a, _ in pieces] for pieces in self.out],
                                      [[b for _, b in pieces] for pieces in self.into], target)
            for place, values in received:
                target[place] += values

    def back(self, target, source):
        """source = target wherever the two are the same point."""
        for a, b in self.own:
            source[a] = target[b]
        if not self.alone:
            received = self._exchange(target, [[b for _, b in pieces] for pieces in self.into],
                                      [[a for a, _ in pieces] for pieces in self.out], source)
            for place, values in received:
                source[place] = values

    def _exchange(self, array, going, coming, like):
        """Send the parts `going[r]` of an array to rank r; yields (place, values) of all that come."""
        extent = lambda place: tuple(s.stop - s.start for s in place)
        parts = [array[place].ravel() for places in going for place in places]
        send = np.concatenate(parts) if parts else np.empty(0, array.dtype)
        counts = [sum(int(np.prod(extent(p))) for p in places) for places in going]
        lengths = [sum(int(np.prod(extent(p))) for p in places) for places in coming]
        receive = np.empty(sum(lengths), like.dtype)
        self.comm.exchange(send, counts, receive, lengths)
        at = 0
        for places in coming:
            for place in places:
                size = int(np.prod(extent(place)))
                yield place, receive[at : at + size].reshape(extent(place))
                at += size
