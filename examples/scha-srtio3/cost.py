"""What TD-SCHA itself costs beside the forces, and its memory:   python cost.py [atoms configurations ...]

Times everything of a step but the potential (root of A, configurations, averages, kick, drift, and the transport of
positions and forces through the State) for 40 atoms × 1000 configurations and for 1000 modes, on one thread.
"""

import sys
import time

import numpy as np
from ase import Atoms
from threadpoolctl import threadpool_limits

from engine.build import state_from_atoms
from engine.contracts import Capabilities, Potential
from engine.simulation import Simulation
from integrators.gaussian.lattice import Lattice
from integrators.tdscha import TDSCHA


class Nothing(Potential):
    """A potential that costs nothing: harmonic forces are handed over ready-made."""

    def capabilities(self):
        return Capabilities(0.0, lists="none", reach="global", provides=frozenset({"energy", "forces"}))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        pass


def measure(atoms, configurations, steps=5):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, (atoms, 3))
    lattice = Lattice(["O"] * atoms, 10 * np.eye(3), x, np.full(atoms, 16.0), 5.0 * np.eye(3 * atoms)).sum_rule()
    one = Atoms(lattice.symbols, positions=x, cell=lattice.cell, pbc=True)
    simulation = Simulation(state_from_atoms([one] * configurations), Nothing(), seed=1)
    simulation.lattice = lattice
    simulation.set_integrator(TDSCHA(timestep=1.0))
    simulation.run(1)
    start = time.process_time()
    simulation.run(steps)
    seconds = (time.process_time() - start) / steps
    d = 3 * atoms - 3
    ensemble = 8 * configurations * (3 * d + 3 * 3 * atoms)
    print(f"{atoms:5d} atoms × {configurations:5d} configurations ({d} modes): {1000 * seconds:8.1f} ms of one core a step,"
          f" {1e6 * seconds / (atoms * configurations):6.2f} µs an atom and configuration;"
          f" memory about {(ensemble + 8 * 8 * d * d) / 1e6:.0f} MB besides the State's")


if __name__ == "__main__":
    with threadpool_limits(1):
        given = [int(a) for a in sys.argv[1:]] or [20, 200, 20, 1000, 40, 1000, 334, 2000]
        for atoms, configurations in zip(given[::2], given[1::2]):
            measure(atoms, configurations)
