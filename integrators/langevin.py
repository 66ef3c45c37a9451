"""Langevin dynamics, B A O A B (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34).

    dv = −γ v dt + √(2 γ kT/m) dW + f/m dt;   O: v ← c v + √((1 − c²) kT/m) ξ,  c = e^{−γ dt}

| equation | name here |
|---|---|
| γ | ``friction``, 1/fs |
| T | ``temperature``, K |
| ξ | Philox stream LANGEVIN, by tag and step |

The energy that O gives is counted, so that total energy less heat is conserved up to the time step's error.
"""

from dataclasses import dataclass

import numpy as np

from engine import units
from engine.config.quantities import Friction, Temperature, Time
from engine.config.ramp import ramped
from engine.errors import InputError
from integrators.composition import Composition
from integrators.operators import ornstein_uhlenbeck


@dataclass
class Langevin(Composition):
    """timestep in fs, temperature in K (may be a ramp), friction in 1/fs."""

    timestep: Time
    temperature: ramped(Temperature)
    friction: Friction
    barostat: object = None

    conserves_momentum = False

    def start(self, simulation):
        super().start(simulation)
        if not self.friction >= 0:
            raise InputError(f"langevin: friction = {self.friction} must not be negative (1/fs)")

    def thermostat(self, simulation, dt):
        """O over `dt`."""
        state = simulation.state
        kT = units.kB * self.at(simulation, self.temperature)
        decay = float(np.exp(-self.friction / units.fs * dt))
        given = np.zeros(state.n_systems)
        ornstein_uhlenbeck(
            state.velocities, state.masses, state.free, state.tags, state.system, kT, decay, simulation.seed, state.step,
            self.inner, given,
        )
        simulation.account.add("thermostat", state.comm.sum(given), state.n_systems)
