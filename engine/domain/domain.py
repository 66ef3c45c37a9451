"""A domain: the atoms that this process owns, the ghosts around them, and the lists; rebuilt when atoms have moved."""

import numpy as np
from numba import njit

from engine import cell as cells_
from engine.domain.balance import Balance
from engine.domain.ghosts import ghosts_for, peers
from engine.domain.halo import Halo, connect
from engine.domain.migration import migrate
from engine.errors import PhysicsError
from engine.neighbors import Neighbors
from engine.neighbors.bins import bin_atoms

FARTHEST = 1e8  # Å; an atom further away has exploded, or come from a file that is wrong


@njit(cache=True)
def _largest_move(x, reference, strain, origin, system):
    """Largest squared distance of an owned atom from the affine image of its place at the last rebuild; NaN counts
    as infinitely far."""
    worst = 0.0
    for i in range(x.shape[0]):
        m = strain[system[i]]
        o = origin[system[i]]
        u, v, w = reference[i, 0] - o[0], reference[i, 1] - o[1], reference[i, 2] - o[2]
        d2 = 0.0
        for d in range(3):
            move = x[i, d] - o[d] - (u * m[0, d] + v * m[1, d] + w * m[2, d])
            d2 += move * move
        if not d2 <= worst:
            worst = d2 if d2 == d2 else np.inf
    return worst


class Domain:
    """Owns the halo and the lists of one brick; under MPI also says which brick that is.

    cutoff : Å, the largest of all potentials;  skin : Å beyond it, half of which an atom may move before a rebuild
    balance : what work is counted by when bricks are placed, "counted" (repeatable) or "clock"
    """

    def __init__(self, state, cutoff, skin=1.0, sort=True, balance="counted"):
        self.state, self.cutoff, self.skin, self.sort = state, float(cutoff), float(skin), sort
        self.balance = Balance(balance) if state.comm.size > 1 else None
        self.rebuilds = 0
        self.neighbors: Neighbors | None = None
        self.halo: Halo | None = None
        self._reference = None  # (n_all, 3) positions at the last rebuild
        self._cells = None

    # -- the one call that a force evaluation makes ---------------------------------------------------------------
    def refresh(self):
        """Make ghosts and lists valid for the present positions; True if that took a rebuild. Collective."""
        if self.state.comm.any(self.outdated()):
            self.rebuild()
            return True
        self.halo.forward_positions(self.state)
        return False

    def outdated(self):
        """Has any atom of this rank moved so far that the lists may miss a pair?"""
        state = self.state
        if self.neighbors is None or len(self._reference) != state.n_all:
            return True
        strain = np.linalg.solve(self._cells, state.cells)
        shrink = np.abs(strain - np.eye(3)).sum((1, 2)).max()
        allowed = 0.5 * (self.skin - shrink * (self.cutoff + self.skin))
        if allowed <= 0:
            return True
        moved = _largest_move(state.positions[: state.n], self._reference, strain, state.origin, state.system)
        return not moved <= allowed * allowed

    def invalidate(self):
        """Force a rebuild at the next refresh (atoms were inserted, or moved at will)."""
        self.neighbors = None

    # -- rebuilding -------------------------------------------------------------------------------------------------
    def rebuild(self):
        """Wrap, migrate, sort, find ghosts, forget the lists. Collective."""
        state = self.state
        sane = (np.abs(state.positions[: state.n]) < FARTHEST).all(1)
        if not sane.all():
            bad = int(np.argmin(sane))
            place = f"{state.positions[bad].tolist()} Å" if np.isfinite(state.positions[bad]).all() else "not a number"
            raise PhysicsError(
                f"step {state.step}: the position of atom {int(state.tags[bad])} ({state.species_names[state.species[bad]]}) "
                f"is {place}; the usual causes are a time step too long, overlapping atoms or a potential outside its range"
            )
        work = self.balance.work(self) if self.balance else None
        self._span_open_directions()
        self._wrap()
        if self.balance:
            fractional = state.fractional()
            self.balance.place(self, fractional, work)
            migrate(state, self.balance.bricks.owners(fractional, state.system[: state.n]))
        if self.sort:
            self._sort()
        self._connect()
        self.rebuilds += 1

    def _span_open_directions(self):
        state = self.state
        if not state.open_vectors.any():
            return
        for s in range(state.n_systems):
            mine = state.positions[: state.n][state.system[: state.n] == s]
            cell = np.where(state.open_vectors[:, None], 0.0, state.cells[s])
            if state.comm.size > 1:  # the extreme atoms of every rank stand for all
                mine = np.concatenate(state.comm.gather(_extreme(mine, cell, state.periodic)))
            state.cells[s], state.origin[s] = cells_.complete(cell, state.periodic, mine)

    def _wrap(self):
        """Bring owned atoms into their cells along periodic directions, remembering the images."""
        state = self.state
        moves = np.floor(state.fractional()).astype(np.int32)
        moves[:, ~state.periodic] = 0
        moved = np.flatnonzero(moves.any(1))
        if len(moved):
            shift = np.einsum("ni,nij->nj", moves[moved], state.cells[state.system[moved]])
            state.positions[moved] -= shift
            state.images[moved] += moves[moved]

    def _sort(self):
        """Order owned atoms by place, so that neighbors in space are neighbors in memory."""
        state = self.state
        x = state.positions[: state.n]
        size = max(self.cutoff + self.skin, 2.0) / 2
        state.permute(bin_atoms(x, state.system[: state.n], state.n_systems, size).order)

    def _connect(self):
        """Find ghosts, fill them, and start new lists."""
        state, n, comm = self.state, self.state.n, self.state.comm
        margin = (self.cutoff + self.skin) / cells_.heights(state.cells)
        fractional, system = state.fractional(), state.system[:n]
        guess = max(1024, int(state.n_ghost * 1.1))
        if comm.size == 1:
            low, high = np.where(state.periodic, 0.0, -np.inf), np.where(state.periodic, 1.0, np.inf)
            self.halo = Halo(n, *ghosts_for(
                fractional, system, low, high, 0, state.n_systems, margin, state.periodic, True, guess))
        else:
            bricks = self.balance.bricks

            def seen(rank):
                return ghosts_for(fractional, system, bricks.low[rank], bricks.high[rank], bricks.first[rank],
                                  bricks.last[rank], margin, state.periodic, rank == comm.rank, guess)

            self.halo = connect(
                n, seen(comm.rank), {int(r): seen(r) for r in peers(bricks, comm.rank, margin, state.periodic)}, comm)
        state.resize_ghosts(len(self.halo.shift))
        for name, attribute in state.table.items():
            if attribute.ghosts and name != "positions":
                self.halo.forward(getattr(state, name))
        self.halo.forward_positions(state)
        self._reference = state.positions.copy()
        self._cells = state.cells.copy()
        self.neighbors = Neighbors(state, self.halo, self._reference, self.skin)

    # -- persistence ------------------------------------------------------------------------------------------------
    def state_dict(self):
        tree = {"built": self.neighbors is not None, "skin": self.skin, "rebuilds": self.rebuilds}
        if not tree["built"]:
            return tree
        tree |= {"reference": self._reference[: self.state.n], "cells": self._cells}
        return {**tree, "balance": self.balance.state_dict()} if self.balance else tree

    def load_state_dict(self, tree):
        """Rebuild the lists from the positions of the last rebuild, then go on from the present ones."""
        state = self.state
        self.skin, self.rebuilds = float(tree["skin"]), int(tree["rebuilds"])
        if not tree["built"]:
            return
        if self.balance:
            self.balance.load_state_dict(tree["balance"], state)
        positions, cells = state.positions[: state.n].copy(), state.cells.copy()
        state.set("positions", tree["reference"])
        state.cells = np.array(tree["cells"])
        self._connect()
        state.cells = cells
        state.set("positions", positions)
        self.halo.forward_positions(state)


def _extreme(x, cell, periodic):
    """Of atoms x (n, 3) those that are outermost along the open directions of a cell completed with unit vectors."""
    if not len(x):
        return x
    full = cells_.complete(cell, periodic, np.zeros((1, 3)))[0]
    f = x @ np.linalg.inv(full)
    return x[np.unique(np.concatenate([f.argmin(0), f.argmax(0)]))]
