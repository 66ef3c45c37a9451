"""Stochastic cell rescaling: constant pressure, first order in time (Bernetti and Bussi, J. Chem. Phys. 153, 114107
(2020); anisotropic: Del Tatto, Raiteri, Bernetti and Bussi, Appl. Sci. 12, 1139 (2022)).

With the cell h (rows are vectors) moving as h → h e^ε, r → r e^ε, p → p e^−ε:

    dε = Π[ −(β/3τ) (P0 − P) dt + √(2 kT β / (3 V τ)) dW ],        P = (Σ m v⊗v + W)/V

Π projects on the strains that may occur: one number (isotropic), the diagonal (anisotropic), a symmetric matrix
(flexible). In the isotropic case tr ε = ln V obeys their eq. 5, d ln V = −(β/τ)(P0 − P)dt + √(2kTβ/Vτ) dW.

Why it samples e^{−P0 V/kT} Z(h): the increments multiply h, so without a drift they leave the Haar measure dh/V³ in
place; relative to it the ensemble (which has dV, or dh/V²) has the weight e^{−F/kT}, F = P0 V − kT ln Z − kT ln V, so
that −∂F/∂ε = V (P − P0) + kT; the mobility M = β/3τV depends on V and adds kT ∂M/∂ε = −kT M, which cancels the last
term. (Written for h itself by Itô's rule, the familiar kT/V comes back.)

| equation | name here |
|---|---|
| P0 | ``pressure``, GPa: a number, a ramp, or components [xx, yy, zz] or [xx, yy, zz, yz, xz, xy] |
| τ | ``time``, fs |
| β | ``compressibility``, 1/GPa (its error changes the relaxation time only) |
| kT | of the thermostat that this barostat goes with |

The account takes the energy that the rescaling gives: the kinetic part exactly, the potential part as −½ (W + W'):ε
with the virials at the two ends of the step in whose middle it happens; the error is of third order in ε.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine import random, units
from engine.config.quantities import Time
from engine.contracts import Stateful
from engine.errors import InputError
from integrators.operators import scale
from integrators.stress import Coupling, PressureTensor, exponential, pressure_at, project, refuse_impossible

MOST_STRAIN = 0.05  # of one rescaling


@njit(cache=True)
def noise(seed, step, systems):
    """Nine standard normal numbers for each system, (S, 3, 3)."""
    out = np.empty((systems, 3, 3))
    for s in range(systems):
        out[s] = random.normals(seed, random.CELL_RESCALING, s, step, 0, 0, 9).reshape(3, 3)
    return out


@dataclass
class CellRescaling(Stateful):
    """Stochastic cell rescaling (see above). time : of relaxation;  compressibility : 1/GPa;  every : steps"""

    pressure: PressureTensor
    time: Time = 1000.0
    compressibility: float = 0.01
    coupling: Coupling = "isotropic"
    every: int = 10

    def start(self, integrator, simulation):
        refuse_impossible(simulation, "barostat 'cell-rescaling'")
        if not hasattr(integrator, "temperature"):
            raise InputError("barostat 'cell-rescaling' needs an integrator with a temperature, e.g. 'langevin' or 'bussi'")
        for name in ("time", "compressibility", "every"):
            if not getattr(self, name) > 0:
                raise InputError(f"barostat 'cell-rescaling': {name} = {getattr(self, name)} must be positive")

    def open(self, simulation):
        """At the begin of the step in whose middle the cell moves: the virial, in an array of its own."""
        self._virial = np.array(simulation.forces.total("virial"))

    def apply(self, simulation, integrator):
        """One step of the cell over `every` steps of the integrator."""
        state = simulation.state
        dt = self.every * integrator.step_length
        V = state.volume[:, None, None]
        P = (state.kinetic_tensor() + self._virial) / V
        P0 = units.GPa * pressure_at(self.pressure, integrator, simulation)
        kT = units.kB * integrator.at(simulation, integrator.temperature)[:, None, None]
        rate = self.compressibility / units.GPa / (3 * self.time) * dt
        kicks = np.sqrt(2 * kT * rate / V) * noise(simulation.seed, state.step, state.n_systems)
        strain = project(-rate * (P0 - P) + kicks, self.coupling)
        if not (np.abs(strain) < MOST_STRAIN).all():
            raise InputError(
                f"step {state.step}: the barostat would strain the cell by {100 * np.abs(strain).max():.0f} % at once; give it "
                "a longer time, a smaller compressibility, or a start nearer to the wanted pressure"
            )
        before = simulation.kinetic_energy()
        scale(state, exponential(strain))
        simulation.account.add("barostat", simulation.kinetic_energy() - before, state.n_systems)
        self._strain = strain

    def close(self, simulation):
        """At the end of the step: what the rescaling gave to the potential energy."""
        mean = 0.5 * (self._virial + simulation.forces.total("virial"))
        simulation.account.add("barostat", -np.einsum("sab,sab->s", mean, self._strain), simulation.state.n_systems)
