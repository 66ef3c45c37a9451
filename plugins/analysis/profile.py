"""Profiles along a direction: number and mass density, temperature and mean velocity in slabs between two cell faces."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from engine import cell as cells_
from engine import units
from plugins.analysis.observer import Observer, Series, per_system, volume

GRAMS = 1.66053906660  # of one u/Å³, in g/cm³


@dataclass(kw_only=True)
class Profile(Observer):
    """along : slabs lie across the a, b or c vector of the cell;  bins : number of them;  group : atoms to look at

    Positions are in Å from the face, for the mean cell. The temperature is that of the free components, nothing taken off
    for a mean motion, which is given beside it.
    """

    along: Literal["a", "b", "c"] = "c"
    bins: PositiveInt = 100
    group: str = "all"

    kind = "profile"
    TOTALS = ("number", "mass", "energy", "free", "momentum", "cell")
    PARTIAL = ("number", "mass", "energy", "free", "momentum")

    def start(self, simulation):
        super().start(simulation)
        state = simulation.state
        volume(state)
        state.group(self.group)
        if not hasattr(self, "number"):
            S, T = state.n_systems, len(state.species_names)
            self.number = np.zeros((S, T, self.bins), np.int64)
            self.mass, self.energy, self.free = (np.zeros((S, self.bins)) for _ in range(3))
            self.momentum = np.zeros((S, self.bins, 3))
            self.cell = np.zeros((S, 2))  # Σ over samples of height, volume

    def observe(self, simulation):
        state, n = simulation.state, simulation.state.n
        axis = "abc".index(self.along)
        chosen = np.flatnonzero(state.group(self.group))
        fraction = state.fractional()[chosen, axis]
        b = np.minimum(((fraction - np.floor(fraction)) * self.bins).astype(int), self.bins - 1)
        s, m, v = state.system[:n][chosen], state.masses[chosen], state.velocities[chosen]
        np.add.at(self.number, (s, state.species[:n][chosen], b), 1)
        np.add.at(self.mass, (s, b), m)
        np.add.at(self.energy, (s, b), m * (v * v).sum(1))
        np.add.at(self.free, (s, b), state.free[chosen].sum(1))
        np.add.at(self.momentum, (s, b), m[:, None] * v)
        self.cell += np.stack([cells_.heights(state.cells)[:, axis], volume(state)], axis=1)

    def result(self, simulation):
        total = simulation.comm.sum
        number, mass, free = total(self.number), total(self.mass), total(self.free)
        energy, momentum = total(self.energy), total(self.momentum)
        height, slab = self.cell[:, 0] / self.samples, self.cell[:, 1] / self.bins
        ratio = lambda a, b: np.divide(a, b, out=np.zeros_like(a), where=b > 0)
        names = tuple(simulation.state.species_names)
        return {
            "position": Series(per_system(np.outer(height, (np.arange(self.bins) + 0.5) / self.bins)), "Å"),
            "number_density": Series(per_system(number / slab[:, None, None]), "1/Å³", "position", names),
            "density": Series(per_system(GRAMS * mass / slab[:, None]), "g/cm³", "position"),
            "temperature": Series(per_system(ratio(energy, free) / units.kB), "K", "position"),
            "velocity": Series(per_system(1000 * units.fs * ratio(momentum, mass[:, :, None]).transpose(0, 2, 1)),
                               "Å/ps", "position", ("x", "y", "z")),
        }
