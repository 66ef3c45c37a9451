"""`engine estimate` against ten runs: models, ensembles and sizes that the calibration did not measure.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.estimate [--rounds 3]

Every calibration and every run is a process of its own, as they are for a person, since a process remembers its largest
memory. With one thread, times are the process's own, so other work on the machine disturbs them only through shared caches.
A run is `engine run`'s: output and rebuilds included; its second half counts, when all kernels are loaded. Machines change their
speed from minute to minute, by more than is asked of an estimate: calibrations and runs take turns, the median of each counts,
and how far the rounds of one run are apart is printed beside the error.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np

ARGON = dict(system=dict(crystal=dict(structure="fcc", species="Ar", a=5.4), velocities=dict(temperature=80)),
             potential=dict(kind="lj", epsilon=0.0104, sigma=3.4, cutoff=8.5),
             stage=dict(integrator="nve", timestep=4.0))
COPPER = dict(system=dict(crystal=dict(structure="fcc", species="Cu", a=3.64), velocities=dict(temperature=600)),
              potential=dict(kind="eam/zhou"), stage=dict(integrator="langevin", timestep=2.0, temperature=300, friction=0.005))
SALT = dict(system=dict(crystal=dict(structure="rocksalt", species="NaCl", a=5.64), charges=dict(Na=1.0, Cl=-1.0),
                        velocities=dict(temperature=600)),
            potentials=dict(core=dict(kind="buckingham", cutoff=7.0, A=1000.0, rho=0.32, C=10.0, truncation="force-shifted"),
                            coulomb=dict(kind="dsf", cutoff=8.0, alpha=0.25)),
            stage=dict(integrator="bussi", timestep=2.0, temperature=300, time=100))
LEVELS = dict(system=COPPER["system"],
              potentials=dict(eam=dict(kind="eam/zhou"),
                              pair=dict(kind="morse", depth=0.0302, alpha=1.969, r0=3.009, cutoff=3.3,
                                        truncation="force-shifted")),
              stage=dict(integrator="nve", timestep=2.0, levels=[dict(every=1, potentials=dict(pair=1)),
                                                                 dict(every=4, potentials=dict(eam=1, pair=-1))]))
CASES = {"LJ argon": (ARGON, (8, 13, 20)), "EAM copper, Langevin": (COPPER, (8, 13, 20)),
         "rock salt, two pair forces, Bussi": (SALT, (6, 15)), "copper at two time steps": (LEVELS, (9, 16))}


def raw(case, repeat, steps):
    tables = {k: dict(v) for k, v in case.items()}
    stage = tables.pop("stage")
    return tables | {"system": tables["system"] | {"replicate": [repeat] * 3}, "stage": [stage | {"steps": steps}],
                     "output": {"file": "run.h5md", "thermo": 100, "trajectory": 500}, "run": {"seed": 1}}


def predicted(case, repeats):
    """{repeat: [s a step, bytes]}"""
    from engine.run import Run
    from plugins.estimate import calibration

    found, _ = calibration.for_input(Run(raw(case, 1, 1)), again=True)
    atoms = Run(raw(case, 1, 1)).build().state.n
    return {r: [found.step(atoms * r**3), found.memory(atoms * r**3)] for r in repeats}


def measured(case, repeat, seconds):
    """[s a step, bytes, atoms] of a run of about `seconds` a step times so many steps."""
    from engine.memory import peak
    from engine.run import Run
    from plugins.estimate.clock import clock

    run, marks = Run(raw(case, repeat, int(np.clip(4.0 / seconds, 40, 4000)))), []
    build = run.build

    def watched():
        sim = build()
        sim.attach(lambda s: marks.append(clock()), 1, frozenset())
        return sim
    run.build = watched
    run.execute(quiet=True)
    half = len(marks) // 2
    return [(marks[-1] - marks[half]) / (len(marks) - 1 - half), peak(), run.simulation.state.n]


def elsewhere(task, **arguments):
    """A function of this file in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run([sys.executable, "-m", "benchmarks.estimate", task, json.dumps(arguments)], cwd=folder,
                              env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    if sys.argv[1:2] and sys.argv[1] != "--rounds":
        print(json.dumps({"predicted": predicted, "measured": measured}[sys.argv[1]](**json.loads(sys.argv[2]))))
        return
    rounds = int(sys.argv[2]) if sys.argv[1:2] == ["--rounds"] else 3
    errors = []
    for name, (case, repeats) in CASES.items():
        elsewhere("measured", case=case, repeat=min(repeats), seconds=1.0)  # compiles what a first run does
        guesses, runs = [], []
        for _ in range(rounds):
            guesses.append(elsewhere("predicted", case=case, repeats=repeats))
            runs.append([elsewhere("measured", case=case, repeat=r, seconds=guesses[0][str(r)][0]) for r in repeats])
        for k, r in enumerate(repeats):
            guess = np.median([g[str(r)] for g in guesses], axis=0)
            rows = np.array([run[k] for run in runs])
            seconds, memory, atoms = np.median(rows, axis=0)
            errors.append([guess[0] / seconds - 1, guess[1] / memory - 1])
            apart = rows[:, 0].max() / rows[:, 0].min() - 1
            print(f"{name:33s} {atoms:7.0f} atoms: {1e3 * guess[0]:8.3f} ms predicted, {1e3 * seconds:8.3f} measured "
                  f"({100 * errors[-1][0]:+.0f} %, rounds {100 * apart:.0f} % apart); {guess[1] / 1e6:6.0f} MB predicted, "
                  f"{memory / 1e6:6.0f} measured ({100 * errors[-1][1]:+.1f} %)", flush=True)
    for what, column in zip(("speed", "memory"), np.array(errors).T):
        print(f"{what}: largest error {100 * np.abs(column).max():.0f} %, rms {100 * np.sqrt((column**2).mean()):.0f} %")


if __name__ == "__main__":
    main()
