"""Drift of the total energy under NVE in each precision mode: a Lennard-Jones melt and hot copper.

    python -m benchmarks.precision_drift [--steps 20000] [--repeat 8]

Printed: the slope of a linear fit to the energy in kT per atom and thousand steps, its error from block means, and the root
mean square about the line in kT per atom.
"""
import argparse

import numpy as np
from ase.build import bulk

from benchmarks.nve_drift import slope
from engine import units
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones

MATTER = {  # atoms, potential, time step in fs, temperature in K
    "Lennard-Jones melt, cut at 2.5 σ with the force shifted": (
        lambda n: bulk("Ar", "fcc", a=5.7, cubic=True).repeat(n),
        lambda: LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5, truncation="force-shifted"), 5.0, 120.0),
    "Cu EAM (Zhou)": (lambda n: bulk("Cu", "fcc", a=3.65, cubic=True).repeat(n), ZhouEAM, 2.0, 800.0),
}


def drift(atoms, potential, timestep, temperature, precision, steps):
    sim = Simulation.from_atoms(atoms, potential(), Langevin(timestep, temperature, 0.02), temperature=2 * temperature, seed=5,
                                precision=precision)
    sim.run(1000)
    sim.set_integrator(NVE(timestep))
    step, energy = [], []
    sim.attach(lambda s: (step.append(s.state.step), energy.append(float(s.conserved()[0]))), 20, {"energy"})
    sim.run(steps)
    kT, step = units.kB * temperature, np.array(step) * 1e-3
    energy = np.array(energy) / len(atoms) / kT
    rate, error = slope(step, energy)
    return rate, error, np.std(energy - rate * step)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--repeat", type=int, default=8)
    given = parser.parse_args()
    for name, (atoms, potential, timestep, temperature) in MATTER.items():
        for precision in ("double", "mixed"):
            rate, error, spread = drift(atoms(given.repeat), potential, timestep, temperature, precision, given.steps)
            print(f"{name}, {precision}: {rate:+.1e} ± {error:.0e} kT/atom per 1000 steps, rms {spread:.1e} kT/atom", flush=True)


if __name__ == "__main__":
    main()
