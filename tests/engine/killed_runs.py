"""Runs that are killed, each in a process of its own: `python killed_runs.py plan.json`.

The plan is a list of {folder, write | step}: SIGKILL before the `write`-th write call into the HDF5 file, which is
inside a flush as HDF5 keeps everything in memory until then; or after a `step`, between flushes. With neither the run
ends by itself, and the numbers of writes at its first checkpoint and in all are left in the file `writes`. Every folder holds
an input.toml.
"""

import json
import os
import signal
import sys
from contextlib import contextmanager

from engine.output import checkpoint, watch
from engine.output import file as run_file
from engine.output.disk import DiskFile
from engine.run import from_file


class CountedFile(DiskFile):
    """Counts what HDF5 writes, and kills the process before the write number `fatal`."""

    fatal, writes = None, 0

    def write(self, data):
        if self.writes == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.writes += 1
        return super().write(data)


def run(folder, write=None, step=None):
    os.chdir(folder)
    run_file.DiskFile, CountedFile.fatal = CountedFile, write
    job = from_file("input.toml")
    if step is not None:
        def reason(self):
            if job.simulation.state.step == step:
                os.kill(os.getpid(), signal.SIGKILL)

        watch.Watch.reason = reason
    counts, replacing = [], checkpoint.tree.replacing

    @contextmanager
    def counted(path):
        with replacing(path) as file:
            yield file
        counts.append(job.file.disk.writes)

    checkpoint.tree.replacing = counted
    job.execute(quiet=True)
    with open("writes", "w") as out:
        out.write(f"{counts[0]} {job.file.disk.writes}")


def main(plan):
    os.chdir(plan[0]["folder"])
    from_file("input.toml").build().run(2)  # compiled once, before the forks; nothing here starts threads
    for entry in plan:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(**entry)
                code = 0
            finally:
                os._exit(code)
        entry["status"] = os.waitpid(child, 0)[1]
    print(json.dumps([entry["status"] for entry in plan]))


if __name__ == "__main__":
    main(json.loads(open(sys.argv[1]).read()))
