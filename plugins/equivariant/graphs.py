"""Neighbor graphs of frames, and frames joined into padded batches.

A graph keeps, for every atom, its neighbours inside the model's cutoff; edge vectors are r_j − r_i with the image
included. A batch pads them to (atoms, neighbours): missing neighbours point to a row after the last atom and sit at
twice the cutoff, where a model is exactly zero; missing atoms belong to a system after the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.cell import complete
from engine.domain.domain import Domain
from engine.state import State


@dataclass
class Graph:
    """centre, neighbour (m,) int; vectors (m, 3) Å; species (n,) int; sorted by centre."""

    centre: np.ndarray
    neighbour: np.ndarray
    vectors: np.ndarray
    species: np.ndarray
    volume: float = 0.0

    @property
    def widest(self):
        return int(np.bincount(self.centre, minlength=1).max())


def build(positions, cell, pbc, species, cutoff) -> Graph:
    """The graph of one frame; `cell` (3, 3) rows are vectors, `pbc` three booleans."""
    pbc, cell = np.asarray(pbc, bool), np.array(cell, float)
    state = State(len(positions), cell[None], pbc, ["X"])
    missing = ~pbc & (np.linalg.norm(cell, axis=1) < 1e-8)
    state.open_vectors = missing
    if missing.any():
        state.cells[0], state.origin[0] = complete(np.where(missing[:, None], 0, cell), pbc, positions)
    state.positions[:], state.tags[:] = positions, np.arange(len(positions))
    domain = Domain(state, cutoff, skin=0.0, sort=False)
    domain.refresh()
    edges = domain.neighbors.edges(cutoff)
    owner = np.concatenate([np.arange(state.n), domain.halo.owner])
    volume = float(abs(np.linalg.det(cell))) if pbc.all() else 0.0
    return Graph(edges.centre.astype(int), owner[edges.neighbor].astype(int), edges.vectors, np.asarray(species), volume)


@dataclass
class Batch:
    """vectors (A, N, 3); neighbours (A, N) rows, A for none; species (A,), around (A, N); system (A,), S for none."""

    vectors: torch.Tensor
    neighbours: torch.Tensor
    species: torch.Tensor
    around: torch.Tensor
    system: torch.Tensor
    volume: torch.Tensor
    counts: torch.Tensor

    def tensors(self):
        return (self.vectors, self.neighbours, self.species, self.around, self.system, self.volume, self.counts)


def _rounded(n, step):
    return -(-n // step) * step


def join(graphs: list[Graph], cutoff: float, dtype=torch.float32, atoms=None, neighbours=None) -> Batch:
    """Pad graphs into one batch of at least `atoms` × `neighbours` (for steps compiled for one shape)."""
    total = sum(len(g.species) for g in graphs)
    width = _rounded(max([neighbours or 1, *(g.widest for g in graphs)]), 4)
    rows = max(total, atoms or 0)
    vectors = np.zeros((rows, width, 3))
    vectors[..., 0] = 2 * cutoff
    index = np.full((rows, width), rows)
    species, around = np.zeros(rows, int), np.zeros((rows, width), int)
    system = np.full(rows, len(graphs))
    start = 0
    for s, g in enumerate(graphs):
        n = len(g.species)
        first = np.searchsorted(g.centre, np.arange(n))
        slot = np.arange(len(g.centre)) - first[g.centre] if len(g.centre) else np.zeros(0, int)
        vectors[start + g.centre, slot] = g.vectors
        index[start + g.centre, slot] = start + g.neighbour
        around[start + g.centre, slot] = g.species[g.neighbour]
        species[start:start + n], system[start:start + n] = g.species, s
        start += n
    t = torch.tensor
    return Batch(t(vectors, dtype=dtype), t(index), t(species), t(around), t(system),
                 t([g.volume for g in graphs], dtype=torch.float64),
                 t([len(g.species) for g in graphs], dtype=torch.float64))
