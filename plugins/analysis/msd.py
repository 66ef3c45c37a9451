"""Mean square displacement, <|r(t0 + t) − r(t0)|²> of each species, through periodic boundaries.

The diffusion coefficient is a sixth of its slope, fitted over the second half of the lags (Einstein, Ann. Phys. 322,
549 (1905)). Where nothing holds the centre of mass (Langevin dynamics), `drift = false` takes its motion out.
"""

from dataclasses import dataclass

import numpy as np

from plugins.analysis.observer import Series, per_system
from plugins.analysis.origins import FromOrigins


@dataclass(kw_only=True)
class MeanSquareDisplacement(FromOrigins):
    """drift : keep the motion of the centre of all chosen atoms (equally weighted)?"""

    drift: bool = True

    kind = "msd"
    difference = True

    def vectors(self, simulation):
        return simulation.state.unwrapped()

    def correction(self, moved, state):
        """Σ |d − D|² = Σ |d|² − 2 D·Σd + N |D|², D the mean over the chosen atoms of a system."""
        if self.drift:
            return 0.0
        chosen, n = state.group(self.group), state.n
        count = np.zeros(moved.shape[1:3])
        np.add.at(count, (state.system[:n][chosen], state.species[:n][chosen]), 1.0)
        total = state.comm.sum(count).sum(1)
        mean = state.comm.sum(moved).sum(2) / np.maximum(total, 1.0)[:, None]  # (origins, S, 3)
        return 2.0 * np.einsum("ksd,ksad->ksa", mean, moved) - count * (mean**2).sum(-1)[:, :, None]

    def result(self, simulation):
        mean, time, _ = self.mean(simulation)
        names = tuple(simulation.state.species_names)
        out = {"time": Series(time, "ps"), "msd": Series(per_system(mean), "Å²", "time", names)}
        if len(time) >= 8:
            half = slice(len(time) // 2, None)
            t = time[half] - time[half].mean()
            slope = (mean[:, :, half] * t).sum(-1) / (t * t).sum()
            out["diffusion"] = Series(per_system(slope / 6.0), "Å²/ps", "", names)
        return out
