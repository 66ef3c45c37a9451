"""Which frames go together, in which order, and their labels beside the padded graphs.

The order of frames depends on the seed and the epoch alone, not on the number of processes: each process takes every
size-th frame of a batch, and weights are divided by the counts of the whole batch, so that gradients add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt

from engine.errors import InputError
from plugins.equivariant.data import shards
from plugins.equivariant.data.store import GraphStore
from plugins.equivariant.graphs import join


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
    lattice : of a model with latent charges, a ``lattice_sum.Lattice``: its three tensors stand before the labels
    """

    def __init__(self, frames, store: GraphStore, shifts, loss: Loss, cutoff, dtype, lattice=None):
        self.lattice = lattice
        self.frames, self.store, self.loss, self.cutoff, self.dtype = frames, store, loss, cutoff, dtype
        self.base = store.counts @ np.asarray(shifts, float)
        self.sizes = shards.sizes(frames)
        self.has = {label: shards.having(frames, label) for label in shards.LABELS}

    def lacking(self, rows: dict[str, np.ndarray]) -> list[str]:
        """What the loss asks for and the frames of a part do not have, in lines; refused where that leaves nothing to learn
        from, or to judge by."""
        wanted, lines = [name for name, weight in vars(self.loss).items() if weight], []
        for part in ("train", "validation"):
            missing = [name for name in wanted if len(rows[part]) and not self.has[name][rows[part]].any()]
            if missing == wanted:
                raise InputError(f"train: the loss asks for {' and '.join(wanted) or 'nothing'}, and no frame of the {part} part "
                                 "has it; see loss, split and the names of labels in data")
            lines += [f"no frame of the {part} part has {name}: loss.{name} does nothing there" for name in missing]
        return lines

    def batch(self, rows: list[int], shape: Shape, rank=0, size=1):
        """Tensors of this process's part of the batch `rows`."""
        mine = rows[rank::size]
        found = [self.frames[r] for r in mine]
        counts = dict(energy=self.has["energy"][rows].sum(), forces=3 * (self.sizes * self.has["forces"])[rows].sum(),
                      stress=9 * self.has["stress"][rows].sum())
        graphs = [self.store.graph(r, f) for r, f in zip(mine, found)]
        batch = join(graphs, self.cutoff, self.dtype, shape.atoms, shape.neighbors)
        a, s = len(batch.species), shape.frames
        energy, forces, stress = np.zeros(s), np.zeros((a, 3)), np.zeros((s, 3, 3))
        weights = dict(energy=np.zeros(s), forces=np.zeros(a), stress=np.zeros(s))
        start = 0
        for k, (r, f) in enumerate(zip(mine, found)):
            n = len(f.symbols)
            weight = {name: f.weights.get(name, 1.0) * value / max(counts[name], 1) for name, value in vars(self.loss).items()}
            if f.energy is not None:
                energy[k], weights["energy"][k] = f.energy - self.base[r], weight["energy"]
            if f.forces is not None:
                forces[start:start + n], weights["forces"][start:start + n] = f.forces, weight["forces"]
            if f.stress is not None:
                stress[k], weights["stress"][k] = f.stress, weight["stress"]
            start += n
        system = torch.where(batch.system == len(mine), s, batch.system)
        volume, atoms = torch.ones(s, dtype=torch.float64), torch.ones(s, dtype=torch.float64)
        volume[:len(mine)] = torch.where(batch.volume > 0, batch.volume, torch.ones_like(batch.volume))
        atoms[:len(mine)] = batch.counts
        d = self.dtype
        t = torch.tensor
        far = self.lattice.tensors(found, a, s, d) if self.lattice is not None else ()
        return (batch.vectors, batch.neighbours, batch.species, batch.around, system, volume, *far, atoms,
                t(energy), t(weights["energy"]), t(forces, dtype=d), t(weights["forces"], dtype=d),
                t(stress, dtype=d), t(weights["stress"], dtype=d))
