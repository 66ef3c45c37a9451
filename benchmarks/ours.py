"""The engine as a contestant: a simulation from a saved configuration, run and timed."""
import importlib
import os
import time

import numpy as np

from benchmarks.worker import peak_memory
from engine.domain.domain import Domain
from engine.simulation import Simulation
from engine.state import State
from integrators.nve import NVE


class EveryFew(Domain):
    """A domain that rebuilds after a fixed number of force evaluations, as a schedule forced on all contestants."""

    period = 20
    age = 0

    def outdated(self):
        self.age += 1
        return self.neighbors is None or self.age >= self.period

    def rebuild(self):
        super().rebuild()
        self.age = 0


class Engine:
    """One of our simulations, from a configuration that LAMMPS saved. Orders: run, forces, memory."""

    def __init__(self, path, species, masses, potential, skin, timestep, forced=0, precision="double", threads=1,
                 velocity_unit=1.0, thermo=100):
        os.environ["ENGINE_THREADS"] = str(threads)
        data = np.load(path)
        state = State(len(data["x"]), np.diag(data["high"] - data["low"]), [True] * 3, species)
        state.set("positions", data["x"] - data["low"])
        state.set("velocities", data["v"] * velocity_unit)
        state.set("masses", np.array(masses)[data["types"] - 1])
        state.set("species", data["types"] - 1)
        state.set("tags", np.arange(state.n))
        module, name = potential.pop("class").split(":")
        made = getattr(importlib.import_module(module), name)(**potential)
        made.precision = precision
        made.bind(species)
        cutoff = made.capabilities().cutoff
        domain = EveryFew(state, cutoff, skin) if forced else Domain(state, cutoff, skin)
        domain.period = forced
        self.simulation = Simulation(state, made, NVE(timestep), domain=domain, precision=precision)
        self.thermo = []
        self.simulation.attach(self.note, thermo, {"energy", "virial"})

    def note(self, simulation):
        self.thermo.append((simulation.state.step, float(simulation.potential_energy()[0]),
                            float(simulation.kinetic_energy()[0]), float(simulation.pressure_tensor()[0, 0, 0])))

    def run(self, steps):
        before = self.simulation.domain.rebuilds
        begin = time.perf_counter()
        self.simulation.run(steps)
        return {"seconds": time.perf_counter() - begin, "rebuilds": self.simulation.domain.rebuilds - before}

    def forces(self, path):
        """Save forces (n, 3) by tag and the energy at the present positions."""
        simulation, state = self.simulation, self.simulation.state
        simulation.forces.all_levels(frozenset({"energy"}))
        forces = np.empty((state.n, 3))
        forces[state.tags[:state.n]] = simulation.forces.total("forces")
        np.savez(path, f=forces, energy=simulation.potential_energy()[0])
        return {}

    def energies(self):
        return {"thermo": self.thermo}

    def memory(self):
        return {"peak_kB": peak_memory()}

