"""When bricks are placed anew, and by what work.

Work is counted: each atom as much as the atoms around it, which is what pairs cost. With ``"clock"`` each rank's counts are
scaled by the time that its kernels took, so that what counts do not know (other programs on a core, expensive species) is
balanced too; repeated runs then differ by rounding.
"""

import time

import numpy as np

from engine import cell as cells_
from engine.domain.bricks import Bricks, divide
from engine.neighbors.bins import bin_atoms

EVERY = 10  # rebuilds between two looks at the balance
TOLERATED = 1.015  # largest work of a rank over the mean
WORTHWHILE = 1.01  # and this much worse than right after the bricks were placed (a few atoms cannot be divided evenly)
BASE = 16  # work of an atom without neighbors, in units of one neighbor
CLOCK_UNITS = 1024  # resolution of a work that is scaled by time


class Balance:
    """Places bricks at the first rebuild and whenever the work has become uneven."""

    def __init__(self, by="counted"):
        self.by = by
        self.bricks: Bricks | None = None
        self.placed_at = 1.0  # imbalance right after the bricks were placed
        self.imbalance = 1.0  # when last looked at
        self.placements = 0
        self._mark = None

    def work(self, domain):
        """Counted work (n,) int64 of owned atoms at the last rebuild's order, or None when nobody looks. Collective."""
        state = domain.state
        if self.bricks is None:
            return np.ones(state.n, np.int64)
        if domain.rebuilds % EVERY != 1 or state.comm.any(domain.neighbors is None):
            return None
        radius = domain.cutoff + domain.skin
        bins = bin_atoms(state.positions, state.system, state.n_systems, max(radius, 2.0) / 2)
        volume = bins.width.prod(1)
        around = 4.0 / 3.0 * np.pi * radius**3 / volume
        crowd = np.diff(bins.start)[bins.bin_of[: state.n]]
        work = BASE + np.rint(crowd * around[state.system[: state.n]]).astype(np.int64)
        if self.by == "clock":
            work = self._scaled(work, state.comm)
        return work

    def _scaled(self, work, comm):
        now, waited = time.perf_counter(), comm.busy
        if self._mark is not None:
            busy = (now - self._mark[0]) - (waited - self._mark[1])
            mine = max(int(work.sum()), 1)
            rate, mean = busy / mine, comm.sum(busy) / max(comm.sum(mine), 1)
            work = np.maximum(np.rint(CLOCK_UNITS * work * rate / mean), 1).astype(np.int64)
        self._mark = now, waited
        return work

    def place(self, domain, fractional, work):
        """New bricks if there are none, or if `work` (n,) has become uneven. Collective."""
        state, comm = domain.state, domain.state.comm
        if work is None:
            return
        system = state.system[: state.n]
        if self.bricks is not None:
            load = int(work.sum())
            self.imbalance = comm.max(load) * comm.size / max(comm.sum(load), 1)
            if self.imbalance < max(TOLERATED, WORTHWHILE * self.placed_at):
                return
        heights = cells_.heights(state.cells).max(0)
        self.bricks = divide(fractional, system, work, state.n_systems, heights, state.periodic, comm)
        owner = self.bricks.owners(fractional, system)
        load = comm.sum(np.bincount(owner, weights=work, minlength=comm.size).astype(np.int64))
        self.imbalance = self.placed_at = float(load.max() / max(load.mean(), 1.0))
        self.placements += 1

    def state_dict(self):
        return {"bricks": self.bricks.state_dict(), "placed_at": self.placed_at, "imbalance": self.imbalance,
                "placements": self.placements}

    def load_state_dict(self, tree, state):
        self.bricks = Bricks.from_tree(**tree["bricks"], periodic=state.periodic, n_systems=state.n_systems)
        self.placed_at, self.imbalance = float(tree["placed_at"]), float(tree["imbalance"])
        self.placements = int(tree["placements"])
