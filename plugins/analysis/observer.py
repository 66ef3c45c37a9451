"""What all observers share: when they look, where results go, and how they are described for readers and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pydantic import PositiveInt

from engine import units
from engine.contracts import Hook
from engine.errors import InputError

PS = 1 / units.fs / 1000  # internal time to ps


class Series(NamedTuple):
    """A result: `values` (..., x) in `unit` over the series called `axis`, one row for each of `labels`.

    An axis itself has no axis. With several systems, values have one more index in front.
    """

    values: np.ndarray
    unit: str = ""
    axis: str = ""
    labels: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Observer(Hook):
    """every : steps between looks;  write : steps between writes of what is known so far, by default 100 looks
    stages : numbers of the stages to look at, from 0; by default all
    name : group in the run's file, ``observers/NAME``; by default the kind of observer

    A subclass has `kind`, `observe(simulation)`, and `result(simulation)`, {name: Series}, which every rank calls and whose
    sums over ranks are its own business. `TOTALS` names the arrays that a checkpoint keeps, `PARTIAL` those
    among them that hold this rank's own atoms' share.
    """

    every: PositiveInt = 10
    write: PositiveInt | None = None
    stages: list[int] | None = None
    name: str | None = None

    kind = ""
    file = None  # ``engine.output.file.RunFile`` on rank 0 of a run that has one
    samples = 0
    TOTALS = ()
    PARTIAL = ()

    @property
    def label(self):
        return self.name or self.kind

    def start(self, simulation):
        same = [hook for hook in simulation.hooks if isinstance(hook, Observer) and hook.label == self.label]
        if len(same) > 1:
            raise InputError(f"two hooks are called '{self.label}': give one of them another `name`")

    def act(self, simulation):
        if self.stages is not None and simulation.stage not in self.stages:
            return
        self.observe(simulation)
        self.samples += 1
        if simulation.state.step % (self.write or 100 * self.every) == 0:
            self.save(simulation)

    def finish(self, simulation):
        self.save(simulation)

    def save(self, simulation):
        """Write the results so far; every rank calls this."""
        if not self.samples:
            return
        results = self.result(simulation)
        if self.file is None or not results:
            return
        where = f"observers/{self.label}"
        for place, (name, series) in enumerate(results.items()):
            self.file.put(f"{where}/{name}", series.values, unit=series.unit, axis=series.axis, labels=list(series.labels),
                          place=place)
        self.file.file[where].attrs.update(kind=self.kind, samples=self.samples, step=simulation.state.step)
        self.file.flush()

    def state_dict(self):
        return {"samples": self.samples, **{name: getattr(self, name) for name in self.TOTALS if hasattr(self, name)}}

    def load_state_dict(self, tree):
        for name, value in tree.items():
            setattr(self, name, np.array(value) if isinstance(value, np.ndarray) else value)


@dataclass(kw_only=True)
class EvenObserver(Observer):
    """An observer whose looks are evenly spaced in time; it begins a new row of looks after a gap."""

    CLOCK = ("looks", "last", "time", "interval")
    looks = 0  # in the present row
    last = None  # step of the last look
    time = None  # ps, of the last look
    interval = None  # ps between looks

    def tick(self, simulation):
        """Count a look; True if it begins a new row. Refuses a time step that changes."""
        step, now = simulation.state.step, simulation.state.time * PS
        first = self.last is None or step - self.last != self.every
        if not first:
            spacing = now - self.time
            self.interval = self.interval or spacing
            if abs(spacing - self.interval) > 1e-6 * self.interval:
                raise InputError(f"hook '{self.label}': the time step changes between stages; give the hook `stages`, and each "
                                 "of them a hook of its own")
        self.looks = 1 if first else self.looks + 1
        self.last, self.time = step, now
        return first


def per_system(values):
    """Without the index of the system where there is only one."""
    return values[0] if len(values) == 1 else values


def volume(state):
    """(S,) Å³; what an observer that needs one says where there is none."""
    if not state.periodic.all():
        raise InputError("hook 'rdf', 'stress' or 'profile': an open direction has no volume, so no density or stress")
    return state.volume
