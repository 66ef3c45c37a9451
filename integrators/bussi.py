"""Stochastic velocity rescaling (Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007), eqs. A7 and A8).

The kinetic energy K follows the same Ornstein–Uhlenbeck dynamics as under Langevin, all velocities by one factor α:

    α² = c + (1 − c) K̄/(f K) (R² + Σ_{i=2}^{f} R_i²) + 2 R √(c (1 − c) K̄/(f K)),   c = e^{−dt/τ},  K̄ = f kT/2

| equation | name here |
|---|---|
| τ | ``time``, fs |
| f (N_f) | degrees of freedom, less three for the total momentum, which is conserved |
| R | one normal number;  Σ R_i²: a χ² number with f − 1 degrees, from one uniform number by the inverse distribution |

It sits in the middle of the flight, as Langevin's O does, and what it gives to K is counted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from engine import random, units
from engine.config.quantities import Temperature, Time
from engine.config.ramp import ramped
from engine.errors import InputError
from integrators.composition import Composition
from integrators.operators import refuse_rest, rescale


@dataclass
class Bussi(Composition):
    """timestep in fs, temperature in K (may be a ramp), time (relaxation of the temperature) in fs."""

    timestep: Time
    temperature: ramped(Temperature)
    time: Time = 100.0
    barostat: object = None

    def start(self, simulation):
        super().start(simulation)
        if not self.time > 0:
            raise InputError(f"bussi: time = {self.time} must be positive (fs)")

    def thermostat(self, simulation, dt):
        state = simulation.state
        K = simulation.kinetic_energy()
        f = simulation.degrees_of_freedom()
        kT = units.kB * self.at(simulation, self.temperature)
        refuse_rest(state, K, f, kT, "bussi")
        c = np.exp(-dt / (self.time * units.fs))
        moving = (K > 0) & (f > 0)
        share = (1 - c) * 0.5 * kT / np.where(moving, K, 1.0)
        R, chi2 = self._draw(simulation, f)
        square = c + share * (R * R + chi2) + 2 * R * np.sqrt(c * share)
        factor = np.sqrt(square) * np.where(np.sqrt(c) + R * np.sqrt(share) < 0, -1.0, 1.0)
        factor = np.where(moving, factor, 1.0)
        rescale(state.velocities, state.system, factor)
        simulation.account.add("thermostat", (factor**2 - 1) * K, state.n_systems)

    def _draw(self, simulation, f):
        """A normal number and a χ² number of f − 1 degrees for each system."""
        where = [(simulation.seed, random.BUSSI, s, simulation.state.step, self.inner, 0) for s in range(len(f))]
        R = np.array([random.normal4(*w, 0)[0] for w in where])
        u = np.array([random.uniform(*w, 1) for w in where])
        return R, 2.0 * gammaincinv(np.maximum(0.5 * (f - 1), 1e-300), u)
