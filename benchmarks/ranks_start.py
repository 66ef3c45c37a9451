"""Start of several ranks with empty caches: kernels compiled by one, or by all.

    python -m benchmarks.ranks_start [--ranks 1 4]

Wall and processor time of ten steps of copper with Langevin noise, from the launch to the end.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [6, 6, 6]
velocities = { temperature = 300 }
[potential]
kind = "eam/zhou"
[[stage]]
integrator = "langevin"
steps = 10
timestep = 2.0
temperature = 300
friction = 0.01
"""
RUN = "from engine.cli import main; main(['run', 'input.toml', '-q', '--force'])"
ALL_COMPILE = "from engine.kernels import compile_once; compile_once.install = lambda: None; " + RUN


def start(ranks, program, cache, folder):
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] if ranks > 1 else []
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "ENGINE_CACHE": str(cache), "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": root,
                   "OMP_NUM_THREADS": "1"}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*launcher, sys.executable, "-c", program], cwd=folder, env=environment, check=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 4])
    for ranks in parser.parse_args().ranks:
        for name, program in (("one compiles", RUN), ("all compile", ALL_COMPILE)) if ranks > 1 else (("alone", RUN),):
            folder = Path(tempfile.mkdtemp(prefix="start-"))
            (folder / "input.toml").write_text(INPUT)
            (folder / "cache").mkdir()
            for state in ("empty", "full"):
                wall, cpu = start(ranks, program, folder / "cache", folder)
                print(f"{ranks} ranks, {name}, cache {state}: {wall:.1f} s, {cpu:.1f} s of processors", flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
