"""From the shell's command to step 1 of a copper run: with an empty cache of compiled code, and again with a full one.

Processor time to the end of the process, which other processes on the machine cannot stretch much; the wall time, on an
idle machine about the same, is in the note.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.race import Row

INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [10, 10, 10]
velocities = { temperature = 300 }
[potential]
kind = "eam/zhou"
[output]
file = "run.h5md"
[run]
seed = 1
[[stage]]
integrator = "nve"
steps = 1
timestep = 2.0
"""


def seconds(folder, cache):
    """(processor time, wall time) of `engine run` for one step of 4000 atoms, to the end of the process."""
    environment = dict(os.environ, ENGINE_CACHE=str(cache), NUMBA_CACHE_DIR=str(cache / "numba"))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as a user has it: Python's own files are compiled once
    (folder / "input.toml").write_text(INPUT)
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    begin, clock = used(), time.perf_counter()
    command = [sys.executable, "-c", "from engine.cli import main; main()", "run", "--force", "input.toml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:] or done.stdout[-2000:])
    return used() - begin, time.perf_counter() - clock


def run(quick, say):
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cold = sorted(seconds(folder, folder / f"cache{k}") for k in range(1 if quick else 3))
        warm = sorted(seconds(folder, folder / "cache0") for _ in range(7))
        for label, times, limit in (("start to step 1, cold", cold, 10.0), ("start to step 1, warm", warm, 1.0)):
            middle, wall = times[len(times) // 2]
            rows.append(Row(label, 4000, 1, "double", "-", f"the limit of {limit} s", middle, limit, "s", limit / middle,
                            (limit / times[-1][0], limit / times[0][0]), 0.0, 1.0,
                            f"to the end of the process; wall {wall:.2f} s"))
            say(rows[-1])
    return rows
