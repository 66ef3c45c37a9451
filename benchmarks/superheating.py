"""Where the copper example melts, ours beside the same run in LAMMPS, over several seeds.

    python -m benchmarks.superheating [--seeds 5] [--folder runs]

The crystal of ``examples/copper`` is heated at zero pressure from 600 to 2400 K in 60 ps. At 30 K/ps the result hangs on
how fast the cell follows the melt's expansion, so "the same run" includes the barostat: LAMMPS has no stochastic cell
rescaling, but its press/berendsen is the same equation, d ln V = −(β/τ)(P0 − P) dt, without the noise. Beside it stands
LAMMPS with Nosé–Hoover's of the same relaxation time, which is of second order and oscillates.

The crystal has melted when half of it is gone, by either of two measures, one code for all runs:

- energy: the potential energy is halfway between the crystal's (a parabola) and the melt's (a line), both extrapolated;
- order: |Σ_j e^{iG·r_j}|/N, mean over the four G = {111}, is below 0.4 (0.7 in the hot crystal, 0.02 in the melt).

Both are means over 1 ps.

Printed are the thermostat's temperature then, and the atoms' own (mean over the 2 ps around it; it lags because melting
takes heat). With ``--folder`` runs are kept, and those that are there are not repeated.
"""

import argparse
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
FRICTION, TAU, BETA = 0.005, 500.0, 0.01  # 1/fs, fs, 1/GPa: those of the example
BERENDSEN = ["nve", f"press/berendsen iso 0 0 {TAU / 1000} modulus {1e4 / BETA}"]  # bar
MELTED_ORDER = 0.4


def crystal(seed, repeat):
    state = state_from_atoms(bulk("Cu", cubic=True, a=3.615) * ((repeat,) * 3))
    thermalise(state, COLD, seed)
    return state


def order(fractional, repeat):
    """|Σ e^{iG·r}|/N, mean over the {111} of a cube of `repeat` cells; fractional (n, 3)."""
    G = 2 * np.pi * repeat * np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    return float(np.abs(np.exp(1j * fractional @ G.T).mean(0)).mean())


def ours(seed, repeat):
    """Rows of potential energy (eV/atom), temperature (K), order, volume (Å³/atom)."""
    sim = Simulation(crystal(seed, repeat), ZhouEAM(points=10001), seed=seed)
    barostat = CellRescaling(pressure=0.0, time=TAU, compressibility=BETA)
    sim.set_integrator(Langevin(STEP, COLD, FRICTION, barostat))
    sim.run(SETTLE)
    sim.set_integrator(Langevin(STEP, Ramp(COLD, HOT), FRICTION, barostat))
    rows = []

    def look(s):
        state = s.state
        fractional = state.positions[: state.n] @ np.linalg.inv(state.cells[0])
        rows.append((s.potential_energy()[0] / state.n, s.temperature()[0], order(fractional, repeat), state.volume[0] / state.n))

    sim.attach(look, EVERY, {"energy"})
    sim.run(HEAT)
    return np.array(rows)


def lammps(seed, repeat, barostat=BERENDSEN):
    """The same rows from LAMMPS: fix langevin, and a barostat of its own."""
    atoms = Simulation(crystal(seed, repeat), ZhouEAM(points=10001)).atoms()
    n, rows = len(atoms), []
    with tempfile.TemporaryDirectory() as folder:
        write_setfl(Path(folder) / "Cu.setfl")
        lmp = start(atoms, Path(folder) / "Cu.setfl", STEP)
    for k, line in enumerate(barostat):
        lmp.command(f"fix {k + 1} all {line}")
    lmp.command("thermo_style custom step temp pe press vol")
    langevin = f"fix 9 all langevin {COLD} {{}} {1e-3 / FRICTION} {{}}"
    lmp.command(langevin.format(COLD, seed + 1000))
    lmp.command(f"run {SETTLE}")
    lmp.command(langevin.format(HOT, seed + 2000))
    for done in range(0, HEAT, EVERY):
        # "pre no": else each piece begins with new random forces beside those it ended with, and their halves heat less
        pre = "no" if done else "yes"
        lmp.command(f"run {EVERY} start {SETTLE} stop {SETTLE + HEAT} pre {pre} post no")
        low, high = (np.array(edge) for edge in lmp.extract_box()[:2])
        fractional = (np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3) - low) / (high - low)
        kelvin = lmp.get_thermo("temp") * (n - 1) / n  # of 3n degrees of freedom: the thermostat moves the centre too
        rows.append((lmp.get_thermo("pe") / n, kelvin, order(fractional, repeat), lmp.get_thermo("vol") / n))
    lmp.close()
    return np.array(rows)


def melting(rows):
    """(set, measured) temperature by energy, then (set, measured) by order."""
    T = np.linspace(COLD, HOT, len(rows) + 1)[1:]
    energy, kelvin, ordered = rows[:, 0], rows[:, 1], rows[:, 2]
    cold, melt = (ordered > 0.7) & (T > 700), ordered < 0.1
    if melt.sum() < 10:
        return (np.nan,) * 4
    solid = np.polyval(np.polyfit(T[cold], energy[cold], 2), T)
    liquid = np.polyval(np.polyfit(T[melt], energy[melt], 1), T)
    half = round(1e3 / (STEP * EVERY))  # rows in 1 ps
    result = []
    for beyond in (energy - 0.5 * (solid + liquid), MELTED_ORDER - ordered):
        k = int(np.argmax(np.convolve(beyond, np.ones(half) / half, "same") > 0))
        result += [T[k], kelvin[k - half : k + half + 1].mean()]
    return tuple(result)


RUNS = {
    "ours": ours,
    "LAMMPS": lammps,
    "LAMMPS, Nose-Hoover": lambda seed, repeat: lammps(seed, repeat, [f"nph iso 0 0 {TAU / 1000}"]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--folder", help="where runs are kept")
    given = parser.parse_args()
    found = {name: [] for name in RUNS}
    for name, run in RUNS.items():
        for seed in range(1, given.seeds + 1):
            kept = given.folder and Path(given.folder) / f"{name.replace(',', '').replace(' ', '-')}.{seed}.txt"
            rows = np.loadtxt(kept) if kept and kept.exists() else run(seed, given.repeat)
            if kept:
                kept.parent.mkdir(exist_ok=True)
                np.savetxt(kept, rows)
            found[name].append(melting(rows))
            print(f"seed {seed}  {name:25s}" + " ".join(f"{t:6.0f}" for t in found[name][-1]), flush=True)
    print(f"{'':25s} | by energy: set, measured | by order: set, measured (mean ± error, spread)")
    table = {name: np.array(values) for name, values in found.items()}
    for name, t in table.items():
        error, spread = t.std(0, ddof=1) / np.sqrt(len(t)), t.std(0, ddof=1)
        print(f"{name:25s} | " + " | ".join(f"{m:.0f} ± {e:.0f}, {s:.0f}" for m, e, s in zip(t.mean(0), error, spread)))
    for name in list(RUNS)[1:]:
        a, b = table["ours"], table[name]
        error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
        print(f"ours − {name:18s} | " + " | ".join(f"{d:.0f} ± {e:.0f}" for d, e in zip(a.mean(0) - b.mean(0), error)))


if __name__ == "__main__":
    main()
