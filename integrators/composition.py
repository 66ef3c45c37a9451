"""The symmetric composition that all integrators here share, multiple time steps included.

One level (B kick, F the integrator's own flight, [f] forces):

    B(dt/2) F(dt) [f] B(dt/2)

and with slower levels, r-RESPA (Tuckerman, Berne and Martyna, J. Chem. Phys. 97, 1990 (1992)): each level's half
kicks around a whole number of steps of the level below. Velocity Verlet is the flight F = A.
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.config.ramp import Ramp
from engine.contracts import Stateful
from integrators.operators import drift, kick


class Composition(Stateful):
    """Base of integrators. A subclass is a dataclass with a `timestep` (fs) and says what its flight is."""

    timestep: float
    barostat = None
    conserves_momentum = True

    def start(self, simulation):
        """Called when a stage begins or a run resumes."""
        self.levels = len(simulation.forces.levels)
        if self.barostat is not None:
            self.barostat.start(self, simulation)

    def needs(self, step):
        """What the forces at the end of `step` must include for the step after it."""
        if self.barostat is not None and step % self.barostat.every == 0:
            return frozenset({"virial"})
        return frozenset()

    @property
    def step_length(self):
        """Length of the outermost step, fs."""
        return self.timestep * self._every[-1] if hasattr(self, "_every") else self.timestep

    def step(self, simulation, needs):
        """One outermost step; `needs` are computed with the forces at its end."""
        self._every = simulation.forces.every
        self.occurrence = 0
        self._scaled = False
        dt = self.step_length * units.fs
        self.outer(simulation, 0.5 * dt)
        self._descend(simulation, self.levels - 1, needs)
        self.outer(simulation, 0.5 * dt)

    def _descend(self, simulation, level, needs):
        """One step of `level`: half kick, the levels below, forces, half kick."""
        forces, every = simulation.forces, self._every
        dt = self.timestep * every[level] * units.fs
        self.kick(simulation, level, 0.5 * dt)
        if level == 0:
            self.flight(simulation, dt)
            simulation.state.time += dt
        else:
            inner = every[level] // every[level - 1]
            for k in range(inner):
                self._descend(simulation, level - 1, needs if k == inner - 1 else frozenset())
        forces(needs, level)
        self.kick(simulation, level, 0.5 * dt)

    # -- operators ------------------------------------------------------------------------------------------------
    def kick(self, simulation, level, dt):
        state = simulation.state
        kick(state.velocities, simulation.forces.outputs[level].forces, state.masses, dt)

    def drift(self, simulation, dt):
        state = simulation.state
        drift(state.positions, state.velocities, dt)

    def outer(self, simulation, dt):
        """Around the whole step: nothing, unless a thermostat says so."""

    def flight(self, simulation, dt):
        """What happens between two kicks of the fastest level: a drift, and the barostat in its middle if it is due."""
        if self._barostat_due(simulation):
            self.drift(simulation, 0.5 * dt)
            self.rescale(simulation)
            self.drift(simulation, 0.5 * dt)
        else:
            self.drift(simulation, dt)

    # -- pressure -------------------------------------------------------------------------------------------------
    def _barostat_due(self, simulation):
        return self.barostat is not None and not self._scaled and simulation.state.step % self.barostat.every == 0

    def rescale(self, simulation):
        if self._barostat_due(simulation):
            self._scaled = True
            self.barostat.apply(simulation, self)

    # -- helpers --------------------------------------------------------------------------------------------------
    def at(self, simulation, value):
        """A ramp's or a system's value at the middle of this step, (S,)."""
        progress = (simulation.state.step + 0.5 - simulation.stage_start) / max(simulation.stage_steps, 1)
        return np.broadcast_to(Ramp.of(value).at(progress), (simulation.state.n_systems,))

    def state_dict(self):
        return {"barostat": self.barostat.state_dict()} if self.barostat is not None else {}

    def load_state_dict(self, tree):
        if self.barostat is not None:
            self.barostat.load_state_dict(tree.get("barostat", {}))
