"""One run at a time writes to an output: an advisory lock on a small file beside it, released by the system if we die."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path

from engine.errors import InputError


@contextmanager
def locked(base, comm):
    """Hold the lock of output `base` (on rank 0); an InputError if another run holds it."""
    path, handle = Path(base).with_suffix(".lock"), None

    def acquire():
        nonlocal handle
        try:
            handle = open(path, "w")
        except OSError as error:
            raise InputError(f"{path.parent.resolve()} cannot be written to ({error.strerror})") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{base} is being written by another run (it holds {path})") from None

    if comm.rank == 0:
        acquire()
    comm.barrier()
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            handle.close()
