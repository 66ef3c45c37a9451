"""Runs that are killed, each in a process of its own: `python killed_runs.py plan.json`.

The plan is a list of {folder, write | step | limit}: SIGKILL before the `write`-th write call into the HDF5 file, which is
inside a flush as HDF5 keeps everything in memory until then; or after a `step`, between flushes. With neither the run
ends by itself, and the number of writes is left in the file `writes`. Every folder holds an input.toml.
"""

import io
import json
import os
import signal
import sys

import h5py

from engine.output import file as run_file
from engine.output import watch
from engine.run import from_file


class CountedFile(io.RawIOBase):
    """A file that counts what HDF5 writes into it, and kills the process when told to."""

    def __init__(self, path, mode, fatal):
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if mode == "w" else 0), 0o644)
        self.fatal, self.writes, self.place = fatal, 0, 0

    def seek(self, offset, whence=0):
        self.place = offset if whence == 0 else (self.place + offset if whence == 1 else os.fstat(self.handle).st_size + offset)
        return self.place

    def tell(self):
        return self.place

    def readinto(self, buffer):
        data = os.pread(self.handle, len(buffer), self.place)
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def write(self, data):
        if self.writes == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.writes += 1
        done = os.pwrite(self.handle, data, self.place)
        self.place += done
        return done

    def truncate(self, size=None):
        os.ftruncate(self.handle, self.place if size is None else size)

    def flush(self):
        pass

    def readable(self):
        return True

    writable = seekable = readable


def run(folder, write=None, step=None):
    os.chdir(folder)
    opened = []

    def open_counted(self, mode):
        opened.append(CountedFile(self.path, mode, write))
        self.file = h5py.File(opened[-1], mode)
        return self

    run_file.RunFile.open = open_counted
    job = from_file("input.toml")
    if step is not None:
        def reason(self):
            if job.simulation.state.step == step:
                os.kill(os.getpid(), signal.SIGKILL)

        watch.Watch.reason = reason
    job.execute(quiet=True)
    with open("writes", "w") as out:
        out.write(str(opened[0].writes))


def main(plan):
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
