"""The engine as a contestant: a simulation from a saved configuration, run and timed."""
import importlib
import time
from itertools import count

import numpy as np

from benchmarks.worker import peak_memory
from engine.parallel import share_cores, world
from engine.simulation import Simulation
from engine.state import State
from integrators.nve import NVE


def force_schedule(domain, period):
    """Have a domain rebuild at every `period`-th force evaluation, as a schedule forced on all contestants."""
    evaluations = count(1)
    domain.outdated = lambda: next(evaluations) % period == 0 or domain.neighbors is None


class Engine:
    """One of our simulations, from a configuration that LAMMPS saved. Orders: run, forces, memory."""

    def __init__(self, path, species, masses, potential, skin, timestep, forced=0, precision="double", threads=1,
                 velocity_unit=1.0, thermo=100):
        data = np.load(path)
        state = State(len(data["x"]), np.diag(data["high"] - data["low"]), [True] * 3, species)
        state.set("positions", data["x"] - data["low"])
        state.set("velocities", data["v"] * velocity_unit)
        state.set("masses", np.array(masses)[data["types"] - 1])
        state.set("species", data["types"] - 1)
        state.set("tags", np.arange(state.n))
        module, name = potential.pop("class").split(":")
        made = getattr(importlib.import_module(module), name)(**potential)
        share_cores(world(), threads)
        self.simulation = Simulation(state, made, NVE(timestep), skin=skin, precision=precision, comm=world())
        if forced:
            force_schedule(self.simulation.domain, forced)
        self.thermo = []
        self.simulation.attach(self.note, thermo, {"energy", "virial"})

    def note(self, simulation):
        self.thermo.append((simulation.state.step, float(simulation.potential_energy()[0]),
                            float(simulation.kinetic_energy()[0]), float(simulation.pressure_tensor()[0, 0, 0])))

    def run(self, steps):
        before = self.simulation.domain.rebuilds
        begin, cpu = time.perf_counter(), time.process_time()
        self.simulation.run(steps)
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu,
                "rebuilds": self.simulation.domain.rebuilds - before}

    def by_tag(self):
        """Forces (n, 3) by tag, on the first rank."""
        simulation, state = self.simulation, self.simulation.state
        rows = simulation.comm.gather_rows({"tags": state.tags[:state.n], "f": simulation.forces.total("forces")})
        if rows:
            forces = np.empty((len(rows["tags"]), 3))
            forces[rows["tags"]] = rows["f"]
            return forces

    def forces(self, path):
        """Save forces and the energy at the present positions."""
        self.simulation.forces.all_levels(frozenset({"energy"}))
        energy, forces = self.simulation.potential_energy()[0], self.by_tag()
        if forces is not None:
            np.savez(path, f=forces, energy=energy)
        return {}

    def missed(self):
        """Largest change of a force, relative to their rms, when the list is made again: a pair that it had missed."""
        before = self.by_tag()
        self.simulation.domain.invalidate()
        self.simulation.forces.all_levels(frozenset({"energy"}))
        after = self.by_tag()
        return {"change": 0.0 if after is None else float(np.abs(after - before).max() / np.sqrt((after**2).mean()))}

    def energies(self):
        return {"thermo": self.thermo}

    def memory(self):
        return {"peak_kB": peak_memory()}

