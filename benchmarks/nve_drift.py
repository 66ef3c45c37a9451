"""Drift of the total energy of copper under NVE, ours beside LAMMPS's, from the same equilibrated state.

    python -m benchmarks.nve_drift [--temperatures 300 1200] [--steps 50000]

4000 atoms, 2 fs, 100 ps by default. Printed: the slope of a linear fit to the energy, eV/atom/ps, and its error from
the residuals of block means.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk

from benchmarks.lammps_copper import start, write_setfl
from engine.build import state_from_atoms, thermalise
from engine.simulation import Simulation
from integrators.cell_rescaling import CellRescaling
from integrators.langevin import Langevin
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM


def slope(time, energy, blocks=20):
    """Slope and its standard error: least squares on block means, whose residuals are taken as independent."""
    t = np.array([b.mean() for b in np.array_split(time, blocks)])
    e = np.array([b.mean() for b in np.array_split(energy, blocks)])
    t = t - t.mean()
    b = t @ (e - e.mean()) / (t @ t)
    left = e - e.mean() - b * t
    return b, np.sqrt(left @ left / (blocks - 2) / (t @ t))


def equilibrated(temperature, timestep, repeat):
    """Copper at zero pressure and `temperature`: 10 ps of Langevin and cell rescaling, then 10 ps at fixed volume."""
    state = state_from_atoms(bulk("Cu", cubic=True, a=3.615 * (1 + 1.8e-5 * temperature)) * ((repeat,) * 3))
    thermalise(state, 2 * temperature, 1)
    sim = Simulation(state, ZhouEAM(points=10001), None, seed=11)
    sim.set_integrator(Langevin(timestep=timestep, temperature=temperature, friction=0.01, barostat=CellRescaling(0.0, 500.0)))
    sim.run(int(10_000 / timestep))
    sim.set_integrator(Langevin(timestep=timestep, temperature=temperature, friction=0.01))
    sim.run(int(10_000 / timestep))
    return sim.atoms()


def ours(atoms, timestep, steps, every):
    state = state_from_atoms(atoms)
    sim = Simulation(state, ZhouEAM(points=10001), NVE(timestep=timestep))
    rows = []
    sim.attach(lambda s: rows.append((s.kinetic_energy() + s.potential_energy())[0] / state.n), every, {"energy"})
    sim.run(steps)
    return np.array(rows), float(sim.temperature()[0])


def lammps(atoms, timestep, steps, every):
    with tempfile.TemporaryDirectory() as folder:
        write_setfl(Path(folder) / "Cu.setfl")
        lmp = start(atoms, Path(folder) / "Cu.setfl", timestep)
        for line in ("fix 1 all nve", "thermo_style custom step pe ke etotal temp", "run 0"):
            lmp.command(line)
        rows = [lmp.get_thermo("etotal") / len(atoms)]
        for _ in range(steps // every):
            lmp.command(f"run {every} pre no post no")
            rows.append(lmp.get_thermo("etotal") / len(atoms))
        temperature = lmp.get_thermo("temp")
        lmp.close()
    return np.array(rows), temperature


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 1200.0])
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--timestep", type=float, default=2.0)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--save")
    given = parser.parse_args()
    results, every = [], 50
    print(f"{4 * given.repeat**3} atoms, {given.timestep} fs, {given.steps * given.timestep / 1000:g} ps; eV/atom/ps")
    for T in given.temperatures:
        atoms = equilibrated(T, given.timestep, given.repeat)
        for name, run in (("ours", ours), ("LAMMPS", lammps)):
            energy, reached = run(atoms, given.timestep, given.steps, every)
            time = np.arange(len(energy)) * every * given.timestep / 1000
            b, error = slope(time, energy)
            print(
                f"{T:6.0f} K  {name:7s} {b: .2e} ± {error:.1e}   (rms fluctuation {energy.std():.1e} eV/atom, {reached:.0f} K)",
                flush=True,
            )
            results.append(
                {
                    "temperature": T,
                    "code": name,
                    "slope": b,
                    "error": error,
                    "rms": float(energy.std()),
                    "energies": energy.tolist(),
                }
            )
    if given.save:
        Path(given.save).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
