"""Hysteresis loops P(E) in a periodic field, averaged over periods, with coercive field and remanence.

Looks are sorted into bins of the field's phase, period by period from when the fields begin. In each period the coercive
field is |E| where P along the field passes through zero, and the remanent polarization is |P| where E does, both by linear
interpolation between bins; means over both branches and all periods after `skip`, with their standard error over periods. A
ring of numbers that is not a loop (nothing switches) has no coercive field: NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveInt

from engine.config.quantities import Time
from engine.errors import InputError
from plugins.analysis.observer import Observer, Series, per_system

MICROCOULOMB = 1602.176634  # µC/cm² in 1 e/Å²
MEGAVOLT = 100.0  # MV/cm in 1 V/Å


@dataclass(kw_only=True)
class Hysteresis(Observer):
    """period : of the field, fs;  direction : of field and polarization;  points : bins of a period;  skip : periods left
    out at the beginning"""

    period: Time
    direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    points: PositiveInt = 100
    skip: int = 1

    kind = "hysteresis"
    needs = frozenset({"polarization"})
    TOTALS = ("loops",)

    def start(self, simulation):
        super().start(simulation)
        if simulation.electric is None:
            raise InputError("hook 'hysteresis': there is no [[field]]")
        if not hasattr(self, "loops"):  # for each period: sums of 1, E, P over the looks of each bin
            self.loops = np.zeros((0, simulation.state.n_systems, self.points, 3))

    def observe(self, simulation):
        state = simulation.state
        u = np.asarray(self.direction, float) / np.linalg.norm(self.direction)
        turn, phase = divmod(simulation.electric.elapsed(state) / self.period + 1e-9, 1.0)
        turn = int(turn)
        if turn >= len(self.loops):
            more = np.zeros((turn + 1 - len(self.loops), *self.loops.shape[1:]))
            self.loops = np.concatenate([self.loops, more])
        E = simulation.electric.inside(state) @ u
        P = simulation.quantity("polarization") @ u / state.volume
        cell = self.loops[turn, :, min(int(phase * self.points), self.points - 1)]
        cell += np.stack([np.ones(len(E)), E * MEGAVOLT, P * MICROCOULOMB], 1)

    def result(self, simulation):
        full = self.loops[self.skip :]
        full = full[(full[..., 0] > 0).all((1, 2))]
        if not len(full):
            return {}
        mean = full.sum(0)
        E, P = mean[..., 1] / mean[..., 0], mean[..., 2] / mean[..., 0]
        each = full[..., 1:] / full[..., :1]
        coercive = np.array([[crossing(l[:, 1], l[:, 0]) for l in loop] for loop in each])
        remanent = np.array([[crossing(l[:, 0], l[:, 1]) for l in loop] for loop in each])
        error = lambda x: x.std(0, ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.full(x.shape[1], np.nan)
        return {
            "field": Series(per_system(E), "MV/cm"),
            "polarization": Series(per_system(P), "µC/cm²", "field"),
            "coercive_field": Series(per_system(coercive.mean(0)), "MV/cm"),
            "coercive_field_error": Series(per_system(error(coercive)), "MV/cm"),
            "remanence": Series(per_system(remanent.mean(0)), "µC/cm²"),
            "remanence_error": Series(per_system(error(remanent)), "µC/cm²"),
        }


def crossing(x, y):
    """Mean |y| where the closed series x changes sign, NaN where it never does."""
    a, b = np.asarray(x), np.roll(x, -1)
    where = np.flatnonzero((a > 0) != (b > 0))
    if not len(where):
        return np.nan
    t = a[where] / (a[where] - b[where])
    return float(np.abs(y[where] + t * (np.roll(y, -1)[where] - y[where])).mean())
