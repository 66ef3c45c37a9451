"""The symmetric composition that all integrators here share, multiple time steps included.

One level (B kick, A drift, T thermostat, P barostat, [f] forces):

    B(dt/2)  A(dt/2) T(dt) P A(dt/2)  [f]  B(dt/2)

Without T and P this is velocity Verlet; with T = O, the Ornstein–Uhlenbeck process, it is BAOAB. The thermostat sits in
the middle because there it biases positions least: for a harmonic oscillator not at all (Leimkuhler and Matthews,
J. Chem. Phys. 138, 174102 (2013)), while kinetic energies at whole steps read low by the fraction (ω dt)²/4.

Slower levels nest around this, r-RESPA (Tuckerman, Berne and Martyna, J. Chem. Phys. 97, 1990 (1992)): a level's half
kicks stand around a whole number of steps of the level below it. The thermostat acts in every innermost flight, the
barostat once, in the middle one: in the centre of the step if there is an odd number of flights, half a flight behind it
if there is an even one, where its account is of first order in the innermost step only.
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.config.ramp import Ramp
from engine.contracts import Stateful
from engine.errors import InputError
from integrators.electric_field import count_work
from integrators.operators import drift, kick, kick_and_drift

MOST_INNER_STEPS = 256  # Philox numbers the draws of one stream inside a step with eight bits


class Composition(Stateful):
    """Base of integrators. A subclass is a dataclass with a `timestep` (fs, the innermost one) and may have a
    `thermostat(simulation, dt)`, a `temperature` and a `barostat`."""

    timestep: float
    barostat = None
    thermostat = None
    conserves_momentum = True

    def start(self, simulation):
        """Called when a stage begins or a run resumes."""
        self.every = list(simulation.forces.every)
        if not self.timestep > 0:
            raise InputError(f"timestep = {self.timestep} must be positive (fs)")
        if self.inner_steps > MOST_INNER_STEPS:
            raise InputError(f"the slowest level spans {self.inner_steps} steps of the fastest; {MOST_INNER_STEPS} is the most")
        for fast, slow in zip(self.every, self.every[1:], strict=False):
            if slow % fast:
                raise InputError(f"levels every {self.every}: each must be a whole multiple of the one before it")
        if self.barostat is not None:
            self.barostat.start(self, simulation)
        if self.inner_steps > 1:
            from integrators import resonance  # not at the top: it needs scipy.optimize, 0.3 s that most runs can save

            resonance.warn(simulation, self)

    def needs(self, step):
        """What the forces after `step` steps must include for the step that follows."""
        return frozenset({"virial"}) if self._barostat_due(step) else frozenset()

    @property
    def inner_steps(self):
        """Innermost steps in an outermost one."""
        return self.every[-1] // self.every[0]

    @property
    def step_length(self):
        """Length of the outermost step, fs."""
        return self.timestep * self.inner_steps

    # -- the step ---------------------------------------------------------------------------------------------------
    def step(self, simulation, needs):
        """One outermost step; `needs` are computed with the forces at its end."""
        due = self._barostat_due(simulation.state.step)
        self.inner = 0  # innermost steps taken so far
        if due:
            self.barostat.open(simulation)
        self._descend(simulation, len(self.every) - 1, needs | {"virial"} if due else needs)
        if due:
            self.barostat.close(simulation)

    def _descend(self, simulation, level, needs):
        """One step of `level`: half a kick, the levels below, forces, half a kick."""
        steps = self.every[level] // self.every[0]
        dt = self.timestep * steps * units.fs
        count_work(simulation, level, self.timestep * steps)
        if level == 0:
            self.flight(simulation, dt)
        else:
            self.kick(simulation, level, 0.5 * dt)
            repeats = self.every[level] // self.every[level - 1]
            for k in range(repeats):
                self._descend(simulation, level - 1, needs if k == repeats - 1 else frozenset())
        simulation.forces(needs, level)
        self.kick(simulation, level, 0.5 * dt)
        count_work(simulation, level, -self.timestep * steps)

    def flight(self, simulation, dt):
        """The first half kick of the fastest level, and what happens between it and the second."""
        rescale = self._barostat_due(simulation.state.step) and self.inner == self.inner_steps // 2
        if self.thermostat is None and not rescale:
            self.kick_and_drift(simulation, 0.5 * dt, dt)
        else:
            self.kick_and_drift(simulation, 0.5 * dt, 0.5 * dt)
            if self.thermostat is not None:
                self.thermostat(simulation, dt)
            if rescale:
                self.barostat.apply(simulation, self)
            self.drift(simulation, 0.5 * dt)
        simulation.state.time += dt
        self.inner += 1

    # -- operators ---------------------------------------------------------------------------------------------------
    def kick(self, simulation, level, dt):
        state = simulation.state
        kick(state.velocities, simulation.forces.outputs[level].forces, state.masses, dt)

    def drift(self, simulation, dt):
        state = simulation.state
        drift(state.positions, state.velocities, dt)
        simulation.domain.moved = None

    def kick_and_drift(self, simulation, kick_dt, drift_dt):
        state, domain = simulation.state, simulation.domain
        forces, start = simulation.forces.outputs[0].forces, domain.start()
        if start is None:
            self.kick(simulation, 0, kick_dt)
            self.drift(simulation, drift_dt)
        else:
            domain.moved = kick_and_drift(state.positions, state.velocities, forces, state.masses, kick_dt, drift_dt, start)

    # -- helpers -----------------------------------------------------------------------------------------------------
    def _barostat_due(self, step):
        return self.barostat is not None and step % self.barostat.every == 0

    def at(self, simulation, value):
        """A ramp's or a system's value at the middle of this step, (S,)."""
        progress = (simulation.state.step + 0.5 - simulation.stage_start) / max(simulation.stage_steps, 1)
        return np.broadcast_to(Ramp.of(value).at(progress), (simulation.state.n_systems,))

    def state_dict(self):
        return {"barostat": self.barostat.state_dict()} if self.barostat is not None else {}

    def load_state_dict(self, tree):
        if self.barostat is not None:
            self.barostat.load_state_dict(tree.get("barostat", {}))
