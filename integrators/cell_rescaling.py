"""Stochastic cell rescaling, isotropic (Bernetti and Bussi, J. Chem. Phys. 153, 114107 (2020), eq. 9).

With λ = √V:   dλ = −(β λ / 2τ) (P0 − P − kT/2V) dt + √(kT β / 2τ) dW,   r → r s, p → p / s, s = (V'/V)^{1/3}

| equation | name here |
|---|---|
| P0 | ``pressure``, GPa |
| τ | ``time``, fs |
| β | ``compressibility``, 1/GPa (its error changes the relaxation time only) |
| P | (2K + tr W)/3V |
| kT | of the thermostat that this barostat goes with; 0 without one |
"""

from dataclasses import dataclass

import numpy as np

from engine import random, units
from engine.config.quantities import Pressure, Time
from engine.config.ramp import ramped
from engine.contracts import Stateful
from engine.errors import InputError
from integrators.operators import scale


@dataclass
class CellRescaling(Stateful):
    pressure: ramped(Pressure)
    time: Time = 1000.0
    compressibility: float = 0.01
    every: int = 10

    def start(self, integrator, simulation):
        if not simulation.state.periodic.all():
            raise InputError("a barostat needs all three directions periodic: the pressure is undefined otherwise")

    def apply(self, simulation, integrator):
        """One step of the volume over `every` steps of the integrator."""
        state = simulation.state
        dt = self.every * integrator.step_length
        V = state.volume
        P0 = integrator.at(simulation, self.pressure) * units.GPa
        kinetic = np.trace(state.kinetic_tensor(), axis1=1, axis2=2)
        P = (kinetic + np.trace(simulation.forces.total("virial"), axis1=1, axis2=2)) / (3 * V)
        kT = np.zeros(state.n_systems)
        if hasattr(integrator, "temperature"):
            kT = units.kB * integrator.at(simulation, integrator.temperature)
        beta = self.compressibility / units.GPa
        noise = np.array([
            random.normals(simulation.seed, random.CELL_RESCALING, s, state.step, 0, 0, 1)[0]
            for s in range(state.n_systems)
        ])
        root = np.sqrt(V)
        root = (
            root
            - beta * root / (2 * self.time) * (P0 - P - kT / (2 * V)) * dt
            + np.sqrt(kT * beta / (2 * self.time) * dt) * noise
        )
        volume = root**2
        factor = (volume / V) ** (1 / 3)
        if not (np.abs(factor - 1) < 0.05).all():
            raise InputError(
                f"step {state.step}: the barostat would change the cell by {100 * np.abs(factor - 1).max():.0f} % at once; "
                "give it a longer time, or a smaller compressibility"
            )
        scale(state, factor[:, None, None] * np.eye(3))
        # what the scaling does: −P ΔV to first order, of which P0 ΔV is taken from the piston
        simulation.account.add("barostat", -P * (volume - V), state.n_systems)
