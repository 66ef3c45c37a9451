"""Replica exchange in temperature (Sugita and Okamoto, Chem. Phys. Lett. 314, 141 (1999)).

The S systems of a simulation stand at S temperatures. Every so many steps neighbors s, s + 1 on the ladder swap their
configurations with the probability of eq. 12,

    min(1, exp[(β_s − β_t)(E_s − E_t)]),

and velocities are scaled by √(T_new/T_old), which makes kinetic energies drop out (eq. 11). Even and odd pairs alternate.

| equation | name here |
|---|---|
| β | 1/(kB T), T of the integrator, by system |
| E | potential energy (S,) |

A swap gives the atoms of two systems each other's system number, and their cells: thermostats, sums and output stay
with the temperature. Where systems are spread over ranks the atoms migrate with the rebuild that follows.
"""

from dataclasses import dataclass

import numpy as np

from engine import random, units
from engine.contracts import Updater
from engine.errors import InputError


@dataclass
class ReplicaExchange(Updater):
    """every : steps between two attempts

    walkers (S,) : which of the first configurations is now at each temperature;  tried, accepted (S − 1,) : by pair
    """

    every: int = 100

    touches = frozenset({"positions", "velocities", "cells"})
    walkers = tried = accepted = None

    def act(self, simulation):
        state = simulation.state
        if self.walkers is None:
            self._begin(simulation)
        T = simulation.integrator.at(simulation, simulation.integrator.temperature)
        E = simulation.potential_energy().copy()
        before = simulation.kinetic_energy() + E
        attempt = state.step // self.every
        target = np.arange(state.n_systems)  # where the configuration of each system goes
        for s in range(attempt % 2, state.n_systems - 1, 2):
            delta = (1 / T[s] - 1 / T[s + 1]) / units.kB * (E[s] - E[s + 1])
            self.tried[s] += 1
            if np.log(random.uniform(simulation.seed, random.REPLICA_EXCHANGE, s, state.step, 0, 0)) < delta:
                self.accepted[s] += 1
                target[s], target[s + 1] = s + 1, s
        if (target == np.arange(state.n_systems)).all():
            return 0.0
        system = state.system[: state.n].copy()
        state.velocities[:] *= np.sqrt(T[target] / T)[system][:, None]
        state.set("system", target[system])
        state.cells, state.origin = state.cells[target], state.origin[target]
        if simulation.electric is not None:
            simulation.electric.exchange(target)
        self.walkers = self.walkers[target]
        simulation.domain.invalidate()
        return simulation.kinetic_energy() + E[target] - before

    def _begin(self, simulation):
        state, integrator = simulation.state, simulation.integrator
        if state.n_systems < 2:
            raise InputError("updater 'replica-exchange' needs several systems: temperature = { systems = [300, 330, ...] }")
        if not hasattr(integrator, "temperature") or integrator.barostat is not None:
            raise InputError("updater 'replica-exchange' needs an integrator with a temperature and no barostat, e.g. 'langevin'")
        kinds = np.zeros((state.n, len(state.species_names)))
        kinds[np.arange(state.n), state.species[: state.n]] = 1
        kinds = state.sum_by_system(kinds)
        if (kinds != kinds[0]).any():
            raise InputError("updater 'replica-exchange' needs systems of the same atoms: they cannot be exchanged otherwise")
        self.walkers = np.arange(state.n_systems)
        self.tried, self.accepted = np.zeros(state.n_systems - 1, int), np.zeros(state.n_systems - 1, int)

    def state_dict(self):
        return {} if self.walkers is None else {"walkers": self.walkers, "tried": self.tried, "accepted": self.accepted}

    def load_state_dict(self, tree):
        for name, value in tree.items():
            setattr(self, name, np.array(value))
