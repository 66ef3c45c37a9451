"""Where the copper example melts, ours beside the same run in LAMMPS, over several seeds.

    python -m benchmarks.superheating [--seeds 5]

The crystal of ``examples/copper`` is heated at zero pressure from 600 to 2400 K in 60 ps. It melts in the 2 ps in which
its potential energy rises most; printed is the thermostat's temperature then. LAMMPS runs its own Langevin thermostat and
Nosé–Hoover barostat with the same relaxation times, from the same atoms, on the same tables.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk

from benchmarks.lammps_copper import start, write_setfl
from engine.build import state_from_atoms, thermalise
from engine.config.ramp import Ramp
from engine.simulation import Simulation
from integrators.cell_rescaling import CellRescaling
from integrators.langevin import Langevin
from potentials.eam.zhou import ZhouEAM

COLD, HOT, SETTLE, HEAT, STEP, EVERY = 600.0, 2400.0, 2000, 30_000, 2.0, 100
WINDOW = 10  # rows: 2 ps
LEAST_RISE = 0.04  # eV/atom; the warming crystal rises by 0.014 in this time


def crystal(seed, repeat):
    state = state_from_atoms(bulk("Cu", cubic=True, a=3.615) * ((repeat,) * 3))
    thermalise(state, COLD, seed)
    return state


def ours(seed, repeat):
    sim = Simulation(crystal(seed, repeat), ZhouEAM(points=10001), seed=seed)
    barostat = CellRescaling(pressure=0.0, time=500.0)
    sim.set_integrator(Langevin(STEP, COLD, 0.005, barostat))
    sim.run(SETTLE)
    sim.set_integrator(Langevin(STEP, Ramp(COLD, HOT), 0.005, barostat))
    energies = []
    sim.attach(lambda s: energies.append(s.potential_energy()[0] / s.state.n), EVERY, {"energy"})
    sim.run(HEAT)
    return np.array(energies)


def lammps(seed, repeat):
    sim = Simulation(crystal(seed, repeat), ZhouEAM(points=10001))
    atoms = sim.atoms()
    with tempfile.TemporaryDirectory() as folder:
        write_setfl(Path(folder) / "Cu.setfl")
        lmp = start(atoms, Path(folder) / "Cu.setfl", STEP)
        for line in (
            "fix 1 all nph iso 0 0 0.5",
            f"fix 2 all langevin {COLD} {COLD} 0.2 {seed + 1000}",
            "thermo_style custom step pe temp",
            f"run {SETTLE}",
            "unfix 2",
            f"fix 2 all langevin {COLD} {HOT} 0.2 {seed + 2000}",
        ):
            lmp.command(line)
        energies = []
        for _ in range(HEAT // EVERY):
            lmp.command(f"run {EVERY} start {SETTLE} stop {SETTLE + HEAT} post no")
            energies.append(lmp.get_thermo("pe") / len(atoms))
        lmp.close()
    return np.array(energies)


def melting(energies):
    """The thermostat's temperature in the middle of the 2 ps in which the potential energy rises most."""
    T = np.linspace(COLD, HOT, len(energies))
    rise = energies[WINDOW:] - energies[:-WINDOW]
    k = int(np.argmax(rise))
    if rise[k] < LEAST_RISE:
        return float("nan")
    return float(0.5 * (T[k] + T[k + WINDOW]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--save")
    parser.add_argument("--read", help="what an earlier run saved, instead of running")
    given = parser.parse_args()
    found = {"ours": [], "LAMMPS": []}
    for seed in range(1, given.seeds + 1):
        for name, run in (("ours", ours), ("LAMMPS", lammps)):
            if given.read:
                energies = np.array(json.loads(Path(given.read).with_suffix(f".{name}.{seed}.json").read_text()))
            else:
                energies = run(seed, given.repeat)
            found[name].append(melting(energies))
            print(f"seed {seed}  {name:7s} {found[name][-1]:6.0f} K", flush=True)
            if given.save:
                Path(given.save).with_suffix(f".{name}.{seed}.json").write_text(json.dumps(energies.tolist()))
    for name, T in found.items():
        print(
            f"{name:7s} {np.mean(T):6.0f} K, spread {np.std(T, ddof=1):.0f} K, error of the mean {np.std(T, ddof=1) / np.sqrt(len(T)):.0f} K"
        )
    a, b = (np.array(found[k]) for k in found)
    error = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))
    print(f"difference {a.mean() - b.mean():.0f} ± {error:.0f} K")


if __name__ == "__main__":
    main()
