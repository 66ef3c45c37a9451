"""Hysteresis loops P(E) in a periodic field, averaged over periods, with coercive field and remanence.

Looks are sorted into bins of the field's phase, period by period from when a field that changes begins; before that, and
after it ends, there is no loop to look at. In each period the coercive field is |E| where P along the field passes through
zero, and the remanent polarization is |P| where E does, both by linear interpolation between bins; means over both branches
and all full periods after `skip`, with their standard error over periods. A ring of numbers that is not a loop (nothing
switches) has no coercive field: NaN.

The polarization of charges that are followed through the boundaries hangs on where the origin is: theirs is counted from the
middle of each loop, half way between its largest and its smallest value, and ``middle`` is the mean of what was taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from engine import units
from engine.config.quantities import Time
from engine.errors import InputError
from plugins.analysis.observer import Observer, Series, per_system
from plugins.dielectric.conditions import changing, warn

MICROCOULOMB = 1602.176634  # µC/cm² in 1 e/Å²
MEGAVOLT = 100.0  # MV/cm in 1 V/Å


@dataclass(kw_only=True)
class Hysteresis(Observer):
    """period : of the field, fs, or a whole multiple of it;  direction : of field and polarization;  points : bins of a period
    skip : periods left out at the beginning"""

    period: Time
    direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    points: PositiveInt = 100
    skip: NonNegativeInt = 1

    kind = "hysteresis"
    needs = frozenset({"polarization"})
    TOTALS = ("loops",)

    def start(self, simulation):
        super().start(simulation)
        self._check_period(simulation)
        if not 0 < np.linalg.norm(self.direction) < np.inf:
            raise InputError(f"hook 'hysteresis': direction = {list(self.direction)} must be three numbers that are not all zero")
        self.itinerant = any(getattr(potential, "itinerant", False) for potential in simulation.potentials.values())
        if not hasattr(self, "loops"):  # for each period: sums of 1, E, P over the looks of each bin
            self.loops = np.zeros((0, simulation.state.n_systems, self.points, 3))

    def _check_period(self, simulation):
        """It must be the field's, and long enough for looks in every bin."""
        fields = changing(self, simulation)
        if not fields:
            raise InputError("hook 'hysteresis': no [[field]] changes in time in the stages that it looks at")
        if not self.period > 0:
            raise InputError(f"hook 'hysteresis': period = {self.period} fs must be positive")
        for own in filter(None, (getattr(field, "period", None) for field in fields)):
            turns = self.period / own
            if round(turns) < 1 or abs(turns - round(turns)) > 1e-6 * turns:
                raise InputError(f"hook 'hysteresis': period = {self.period:g} fs is no whole multiple of the field's {own:g} fs")
        apart = self.every * (getattr(simulation.integrator, "step_length", None) or 0.0)
        looks = self.stages is None or simulation.stage in self.stages
        if looks and apart * self.points > self.period * (1 + 1e-6):
            raise InputError(f"hook 'hysteresis': looks are {apart:g} fs apart, and bins {self.period / self.points:g} fs wide "
                             f"(period/points), so that some would stay empty: points = {int(self.period / apart)} at most, or a "
                             "smaller `every`")

    def _turns(self, simulation):
        """Periods since the first of the fields that change now, and have begun, began; negative or None before."""
        electric, now = simulation.electric, simulation.state.time / units.fs
        began = [electric.begins[k][0] + getattr(electric.fields[k], "start", 0.0) for k in electric.active
                 if not electric.fields[k].steady]
        return (now - min(began)) / self.period + 1e-6 if began else None  # time is a sum of many steps

    def observe(self, simulation):
        turns = self._turns(simulation)
        if turns is None or turns < 0:
            return
        state, turn = simulation.state, int(turns)
        u = np.asarray(self.direction, float) / np.linalg.norm(self.direction)
        if turn >= len(self.loops):
            more = np.zeros((turn + 1 - len(self.loops), *self.loops.shape[1:]))
            self.loops = np.concatenate([self.loops, more])
        E = simulation.electric.inside(state) @ u
        P = simulation.quantity("polarization") @ u / state.volume
        cell = self.loops[turn, :, min(int((turns - turn) * self.points), self.points - 1)]
        cell += np.stack([np.ones(len(E)), E * MEGAVOLT, P * MICROCOULOMB], 1)

    def full(self):
        """(periods, S, points, 2) E and P of all full periods after `skip`."""
        loops = self.loops[self.skip :]
        loops = loops[(loops[..., 0] > 0).all((1, 2))]
        return loops[..., 1:] / loops[..., :1]

    def finish(self, simulation):
        super().finish(simulation)
        if not len(self.full()):
            warn(self, simulation, f"no full period of {self.period:g} fs after the first {self.skip} (skip), so no loop")

    def result(self, simulation):
        loops, out = self.full(), {}
        if not len(loops):
            return out
        error = lambda x: x.std(0, ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.full(x.shape[1:], np.nan)
        if self.itinerant:
            middle = 0.5 * (loops[..., 1].max(-1) + loops[..., 1].min(-1))
            loops[..., 1] -= middle[..., None]
            out["middle"] = Series(per_system(middle.mean(0)), "µC/cm²")
            out["middle_error"] = Series(per_system(error(middle)), "µC/cm²")
        E, P = np.moveaxis(loops.mean(0), -1, 0)
        coercive = np.array([[crossing(l[:, 1], l[:, 0]) for l in loop] for loop in loops])
        remanent = np.array([[crossing(l[:, 0], l[:, 1]) for l in loop] for loop in loops])
        return {
            "field": Series(per_system(E), "MV/cm"),
            "polarization": Series(per_system(P), "µC/cm²", "field"),
            "polarization_error": Series(per_system(error(loops[..., 1])), "µC/cm²", "field"),
            "coercive_field": Series(per_system(coercive.mean(0)), "MV/cm"),
            "coercive_field_error": Series(per_system(error(coercive)), "MV/cm"),
            "remanence": Series(per_system(remanent.mean(0)), "µC/cm²"),
            "remanence_error": Series(per_system(error(remanent)), "µC/cm²"),
            **out,
        }


def crossing(x, y):
    """Mean |y| where the closed series x changes sign, NaN where it never does."""
    a, b = np.asarray(x), np.roll(x, -1)
    where = np.flatnonzero((a > 0) != (b > 0))
    if not len(where):
        return np.nan
    t = a[where] / (a[where] - b[where])
    return float(np.abs(y[where] + t * (np.roll(y, -1)[where] - y[where])).mean())
