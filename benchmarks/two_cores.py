"""What a second core is worth: ours on one core, on two by threads and on two by ranks, turn by turn."""
import os
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import matter
from benchmarks.race import Row, start_lammps, start_ours, turn

GOAL = 1.8
CASES = {"Lennard-Jones melt": (matter.lennard_jones, 20), "Cu EAM": (matter.copper, 20),
         "Si Tersoff": (lambda: matter.silicon("Tersoff"), 16)}


def run(quick, say):
    """Rows whose peer is our own run on one core; the ratio is that of wall times."""
    cores, rows = sorted(os.sched_getaffinity(0))[-2:], []
    if len(cores) < 2:
        print("  left out: there is one core")
        return rows
    for name, (make, cells) in list(CASES.items())[:1 if quick else None]:
        thing, path = make(), Path(tempfile.mkdtemp(prefix="cores-")) / "start.npz"
        lammps, _ = start_lammps(thing, cells, cores[:1], thing.styles[0], thing.skin, True)
        lammps("run", steps=thing.melt)
        lammps("save", path=str(path))
        lammps.close()
        for precision in ("double", "mixed") if "mixed" in thing.goals else ("double",):
            contestants = {"one": start_ours(thing, path, cores[:1], precision, thing.skin, True),
                           "threads": start_ours(thing, path, cores, precision, thing.skin, True, threads=2),
                           "ranks": start_ours(thing, path, cores, precision, thing.skin, True)}
            forces = {}
            for how, worker in contestants.items():
                worker("forces", path=str(path.parent / "forces.npz"))
                forces[how] = np.load(path.parent / "forces.npz")["f"]
            steps, atoms = 200, len(forces["one"])
            seconds = turn(contestants, steps, "seconds")
            for worker in contestants.values():
                worker.close()
            for how in ("threads", "ranks"):
                ratios = [a / b for a, b in zip(seconds["one"], seconds[how], strict=True)]
                speed = {k: atoms * steps / median(seconds[k]) / 1e6 for k in seconds}
                rows.append(Row(f"{name}, two {how}", atoms, 2, precision, "forced", "ours on one core", speed[how], speed["one"],
                                "M atom-step/s", median(ratios), (min(ratios), max(ratios)),
                                float(np.abs(forces[how] - forces["one"]).max()), GOAL))
                say(rows[-1])
    return rows
