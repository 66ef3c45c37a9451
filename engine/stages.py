"""Stages: everything that takes time is one. ``md`` is here; others (relax, scha, train, ...) are plugins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from engine.config import plugins
from engine.contracts import Stateful
from engine.errors import InputError

LAST_STEP = 2**48  # what the random numbers' counter holds


class Stage(Stateful):
    """A part of a run with its own settings; a dataclass whose fields are its keys.

    prepare(simulation) puts the stage's parts in (also when a run resumes inside it), proceed(simulation) goes on to
    the stage's end or until ``simulation.stop_reason`` is set. `steps` is what the progress bar counts to.
    """

    steps: int = 0
    needs_system = True

    def prepare(self, simulation):
        pass

    def files(self):
        """Paths that it writes beside the run's own; what is there already is replaced with --force only."""
        return ()

    def proceed(self, simulation):
        raise TypeError(f"{type(self).__name__} does nothing")


@dataclass
class MolecularDynamics(Stage):
    """steps of an integrator, whose own keys stand in the same table; `levels` group potentials into time steps."""

    integrator: Any
    steps: int
    levels: list | None = None

    def prepare(self, simulation):
        levels, every = None, None
        if self.levels:
            levels = [dict(level["potentials"]) for level in self.levels]
            every = [int(level["every"]) for level in self.levels]
        simulation.set_levels(levels, every)
        simulation.set_integrator(self.integrator)

    def proceed(self, simulation):
        simulation.proceed()


def make(table: dict, index: int, folder) -> Stage:
    """The stage that a [[stage]] table describes."""
    where = f"stage[{index}]"
    table = dict(table)
    kind = table.pop("kind", "md")
    if kind != "md":
        return plugins.make("stages", {"kind": kind, **table}, where, folder)
    if "integrator" not in table:
        raise InputError(f"{where}.integrator is missing; there are: {', '.join(plugins.registry.names('integrators'))}")
    if not isinstance(table["integrator"], str):
        raise InputError(f"{where}.integrator = {table['integrator']!r}: must be a name, one of: "
                         f"{', '.join(plugins.registry.names('integrators'))}; its keys stand beside it")
    if "steps" not in table:
        raise InputError(f"{where}.steps is missing: how many steps the stage takes")
    steps = table.pop("steps")
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps < LAST_STEP:
        raise InputError(f"{where}.steps = {steps!r}: must be a whole number of steps, 0 or more, below 2^48")
    levels = table.pop("levels", None)
    if levels is not None:
        _check_levels(levels, where)
    integrator = plugins.make("integrators", {"kind": table.pop("integrator"), **table}, where, folder)
    return MolecularDynamics(integrator, steps, levels)


def _check_levels(levels, where):
    if not isinstance(levels, list) or not levels:
        raise InputError(f"{where}.levels: must be a list of tables such as {{ every = 1, potentials = {{ fast = 1 }} }}")
    previous = 0
    for k, level in enumerate(levels):
        place = f"{where}.levels[{k}]"
        if not isinstance(level, dict) or set(level) != {"every", "potentials"} or not isinstance(level["potentials"], dict):
            raise InputError(f"{place}: must have just 'every' and 'potentials', such as "
                             "{ every = 4, potentials = { slow = 1 } }")
        every = level["every"]
        if not isinstance(every, int) or every < 1 or (previous and every % previous):
            raise InputError(f"{place}.every = {every!r}: must be a whole multiple of the level before it")
        if k == 0 and every != 1:
            raise InputError(f"{place}.every = {every}: the first level is the fastest and has every = 1")
        if not level["potentials"] or not all(_is_weight(w) for w in level["potentials"].values()):
            raise InputError(f"{place}.potentials: must map names of potentials to weights, which are finite numbers")
        previous = every


def _is_weight(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
