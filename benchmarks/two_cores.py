"""What a second core is worth: ours on one core, on two by threads and on two by ranks, turn by turn.

Beside them what the machine allows: loops that share nothing (``benchmarks.loops``), two copies of our run at once, each
with a core to itself, which share only caches and memory, and LAMMPS on two ranks.
"""
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import matter
from benchmarks.loops import LOOPS
from benchmarks.race import Row, start_lammps, start_ours, turn
from benchmarks.worker import Contestant

GOAL, STEPS = 1.8, 200
CASES = {"Lennard-Jones melt": (matter.lennard_jones, 20), "Cu EAM": (matter.copper, 20),
         "Si Tersoff": (lambda: matter.silicon("Tersoff"), 16)}


class Both:
    """Two contestants that do everything at once, as one that takes as long as the slower and does twice as much."""

    def __init__(self, *workers):
        self.workers = workers
        self.pool = ThreadPoolExecutor(len(workers))

    def __call__(self, order, **arguments):
        answers = list(self.pool.map(lambda worker: worker(order, **arguments), self.workers))
        return {"seconds": max(answer["seconds"] for answer in answers) / len(answers)} if order == "run" else {}

    def close(self):
        for worker in self.workers:
            worker.close()


def compared(seconds, one, other):
    """The gain of `other` over `one` in every round: median and extremes."""
    ratios = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
    return median(ratios), (min(ratios), max(ratios))


def start_loop(name, core):
    worker = Contestant("benchmarks.loops:Loop", [core])
    worker("make", name=name)
    return worker


def loops(cores, say):
    """Rows of loops on one core and on both: the most that anything can gain here."""
    rows = []
    for name in LOOPS:
        contestants = {"one": start_loop(name, cores[0]), "both": Both(*(start_loop(name, core) for core in cores))}
        seconds = turn(contestants, STEPS, "seconds", warm_up=20)
        for worker in contestants.values():
            worker.close()
        speed = {k: STEPS / median(seconds[k]) for k in seconds}
        rows.append(Row(f"separate loops bound by {name}", 0, 2, "double", "-", "one of them on one core", speed["both"],
                        speed["one"], "loops/s", *compared(seconds, "one", "both"), 0.0))
        say(rows[-1])
    return rows


def run(quick, say):
    """Rows whose peer is the same on one core; the ratio is that of wall times for the same work."""
    cores = sorted(os.sched_getaffinity(0))[-2:]
    if len(cores) < 2:
        print("  left out: there is one core")
        return []
    rows = loops(cores, say)
    for name, (make, cells) in list(CASES.items())[:1 if quick else None]:
        thing, folder = make(), Path(tempfile.mkdtemp(prefix="cores-"))
        path, data = folder / "start.npz", folder / "start.data"
        lammps, version = start_lammps(thing, cells, cores[:1], thing.styles[0], thing.skin, True)
        lammps("run", steps=thing.melt)
        lammps("save", path=str(path))
        lammps("commands", lines=[f"write_data {data} nocoeff"])
        lammps.close()
        for precision in ("double", "mixed") if "mixed" in thing.goals else ("double",):
            ours = partial(start_ours, thing, path, precision=precision, skin=thing.skin, forced=True)
            contestants = {"one": ours(cores=cores[:1]), "two threads": ours(cores=cores, threads=2),
                           "two ranks": ours(cores=cores)}
            forces = {}
            for how, worker in contestants.items():
                worker("forces", path=str(folder / "forces.npz"))
                forces[how] = np.load(folder / "forces.npz")["f"]
            contestants["two copies at once"] = Both(*(ours(cores=[core]) for core in cores))
            peers = {}
            if precision == "double":
                peers = {f"LAMMPS, {k + 1} rank{'s' * k}":
                         start_lammps(thing, cells, cores[:k + 1], thing.styles[0], thing.skin, True, data)[0] for k in range(2)}
            seconds = turn(contestants | peers, STEPS, "seconds")
            for worker in (contestants | peers).values():
                worker.close()
            atoms = len(forces["one"])
            pairs = [("one", how) for how in list(contestants)[1:]] + ([tuple(peers)] if peers else [])
            for one, how in pairs:
                speed = [atoms * STEPS / median(seconds[k]) / 1e6 for k in (how, one)]
                difference = float(np.abs(forces[how] - forces["one"]).max()) if how in forces else 0.0
                rows.append(Row(f"{name}, {how}", atoms, 2, precision, "forced",
                                "ours on one core" if one == "one" else f"LAMMPS {version} on one core", *speed,
                                "M atom-step/s", *compared(seconds, one, how), difference, GOAL if how in forces else None))
                say(rows[-1])
    return rows
