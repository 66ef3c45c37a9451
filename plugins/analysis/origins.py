"""Correlations of per-atom vectors in time, from several origins at once, without a trajectory.

A new origin is taken every `lags / origins` looks and kept until it is `lags` looks old; every look is compared with all
origins. The vectors at the origins are a per-atom attribute of the state, so they follow atoms through sorting and from rank
to rank, and are in the checkpoint. Memory is 24 bytes an atom and origin, whatever the number of lags.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from pydantic import PositiveInt

from engine.errors import InputError
from engine.state import Attribute
from plugins.analysis.observer import EvenObserver


@njit(cache=True)
def compare(now, origins, filled, chosen, system, species, difference, out, moved):
    """Add for each origin f, out (origins, S, T), of the chosen atoms: Σ |x − x0|² (`difference`) or Σ x·x0; and to
    moved (origins, S, T, 3) Σ (x − x0)."""
    for i in range(now.shape[0]):
        if not chosen[i]:
            continue
        s, a = system[i], species[i]
        for k in range(origins.shape[1]):
            if not filled[k]:
                continue
            total = 0.0
            for d in range(3):
                x, x0 = now[i, d], origins[i, k, d]
                if difference:
                    total += (x - x0) * (x - x0)
                    moved[k, s, a, d] += x - x0
                else:
                    total += x * x0
            out[k, s, a] += total


@dataclass(kw_only=True)
class FromOrigins(EvenObserver):
    """lags : looks that the correlation spans;  origins : how many are kept at once;  group : atoms to look at

    A subclass says what `vectors(simulation)` (n, 3) are and whether their `difference` or their product is wanted.
    """

    lags: PositiveInt = 500
    origins: PositiveInt = 10
    group: str = "all"

    TOTALS = ("total", "weight", "born", *EvenObserver.CLOCK)
    PARTIAL = ("total", "weight")
    difference = False

    def vectors(self, simulation):
        raise TypeError(f"{type(self).__name__} has no vectors")

    def correction(self, moved, state):
        """(origins, S, T) to be taken off the sums, given Σ (x − x0)."""
        return 0.0

    def start(self, simulation):
        super().start(simulation)
        state = simulation.state
        if self.origins > self.lags:
            raise InputError(f"hook '{self.kind}': origins = {self.origins} must not exceed lags = {self.lags}")
        state.group(self.group)
        self.attribute = f"origins of {self.label}"
        state.declare(Attribute(self.attribute, np.float64, (self.origins, 3)))
        if not hasattr(self, "total"):
            shape = (state.n_systems, len(state.species_names), self.lags)
            self.total, self.weight = np.zeros(shape), np.zeros(shape)
            self.born = np.zeros(self.origins, np.int64)  # look at which each was taken, 0 for none

    def observe(self, simulation):
        state, n = simulation.state, simulation.state.n
        if self.tick(simulation):
            self.born[:] = 0
        now, stored = self.vectors(simulation), getattr(state, self.attribute)
        stride = -(-self.lags // self.origins)
        if (self.looks - 1) % stride == 0:
            slot = (self.looks - 1) // stride % self.origins
            stored[:, slot] = now
            self.born[slot] = self.looks
        age = self.looks - self.born
        filled = (self.born > 0) & (age < self.lags)
        shape = (self.origins, state.n_systems, len(state.species_names))
        sums, moved = np.zeros(shape), np.zeros((*shape, 3))
        chosen = state.group(self.group)
        compare(now, stored, filled, chosen, state.system[:n], state.species[:n], self.difference, sums, moved)
        sums -= self.correction(moved, state)
        count = np.zeros(shape[1:])
        np.add.at(count, (state.system[:n][chosen], state.species[:n][chosen]), 1.0)
        for k in np.flatnonzero(filled):
            self.total[:, :, age[k]] += sums[k]
            self.weight[:, :, age[k]] += count

    def mean(self, simulation):
        """(S, T, lags) and the times (lags,) in ps, for the lags that have been reached; and atoms (S, T)."""
        total, weight = simulation.comm.sum(self.total), simulation.comm.sum(self.weight)
        reached = max(int((weight.max((0, 1)) > 0).sum()), 1)
        total, weight = total[:, :, :reached], weight[:, :, :reached]
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        return mean, np.arange(reached) * (self.interval or 0.0), weight[:, :, 0]
