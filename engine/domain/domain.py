"""A domain: the atoms that this process owns, the ghosts around them, and the lists; rebuilt when atoms have moved."""

import math

import numpy as np
from numba import njit

from engine import cell as cells_
from engine.domain.balance import Balance
from engine.domain.bricks import Bricks
from engine.domain.ghosts import ghosts_for, peers
from engine.domain.halo import Halo, connect
from engine.domain.migration import migrate
from engine.domain.skin import SkinTuner
from engine.errors import PhysicsError
from engine.kernels.team import team_for
from engine.neighbors import Neighbors
from engine.neighbors.bins import bin_atoms

START = 0.15  # of the cutoff: the skin that a tuner begins with
SORT_EVERY = 10  # rebuilds: atoms are soon neighbors in memory again
FARTHEST = 1e8  # Å; an atom further away has exploded, or come from a file that is wrong


@njit(cache=True, nogil=True)
def _largest_move(begin, end, x, reference, strain, origin, system, farthest):
    """In farthest[0] the largest squared distance of an owned atom from the affine image of its place at the last
    rebuild; NaN counts as infinitely far."""
    worst = 0.0
    for i in range(begin, end):
        m = strain[system[i]]
        o = origin[system[i]]
        u, v, w = reference[i, 0] - o[0], reference[i, 1] - o[1], reference[i, 2] - o[2]
        d2 = 0.0
        for d in range(3):
            move = x[i, d] - o[d] - (u * m[0, d] + v * m[1, d] + w * m[2, d])
            d2 += move * move
        if not d2 <= worst:
            worst = d2 if d2 == d2 else np.inf
    farthest[0] = worst


@njit(cache=True)
def _first_lost(x, farthest):
    """The first atom that is further away than anything can be, or not a number; −1: none."""
    for i in range(x.shape[0]):
        if not (abs(x[i, 0]) < farthest and abs(x[i, 1]) < farthest and abs(x[i, 2]) < farthest):
            return i
    return -1


@njit(cache=True, nogil=True)
def _wrap_into(begin, end, x, system, cells, inverse, origin, periodic, images, fractional):
    """Bring atoms into their cells along periodic directions and count what that takes in `images`; where they then are, in
    fractions of the cells, if there is room for it."""
    keep = fractional.shape[0] > 0
    for i in range(begin, end):
        s = system[i]
        u, v, w = x[i, 0] - origin[s, 0], x[i, 1] - origin[s, 1], x[i, 2] - origin[s, 2]
        for d in range(3):
            f = u * inverse[s, 0, d] + v * inverse[s, 1, d] + w * inverse[s, 2, d]
            if keep:
                fractional[i, d] = f
            if periodic[d] and not 0.0 <= f < 1.0:
                move = np.floor(f)
                if keep:
                    fractional[i, d] = f - move
                images[i, d] += np.int32(move)
                for e in range(3):
                    x[i, e] -= move * cells[s, d, e]


class Domain:
    """Owns the halo and the lists of one brick; under MPI also says which brick that is.

    cutoff : Å, the largest of all potentials;  skin : Å beyond it, half of which an atom may move before a rebuild, or
        "auto": chosen while running (``engine.domain.skin``)
    balance : what work is counted by when bricks are placed, "counted" (repeatable) or "clock"
    half : only half lists are made, so that of two atoms which see each other across a boundary only one needs a ghost: half
        as many ghosts and bytes
    """

    def __init__(self, state, cutoff, skin=1.0, sort=True, balance="counted", half=False):
        self.state, self.cutoff, self.sort, self.half = state, float(cutoff), sort, half
        self.tuner = SkinTuner() if skin == "auto" else None
        self.skin = float(START * self.cutoff if self.tuner else skin)
        self.built_at = 0  # step of the last rebuild
        self.farthest = 0.0  # Å that an atom of this rank had moved since then when last looked at
        self.balance = Balance(balance) if state.comm.size > 1 else None
        self.rebuilds = 0
        self.neighbors: Neighbors | None = None
        self.halo: Halo | None = None
        self._reference = None  # (n_all, 3) positions at the last rebuild, a view of
        self._room = np.empty((0, 3))
        self._cells = None
        self._met = None  # bricks, margin and the peers that follow from them
        self._seen = 0  # how many ghosts of our atoms there were at the last rebuild, here and elsewhere
        self.moved = None  # Å², how far an operator that has looked found atoms from `start`; good for the next refresh only

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
        state, moved, self.moved = self.state, self.moved, None
        if self.neighbors is None or len(self._reference) != state.n_all:
            return True
        strain, allowed = None, 0.5 * self.skin
        if not self._same_cells():
            strain = np.linalg.solve(self._cells, state.cells)
            allowed -= 0.5 * np.abs(strain - np.eye(3)).sum((1, 2)).max() * (self.cutoff + self.skin)
        if allowed <= 0:
            return True
        if moved is None:
            strain = np.ascontiguousarray(np.broadcast_to(np.eye(3), state.cells.shape) if strain is None else strain)
            team = team_for(state.n, light=True)
            found = np.zeros((team.size, 1))
            team(_largest_move, team.cuts(state.n), state.positions, self._reference, strain, state.origin, state.system,
                 private=(found,))
            moved = found.max()
        self.farthest = math.sqrt(moved)
        return not moved <= allowed * allowed

    def start(self):
        """Places at the last rebuild, (n_all, 3), if the cell is still what it was then, else None: whoever moves atoms may
        measure how far they are from there as it does so, and leave the largest square in `moved`."""
        return self._reference if self.neighbors is not None and self._same_cells() else None

    def _same_cells(self):
        return self._cells.tobytes() == self.state.cells.tobytes()

    def invalidate(self):
        """Force a rebuild at the next refresh (atoms were inserted, or moved at will)."""
        self.neighbors = None

    # -- rebuilding -------------------------------------------------------------------------------------------------
    def rebuild(self):
        """Wrap, migrate, sort, find ghosts, forget the lists. Collective."""
        state = self.state
        bad = _first_lost(state.positions[: state.n], FARTHEST)
        if bad >= 0:
            place = f"{state.positions[bad].tolist()} Å" if np.isfinite(state.positions[bad]).all() else "not a number"
            raise PhysicsError(
                f"step {state.step}: the position of atom {int(state.tags[bad])} ({state.species_names[state.species[bad]]}) "
                f"is {place}; the usual causes are a time step too long, overlapping atoms or a potential outside its range"
            )
        if self.tuner is not None:  # while the old ghosts are there to be counted
            self.tuner.measure(state.comm.max(self.farthest), state.step - self.built_at)
            self.skin = self.tuner.choose(self)
        work = self.balance.work(self) if self.balance else None
        self._span_open_directions()
        fractional = self._wrap()
        if self.balance:
            with state.comm.communicating():
                self.balance.place(self, fractional, work)
                migrate(state, *self.balance.bricks.leaving(fractional, state.system[: state.n], state.comm.rank))
        del fractional  # before others are found: an atom's room is counted by its largest
        if self.sort and self.rebuilds % SORT_EVERY == 0:
            self._sort()
        self._connect()
        self.rebuilds += 1
        self.built_at, self.farthest = state.step, 0.0

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
        """Bring owned atoms into their cells along periodic directions, counting the images; their fractional places (n, 3),
        which only ranks need."""
        state, fractional = self.state, np.empty((self.state.n if self.balance else 0, 3))
        inverse, team = cells_.inverse(state.cells), team_for(state.n, light=True)
        team(_wrap_into, team.cuts(state.n), state.positions, state.system, state.cells, inverse, state.origin, state.periodic,
             state.images, fractional)
        return fractional

    def _sort(self):
        """Order owned atoms by place, so that neighbors in space are neighbors in memory."""
        state = self.state
        x = state.positions[: state.n]
        size = max(self.cutoff + self.skin, 2.0) / 2
        state.permute(bin_atoms(x, state.system[: state.n], state.n_systems, size).order)

    def _connect(self):
        """Find ghosts, fill them, and start new lists; the old ones go first."""
        self.neighbors = None
        state, n, comm = self.state, self.state.n, self.state.comm
        inverse = cells_.inverse(state.cells)
        margin = (self.cutoff + self.skin) * np.sqrt((inverse * inverse).sum(1))
        bricks = self.balance.bricks if self.balance else Bricks.whole(state.periodic, state.n_systems)
        with comm.communicating():
            others = self._peers(bricks, margin) if self.balance else ()
            seen = ghosts_for(state.positions, state.system[:n], inverse, state.origin, bricks, [comm.rank, *others], margin,
                              state.periodic, self.half, max(1024, int(self._seen * 1.1)))
            self.halo = connect(n, *seen, others, comm) if self.balance else Halo(n, *seen[:2])
            self._seen = len(seen[0])
        self.halo.half = self.half
        state.resize_ghosts(len(self.halo.shift))
        self.halo.forward_columns([getattr(state, name) for name, attribute in state.table.items()
                                   if attribute.ghosts and name != "positions"])
        self.halo.forward_positions(state)
        if self._room.shape[0] < state.n_all:  # not made anew each time: the old one would still be there
            self._reference = self._room = None
            self._room = np.empty((state.n_all + state.n_all // 16, 3))
        self._reference = self._room[: state.n_all]
        self._reference[:] = state.positions
        self._cells = state.cells.copy()
        self.neighbors = Neighbors(state, self.halo, self._reference, self.skin)

    def _peers(self, bricks, margin):
        """Ranks to exchange with, looked for anew when bricks or margins are others."""
        if self._met is None or self._met[0] is not bricks or self._met[1].tobytes() != margin.tobytes():
            self._met = bricks, margin, peers(bricks, self.state.comm.rank, margin, self.state.periodic).tolist()
        return self._met[2]

    # -- persistence ------------------------------------------------------------------------------------------------
    def state_dict(self):
        tree = {"built": self.neighbors is not None, "skin": self.skin, "rebuilds": self.rebuilds,
                "built_at": self.built_at}
        if self.tuner is not None:
            tree["tuner"] = self.tuner.state_dict()
        if not tree["built"]:
            return tree
        tree |= {"reference": self._reference[: self.state.n], "cells": self._cells}
        return {**tree, "balance": self.balance.state_dict()} if self.balance else tree

    def load_state_dict(self, tree):
        """Rebuild the lists from the positions of the last rebuild, then go on from the present ones."""
        state = self.state
        self.skin, self.rebuilds, self.built_at = float(tree["skin"]), int(tree["rebuilds"]), int(tree["built_at"])
        if self.tuner is not None and "tuner" in tree:
            self.tuner.load_state_dict(tree["tuner"])
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
