"""Nosé–Hoover chains (Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992)), propagated by the symmetric
splitting of Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996), eqs. 29–35, with Yoshida's weights.

    dv = −v p_1/Q_1,   dη_k = p_k/Q_k,   dp_1 = 2K − f kT − p_1 p_2/Q_2,   dp_k = p_{k−1}²/Q_{k−1} − kT − p_k p_{k+1}/Q_{k+1}

    conserved:  K + U + Σ p_k²/2Q_k + f kT η_1 + kT Σ_{k>1} η_k

| equation | name here |
|---|---|
| Q_1 = f kT τ², Q_k = kT τ² | from ``time`` = τ, fs; at the temperature of the step (masses follow a ramp) |
| p_k/Q_k | ``rates`` (S, chain), 1/time: kept instead of the momenta |
| η_k | ``turns`` (S, chain) |
| f | degrees of freedom |

The thermostat's own step is symmetric, and sits in the middle of the flight. What it gives to K is counted like that
of any thermostat; `reservoir` is the chain's energy, which must be minus that (up to its own splitting, and only at
constant temperature): the tests hold it to it.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine import units
from engine.config.quantities import Temperature, Time
from engine.config.ramp import ramped
from engine.errors import InputError
from integrators.composition import Composition
from integrators.operators import refuse_rest, rescale

THIRD = 1.0 / (2.0 - 2.0 ** (1 / 3))
YOSHIDA = np.array([THIRD, 1.0 - 2.0 * THIRD, THIRD])  # fourth order


@njit(cache=True, error_model="numpy")
def chain_step(K, f, kT, Q, rates, turns, weights, dt):
    """Chain and kinetic energy over `dt`, one system; rates and turns (chain,) change; returns the velocity's factor."""
    last = rates.shape[0] - 1
    factor = 1.0
    for weight in weights:
        h = weight * dt
        for k in range(last, -1, -1):
            _push(k, K * factor * factor, f, kT, Q, rates, h)
        for k in range(last + 1):
            turns[k] += rates[k] * h
        factor *= np.exp(-rates[0] * h)
        for k in range(last + 1):
            _push(k, K * factor * factor, f, kT, Q, rates, h)
    return factor


@njit(cache=True, error_model="numpy")
def _push(k, K, f, kT, Q, rates, h):
    """Half a step of rate k: pushed by what it thermostats, damped (twice a quarter) by the next one."""
    drive = 2.0 * K - f * kT if k == 0 else Q[k - 1] * rates[k - 1] * rates[k - 1] - kT
    damp = np.exp(-0.25 * h * rates[k + 1]) if k + 1 < rates.shape[0] else 1.0
    rates[k] = (rates[k] * damp + 0.5 * h * drive / Q[k]) * damp


@dataclass
class NoseHoover(Composition):
    """timestep in fs, temperature in K (may be a ramp), time (the chain's period, over 2π) in fs, chain length."""

    timestep: Time
    temperature: ramped(Temperature)
    time: Time = 100.0
    chain: int = 3
    barostat: object = None

    def __post_init__(self):
        self.rates = self.turns = None

    def start(self, simulation):
        super().start(simulation)
        if not self.time > 0 or self.chain < 1:
            raise InputError(f"nose-hoover: time = {self.time} (fs) must be positive and chain = {self.chain} at least 1")
        if self.rates is None:
            self.rates = np.zeros((simulation.state.n_systems, self.chain))
            self.turns = np.zeros_like(self.rates)

    def masses(self, f, kT):
        """Q (S, chain)"""
        Q = np.repeat((kT * (self.time * units.fs) ** 2)[:, None], self.chain, axis=1)
        Q[:, 0] *= f
        return Q

    def thermostat(self, simulation, dt):
        state = simulation.state
        K, f = simulation.kinetic_energy(), simulation.degrees_of_freedom()
        kT = units.kB * self.at(simulation, self.temperature)
        if not (kT > 0).all():
            raise InputError(f"step {state.step}: nose-hoover needs a temperature above 0 K")
        refuse_rest(state, K, f, kT, "nose-hoover")
        Q = self.masses(f, kT)
        factor = np.array([
            chain_step(K[s], f[s], kT[s], Q[s], self.rates[s], self.turns[s], YOSHIDA, dt) if f[s] > 0 else 1.0
            for s in range(state.n_systems)
        ])
        rescale(state.velocities, state.system, factor)
        simulation.account.add("thermostat", (factor**2 - 1) * K, state.n_systems)

    def reservoir(self, simulation):
        """Energy of the chain (S,) eV at the present step's temperature."""
        f, kT = simulation.degrees_of_freedom(), units.kB * self.at(simulation, self.temperature)
        weights = np.repeat(kT[:, None], self.chain, axis=1)
        weights[:, 0] *= f
        return (0.5 * self.masses(f, kT) * self.rates**2 + weights * self.turns).sum(1)

    def state_dict(self):
        return {**super().state_dict(), "rates": self.rates, "turns": self.turns}

    def load_state_dict(self, tree):
        super().load_state_dict(tree)
        self.rates, self.turns = np.array(tree["rates"]), np.array(tree["turns"])
