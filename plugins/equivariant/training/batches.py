"""Which frames go together, in which order, and their labels beside the padded graphs.

The order of frames depends on the seed and the epoch alone, not on the number of processes: each process takes every
size-th frame of a batch, and weights are divided by the counts of the whole batch, so that gradients add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt

from engine.errors import InputError
from plugins.equivariant.data import shards
from plugins.equivariant.data.store import GraphStore
from plugins.equivariant.graphs import join, with_room


@dataclass
class Loss:
    """Weights of mean squared errors: energy (eV/atom), forces (eV/Å component), stress (eV/Å³ component).

    A frame's own weights multiply its squared errors; means are over all labels of a batch, whatever their weights.
    """

    energy: NonNegativeFloat = 1.0
    forces: NonNegativeFloat = 1.0
    stress: NonNegativeFloat = 0.0


@dataclass
class BatchSize:
    """frames : in a batch, over all processes; atoms, edges (pairs of neighbours, counted from both) : at most so many in it,
    unless one frame alone has more"""

    frames: PositiveInt = 2
    atoms: PositiveInt | None = None
    edges: PositiveInt | None = None


@dataclass
class Shape:
    """One shape for all batches of a process, so that a step is compiled once."""

    frames: int
    atoms: int
    neighbors: int
    edges: int


def order(rows, limits, frames: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch: `frames` at most in each, and of each of `limits`, pairs (size of every row, most in a
    batch or None), no more than allowed, unless one frame alone has more."""
    shuffled = np.random.Generator(np.random.Philox([seed, epoch])).permutation(rows)
    limits = [(sizes, most) for sizes, most in limits if most]
    out, current = [], []
    for row in shuffled:
        full = any(sum(sizes[r] for r in current) + sizes[row] > most for sizes, most in limits)
        if current and (len(current) == frames or full):
            out.append(current)
            current = []
        current.append(int(row))
    return out + [current] if current else out


def shape_for(store: GraphStore, sizes, rows, how: BatchSize, ranks) -> Shape:
    """Holds any batch that `order` may make of `rows`, or this process's part of it."""
    per_rank = -(-how.frames // ranks)

    def most(sizes, limit):
        largest = sorted((sizes[r] for r in rows), reverse=True)
        return int(max(min(sum(largest[:per_rank]), limit or np.inf), largest[0]))

    widest = int(max(store.widest[r] for r in rows))
    return Shape(per_rank, most(sizes, how.atoms), widest, most(np.diff(store.offsets), how.edges))


class Labels:
    """Joins graphs and labels of frames into the arguments of a step; only those of a batch are looked at.

    frames : a list, or ``data.shards.Shards``; sizes (frames,) numbers of atoms; has : {label: (frames,) is it there?};
    base (frames,) eV, the energy that shifts explain
    lattice : of a model with latent charges, a ``lattice_sum.Lattice``: its three tensors are the conditions
    """

    #: what one system, or one atom, has of each label, and how many numbers of it count
    SHAPES: ClassVar = {"energy": (), "forces": (3,), "stress": (3, 3)}
    OF_ATOMS: ClassVar = frozenset({"forces"})
    device = torch.device("cpu")

    def __init__(self, frames, store: GraphStore, shifts, loss: Loss, cutoff, dtype, lattice=None):
        self.lattice = lattice
        self.frames, self.store, self.loss, self.cutoff, self.dtype = frames, store, loss, cutoff, dtype
        self.base = store.counts @ np.asarray(shifts, float)
        self.sizes = shards.sizes(frames)
        self.has = {label: shards.having(frames, label) for label in self.SHAPES}

    def limits(self, how: BatchSize):
        """For ``order``: sizes of all frames and the most in a batch."""
        return [(self.sizes, how.atoms), (np.diff(self.store.offsets), how.edges)]

    def digest(self):
        """Hash of what is learned from."""
        return shards.digest(self.frames, tuple(self.SHAPES))

    def lacking(self, rows: dict[str, np.ndarray]) -> list[str]:
        """What the loss asks for and the frames of a part do not have, in lines; refused where that leaves nothing to learn
        from, or to judge by."""
        wanted, lines = [name for name, weight in vars(self.loss).items() if weight], []
        for part in ("train", "validation"):
            missing = [name for name in wanted if len(rows[part]) and not self.has[name][rows[part]].any()]
            if missing == wanted:
                raise InputError(f"train: the loss asks for {' and '.join(wanted) or 'nothing'}, and no frame of the {part} part "
                                 "has it; see loss, the parts of the data and the names of labels")
            lines += [f"no frame of the {part} part has {name}: loss.{name} does nothing there" for name in missing]
        return lines

    def batch(self, rows: list[int], shape: Shape, rank=0, size=1):
        """Tensors of this process's part of the batch `rows`, on `device`."""
        mine = rows[rank::size]
        found = [self.frames[r] for r in mine]
        graphs = [self.store.graph(r, f) for r, f in zip(mine, found)]
        batch = with_room(join(graphs, self.cutoff, self.dtype, shape.atoms, shape.neighbors), shape.frames)
        *graph, atoms = batch.tensors()
        more = self.conditions(found, len(batch.species), shape.frames)
        targets = self.targets(rows, mine, found, len(batch.species), shape.frames)
        return tuple(x.to(self.device) for x in (*graph, *more, atoms, *targets))

    def conditions(self, found, atoms, systems):
        """Tensors of what a model is told of the frames beside their graphs."""
        return self.lattice.tensors(found, atoms, systems, self.dtype) if self.lattice is not None else ()

    def target(self, name, row, frame):
        """The label that a model without shifts learns."""
        label = getattr(frame, name)
        return label - self.base[row] if name == "energy" and label is not None else label

    def factor(self, name):
        """Weight of the mean squared error of a label."""
        return getattr(self.loss, name)

    def count(self, name, rows):
        """How many numbers of a label the frames `rows` have."""
        return int((self.has[name] * (self.sizes if name in self.OF_ATOMS else 1))[rows].sum() * np.prod(self.SHAPES[name]))

    def targets(self, rows, mine, found, atoms, systems):
        """Of each label, its values in padded rows and their weights, zero where there is none. Energies are in float64."""
        out, n = [], [len(f.symbols) for f in found]
        ends = np.cumsum(n)
        for name, shape in self.SHAPES.items():
            each = name in self.OF_ATOMS
            values, weights = np.zeros((atoms if each else systems, *shape)), np.zeros(atoms if each else systems)
            weight = self.factor(name) / max(self.count(name, rows), 1)
            for k, (row, f) in enumerate(zip(mine, found)):
                if (label := self.target(name, row, f)) is not None:
                    at = slice(ends[k] - n[k], ends[k]) if each else k
                    values[at], weights[at] = label, f.weights.get(name, 1.0) * weight
            dtype = torch.float64 if name == "energy" else self.dtype
            out += [torch.tensor(values, dtype=dtype), torch.tensor(weights, dtype=dtype)]
        return out
