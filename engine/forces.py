"""Forces of one or more levels: every level is a weighted sum of named potentials, with an output of its own."""

from __future__ import annotations

import numpy as np

from engine.contracts import PER_ATOM, SQUARES, Inputs, Output
from engine.errors import InputError

ALWAYS = frozenset({"forces"})
# zero for potentials that take no field
OF_THE_FIELD = frozenset({"polarization", "quadrupole", "born_charges", "polarizability"})


class Forces:
    """Evaluates levels on a domain and keeps what came out.

    levels : list of {potential name: weight}, the fastest first;  every : how many innermost steps each one spans
    """

    def __init__(self, state, domain, potentials, levels=None, every=None, electric=None):
        self.state, self.domain, self.potentials = state, domain, potentials
        self.levels = levels or [{name: 1.0 for name in potentials}]
        self.every = every or [1] * len(self.levels)
        self.outputs = [Output() for _ in self.levels]
        self.inputs = Inputs()
        self.electric = electric  # ``engine.electric.Electric`` where there is a field
        self.always = ALWAYS | (electric.needs if electric is not None else frozenset())
        self.stale = True
        self.evaluations = 0
        self._scratch = Output()
        for level in self.levels:
            for name in level:
                if name not in potentials:
                    raise InputError(f"a level names the potential '{name}'; there are: {', '.join(potentials)}")
        provided = [potentials[name].capabilities().provides for level in self.levels for name in level]
        self.provides = frozenset.intersection(*provided) | ALWAYS | (frozenset.union(*provided) & OF_THE_FIELD)

    def __call__(self, needs=frozenset(), level=0):
        """Evaluate one level at the present positions: forces always, and whatever of `needs` is asked for."""
        needs = self.always | needs
        missing = needs - self.provides
        if missing:
            raise InputError(f"the potentials in use do not provide {', '.join(sorted(missing))}")
        self.domain.refresh()
        return self.evaluate(needs, level) if self.electric is None else self.electric.evaluate(self, needs, level)

    def evaluate(self, needs, level, weights=None):
        """The potentials of a level, or those of `weights`, with the present ghosts, lists and inputs."""
        state, domain, out = self.state, self.domain, self.outputs[level]
        out.reset(needs, state.n_all, state.n_systems)
        for name, weight in (weights or self.levels[level]).items():
            if weight == 1.0:
                self.potentials[name].compute(state, domain.neighbors, domain.halo, self.inputs, needs, out)
            else:
                self._scratch.reset(needs, state.n_all, state.n_systems)
                self.potentials[name].compute(state, domain.neighbors, domain.halo, self.inputs, needs, self._scratch)
                for key, value in self._scratch.items():
                    getattr(out, key)[...] += (weight * weight if key in SQUARES else weight) * value
        for key, value in out.items():
            if key in PER_ATOM:
                domain.halo.reverse(value)
        state.comm.add_up([value for key, value in out.items() if key not in PER_ATOM])
        if state.constrained:
            out.forces[: state.n] *= state.free
        self.evaluations += 1
        return out

    def together(self, level):
        """{potential: weight} of the levels up to this one."""
        total = {}
        for weights in self.levels[:level + 1]:
            for name, weight in weights.items():
                total[name] = total.get(name, 0.0) + weight
        return {name: weight for name, weight in total.items() if weight}

    def all_levels(self, needs=frozenset()):
        for level in range(len(self.levels)):
            self(needs, level)
        self.stale = False

    def total(self, name):
        """A quantity summed over levels; per-atom ones for owned atoms only."""
        parts = [getattr(out, name) for out in self.outputs]
        if name in PER_ATOM:
            parts = [part[: self.state.n] for part in parts]
        return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)

    def has(self, name):
        return all(name in out for out in self.outputs)
