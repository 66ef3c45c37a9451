"""Drift of the total energy under NVE in each precision mode, beside LAMMPS's: a Lennard-Jones melt and hot copper.

    python -m benchmarks.precision_drift [--steps 100000 40000] [--repeat 6]

All three go on from the same equilibrated state. Printed: the slope of a linear fit to the energy in kT per atom and thousand
steps, its error from block means, and the root mean square about the line in kT per atom.
"""
import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.build import bulk

from benchmarks.lammps_copper import start, write_setfl
from benchmarks.nve_drift import slope
from engine import units
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones

EVERY = 20
EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 8.5


@dataclass
class Matter:
    """atoms(repeat), our potential and LAMMPS's (None: the same from a setfl file), time step in fs, temperature in K."""

    name: str
    atoms: object
    potential: object
    pair: list | None
    timestep: float
    temperature: float


MATTER = (
    Matter("Lennard-Jones melt, cut at 2.5 σ with the force shifted, 10.7 fs",
           lambda n: bulk("Ar", "fcc", a=5.7, cubic=True).repeat(n),
           lambda: LennardJones(epsilon=EPSILON, sigma=SIGMA, cutoff=CUTOFF, truncation="force-shifted"),
           [f"pair_style lj/smooth/linear {CUTOFF}", f"pair_coeff 1 1 {EPSILON} {SIGMA}"], 10.7, 120.0),
    Matter("Cu EAM (Zhou), 2 fs", lambda n: bulk("Cu", "fcc", a=3.65, cubic=True).repeat(n), lambda: ZhouEAM(points=10001), None,
           2.0, 800.0),
)


def equilibrated(matter, repeat):
    thermostat = Langevin(matter.timestep, matter.temperature, 0.02)
    simulation = Simulation.from_atoms(matter.atoms(repeat), matter.potential(), thermostat, temperature=2 * matter.temperature,
                                       seed=5)
    simulation.run(3000)
    return simulation.atoms()


def ours(matter, atoms, precision, steps):
    """Steps and total energies, eV."""
    simulation = Simulation.from_atoms(atoms, matter.potential(), NVE(matter.timestep), precision=precision)
    rows = []
    simulation.attach(lambda s: rows.append((s.state.step, float(s.conserved()[0]))), EVERY, {"energy"})
    simulation.run(steps)
    return np.array(rows).T


def lammps(matter, atoms, steps):
    with tempfile.TemporaryDirectory() as folder:
        write_setfl(Path(folder) / "Cu.setfl")
        lmp = start(atoms, Path(folder) / "Cu.setfl", matter.timestep, matter.pair)
        for line in ("fix 1 all nve", "thermo_style custom step etotal", "run 0 post no"):
            lmp.command(line)
        rows = []
        for step in range(EVERY, steps + 1, EVERY):
            lmp.command(f"run {EVERY} pre no post no")
            rows.append((step, lmp.get_thermo("etotal")))
        lmp.close()
    return np.array(rows).T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs=2, default=[100_000, 40_000], help="of the melt and of copper")
    parser.add_argument("--repeat", type=int, default=6)
    given = parser.parse_args()
    for matter, steps in zip(MATTER, given.steps, strict=True):
        atoms = equilibrated(matter, given.repeat)
        kT = units.kB * matter.temperature
        print(f"{matter.name}, {len(atoms)} atoms, {steps} steps", flush=True)
        for name in ("double", "mixed", "LAMMPS"):
            step, energy = lammps(matter, atoms, steps) if name == "LAMMPS" else ours(matter, atoms, name, steps)
            thousands, energy = step * 1e-3, energy / len(atoms) / kT
            rate, error = slope(thousands, energy)
            rms = np.std(energy - rate * thousands)
            print(f"  {name:7s} {rate:+.1e} ± {error:.0e} kT/atom per 1000 steps, rms {rms:.1e} kT/atom", flush=True)


if __name__ == "__main__":
    main()
