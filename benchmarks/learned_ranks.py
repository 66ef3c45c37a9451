"""A learned model on several ranks, and on as many threads of one, beside one core: the same forces, the same run, and what the
engine itself costs of a step.

    python -m benchmarks.learned_ranks water/ --structure water.xyz --replicate 4 4 4 [--cores 2] [--steps 1000] [--keep]

One process on one core, `--cores` ranks of one core each, and one process with `--cores` threads take the first frame,
replicated, at 300 K through `--steps` steps of 0.5 fs at constant energy. Shown: ms a step; the engine's own share of it,
everything that is not the model's kernel: integration, lists, ghosts, messages and waiting for the other rank; and the
largest difference of forces at the beginning and of positions on the way (neighbouring trajectories of a liquid part
exponentially, so single precision leaves its trace).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LOOKS = (1, 10, 100, 300, 1000, 3000)


class Timed:
    """A runner, and the time spent in it."""

    def __init__(self, runner):
        self.runner, self.seconds = runner, 0.0

    def __getattr__(self, name):
        return getattr(self.runner, name)

    def __call__(self, *given, **named):
        start = time.perf_counter()
        try:
            return self.runner(*given, **named)
        finally:
            self.seconds += time.perf_counter() - start


def work(given):
    """One rank's part; rank 0 writes what it found."""
    from ase.io import read

    from engine.parallel import share_cores, world
    from engine.simulation import Simulation
    from integrators.nve import NVE
    from plugins.equivariant.potential import Equivariant

    comm = world()
    if given.threads == 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[comm.rank % len(os.sched_getaffinity(0))]})
    share_cores(comm, given.threads)
    potential = Equivariant(given.model)
    simulation = Simulation.from_atoms(read(given.structure, "0") * tuple(given.replicate), potential, NVE(0.5),
                                       temperature=300.0, seed=1, comm=comm)
    found = {"forces": simulation.array("forces"), "energy0": simulation.conserved()[0]}  # compiles, too
    potential._runner = runner = Timed(potential._runner)
    seconds = taken = 0.0
    for stop in [*(k for k in LOOKS if k < given.steps), given.steps]:
        comm.barrier()
        start = time.perf_counter()
        simulation.run(stop - int(taken))
        seconds, taken = seconds + time.perf_counter() - start, stop
        found[f"positions{stop}"] = simulation.array("unwrapped")
    found |= {"energy1": simulation.conserved()[0], "temperature": simulation.temperature()[0], "ms": 1e3 * seconds / taken,
              "busiest": 1e3 * comm.max(runner.seconds) / taken, "model": 1e3 * comm.sum(runner.seconds) / comm.size / taken}
    if comm.rank == 0:
        np.savez(given.work, **found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--structure", required=True)
    parser.add_argument("--replicate", type=int, nargs=3, default=[4, 4, 4])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--keep", action="store_true", help="write ms a step into the results")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(given)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, ranks, threads in (("one core", 1, 1), (f"{given.cores} ranks", given.cores, 1),
                                     (f"{given.cores} threads", 1, given.cores)):
            out = Path(folder, f"{name}.npz")
            command = [sys.executable, "-m", "benchmarks.learned_ranks", *sys.argv[1:], "--work", str(out),
                       "--threads", str(threads)]
            launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] if ranks > 1 else []
            subprocess.run([*launcher, *command], check=True, cwd=Path(__file__).parents[1])
            rows[name] = dict(np.load(out))
    report(rows, given)


def report(rows, given):
    one = next(iter(rows.values()))
    n = len(one["forces"])
    print(f"{n} atoms, {given.steps} steps; largest force {np.abs(one['forces']).max():.2f} eV/Å")
    for name, row in rows.items():
        own, busy = 1 - row["model"] / row["ms"], 1 - row["busiest"] / row["ms"]
        print(f"{name}: {row['ms']:.2f} ms a step, of it {row['model']:.2f} in the model ({row['busiest']:.2f} on the busiest "
              f"rank); the engine's own share {own:.1%}, without waiting for the busiest {busy:.1%}; energy drifted by "
              f"{(row['energy1'] - row['energy0']) / n:.1e} eV/atom, at {row['temperature']:.1f} K")
        if row is one:
            continue
        apart = {k.removeprefix("positions"): float(np.abs(one[k] - row[k]).max()) for k in one if k.startswith("positions")}
        print(f"  speed-up {one['ms'] / row['ms']:.2f}; forces at the beginning differ by at most "
              f"{np.abs(one['forces'] - row['forces']).max():.1e} eV/Å, positions by, in Å: "
              + ", ".join(f"{d:.1e} after {k} steps" for k, d in apart.items()))
    if given.keep:
        from benchmarks.learned_speed import keep

        keep([{"what": f"step of {n} atoms of water on {name}, beside one", "ours": float(row["ms"]), "theirs": float(one["ms"]),
               "goal": "1.8", "command": "learned_ranks.py"} for name, row in rows.items() if row is not one])


if __name__ == "__main__":
    main()
