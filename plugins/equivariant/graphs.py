"""Neighbor graphs of frames, and frames joined into padded batches.

A graph keeps, for every atom, its neighbours inside the model's cutoff; edge vectors are r_j − r_i with the image
included. A batch pads them to (atoms, neighbours): missing neighbours point to a row after the last atom and sit at
twice the cutoff, where a model is exactly zero; missing atoms belong to a system after the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """Pad graphs, or none, into one batch of at least `atoms` × `neighbours` (for steps compiled for one shape)."""
    together = lambda arrays, *shape: np.concatenate([np.empty((0, *shape), int), *arrays])
    sizes = np.array([len(g.species) for g in graphs], int)
    start, total = np.cumsum(sizes) - sizes, sizes.sum()
    rows = max(total, atoms or 0)
    species, system = np.zeros(rows + 1, int), np.full(rows, len(graphs))
    species[:total] = together(g.species for g in graphs)
    system[:total] = np.repeat(np.arange(len(graphs)), sizes)
    ends = (together(getattr(g, end) + k for g, k in zip(graphs, start)) for end in ("centre", "neighbour"))
    vectors, index = pad(*ends, together((g.vectors for g in graphs), 3), cutoff, rows, rows, neighbours or 1)
    t = torch.tensor
    return Batch(t(vectors, dtype=dtype), t(index), t(species[:rows]), t(species[index]), t(system),
                 t([g.volume for g in graphs], dtype=torch.float64), t(sizes, dtype=torch.float64))


def with_room(batch: Batch, systems: int) -> Batch:
    """The batch with room for `systems`; what is missing, and a system without a volume, has a volume and one atom, of 1."""
    present = len(batch.volume)
    fill = lambda x: torch.nn.functional.pad(torch.where(x > 0, x, 1.0), (0, systems - present), value=1.0)
    system = torch.where(batch.system == present, systems, batch.system)
    return replace(batch, system=system, volume=fill(batch.volume), counts=fill(batch.counts))


def _slots(counts, least):
    """Where (m,) the edges of rows with so many stand in each row, and how long rows are: a multiple of 4, at `least`."""
    slot = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return slot, _rounded(max(int(counts.max(initial=0)), least), 4)


def pad(centre, neighbour, vectors, cutoff, n, missing, least=1):
    """(n, N, 3) vectors and (n, N) rows, `missing` for none, of edges (m,) sorted by centre; N: a multiple of 4, at `least`."""
    slot, width = _slots(np.bincount(centre, minlength=n), least)
    out, rows = np.zeros((n, width, 3)), np.full((n, width), missing)
    out[..., 0] = 2 * cutoff
    out[centre, slot], rows[centre, slot] = vectors, neighbour
    return out, rows


def padded(offsets, indices, missing):
    """(n, N) rows, `missing` for none, of a list in which those of i are indices[offsets[i]:offsets[i + 1]]."""
    counts = np.diff(offsets)
    slot, width = _slots(counts, 1)
    rows = np.full((len(counts), width), missing)
    rows[np.repeat(np.arange(len(counts)), counts), slot] = indices
    return rows


def inside(positions, rows, cutoff):
    """What is inside the cutoff now of a list with a skin: (n, N, 3) vectors and (n, N) rows, as `pad` makes them of edges.

    positions (n_all, 3); rows (n, M) with n_all for none, both on one device
    """
    n, missing = len(rows), len(positions)
    vectors = torch.nn.functional.pad(positions, (0, 0, 0, 1), value=torch.inf)[rows] - positions[:n, None]
    near = vectors.square().sum(-1) < cutoff**2
    width = _rounded(max(int(near.sum(1).max()) if n else 0, 1), 4)
    front = torch.argsort((~near).to(torch.uint8), dim=1, stable=True)[:, :width]
    near, rows = near.gather(1, front), rows.gather(1, front)
    vectors = torch.where(near.unsqueeze(-1), vectors.gather(1, front.unsqueeze(-1).expand(-1, -1, 3)), 0.0)
    vectors[..., 0].masked_fill_(~near, 2 * cutoff)
    return vectors, torch.where(near, rows, missing)
