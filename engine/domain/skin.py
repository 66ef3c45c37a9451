"""The skin chosen while running: wide lists are searched in every step, narrow ones are made anew more often.

Work is counted in pairs, never timed, so that a repeated run takes the same decisions. With n atoms of number density ρ
and g ghosts on a rank, a list of pairs out to R = cutoff + s costs

    step      PAIR · n ρ (2π/3) R³  +  ATOM · (n + g)
    rebuild   REBUILD_PAIR · n ρ (2π/3) R³  +  REBUILD_ATOM · (n + g)      once in s / 2d steps

where d is how far the fastest atom got per step since the last rebuild. The skin goes towards the minimum of the sum at every
tenth rebuild. Lists of any skin hold all pairs inside the cutoff, so that only the order of sums, their rounding, depends on it.
"""
import numpy as np

from engine import cell as cells_
from engine.contracts import Stateful

EVERY = 10          # rebuilds between decisions
PAIR, ATOM, REBUILD_PAIR, REBUILD_ATOM = 0.3, 10.0, 1.5, 60.0     # in units of a pair inside the cutoff
WORTHWHILE = 0.02   # of the work, below which the skin stays
TRIED = np.geomspace(0.01, 1.0, 48)     # of the cutoff


class SkinTuner(Stateful):
    """Chooses the skin of a ``Domain``; asked at every rebuild."""

    def __init__(self):
        self.pace = 0.0     # Å a step, of the fastest atom
        self.seen = 0       # rebuilds that it was measured at

    def measure(self, moved, steps):
        """At a rebuild: how far (Å) the atom that moved most got, in how many steps."""
        if moved > 0 and np.isfinite(moved) and steps > 0:
            weight = 1.0 / min(self.seen + 1, EVERY)
            self.pace += weight * (moved / steps - self.pace)
            self.seen += 1

    def choose(self, domain):
        """The skin to go on with; collective."""
        if not domain.cutoff > 0 or self.seen < 2 or domain.rebuilds % EVERY != 2:
            return domain.skin
        work = self.work(domain, np.append(TRIED * domain.cutoff, domain.skin))
        best = int(np.argmin(work))
        return float(TRIED[best] * domain.cutoff) if work[best] < (1 - WORTHWHILE) * work[-1] else domain.skin

    def work(self, domain, skins):
        """Counted work of a step on all ranks, for each skin."""
        state, comm = domain.state, domain.state.comm
        atoms, ghosts = comm.sum(np.array([state.n, state.n_ghost]))
        heights, volume = cells_.heights(state.cells), cells_.volume(state.cells)
        density = atoms / volume.sum()
        reach = domain.cutoff + np.asarray(skins)

        def shell(r):   # volume within r of a brick's surface
            sides = heights.mean(0) / max(comm.size, 1) ** (1 / 3)
            return np.prod([side + 2 * np.asarray(r) for side in sides], 0) - sides.prod()

        rows = atoms + ghosts * shell(reach) / shell(domain.cutoff + domain.skin)
        pairs = atoms * density * 2 / 3 * np.pi * reach**3
        rebuilds = 2 * self.pace / np.asarray(skins)
        return PAIR * pairs + ATOM * rows + rebuilds * (REBUILD_PAIR * pairs + REBUILD_ATOM * rows)

    def state_dict(self):
        return {"pace": self.pace, "seen": self.seen}

    def load_state_dict(self, tree):
        self.pace, self.seen = float(tree["pace"]), int(tree["seen"])
