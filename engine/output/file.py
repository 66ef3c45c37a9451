"""The run's HDF5 file: opened on rank 0, shared by the writers, flushed after every row and frame.

HDF5's default format, so that a file killed between flushes opens for reading.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

import engine
from engine.errors import InputError
from engine.output.disk import DiskFile


@contextmanager
def writing(path):
    """One line for whatever keeps a file from being written: a full disk, a folder that has gone."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = getattr(error, "errno", None)
        found = re.search(r"error message = '([^']*)'", str(error))
        reason = os.strerror(code) if code else found[1] if found else str(error).splitlines()[0]
        raise InputError(f"{path} could not be written: {reason}; what was flushed before and the last checkpoint, if "
                         "there was one, are kept, and `engine resume` goes on from it once there is room") from None


def replace_text(path, text):
    """Write a text file whole under another name, then rename it."""
    replace_bytes(path, text.encode())


def replace_bytes(path, content):
    """The same for what is no text."""
    path = Path(path)
    other = path.with_name(path.name + ".tmp")
    with writing(path):
        with open(other, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(other, path)


class RunFile:
    """An HDF5 file with growing datasets; nothing is on disk before `open`."""

    def __init__(self, path):
        self.path, self.file, self.disk = Path(path), None, None
        self._found = {}  # columns that grow, by name: looking one up costs as much as writing to it

    def open(self, mode):
        """mode : "w" for a new file, "r+" to go on with one"""
        self._found = {}
        try:
            self.disk = DiskFile(self.path, mode)
            self.file = h5py.File(self.disk, mode)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            verb = "created" if mode == "w" else "opened"
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise InputError(f"{self.path} cannot be {verb}: {reason}") from None
        return self

    def describe(self, given_input: str, seed: int, resolved: str = ""):
        """Who wrote this, with what, from which input, as given and with every default (H5MD metadata and a group of our own)."""
        import getpass
        import platform

        import numba

        h5md = self.file.create_group("h5md")
        h5md.attrs["version"] = np.array([1, 1], np.int32)
        author = h5md.create_group("author")
        try:
            author.attrs["name"] = getpass.getuser()
        except (OSError, KeyError):
            author.attrs["name"] = "unknown"
        creator = h5md.create_group("creator")
        creator.attrs["name"] = "engine-md"
        creator.attrs["version"] = engine.__version__
        ours = self.file.create_group("engine")
        ours.attrs["input"] = given_input
        ours.attrs["resolved"] = resolved
        ours.attrs["seed"] = seed
        ours.attrs["versions"] = (f"engine-md {engine.__version__}, python {platform.python_version()}, "
                                  f"numpy {np.__version__}, numba {numba.__version__}")

    def append(self, where, row, dtype=None, unit=None, compress=False):
        """Add `row` as the next entry of the dataset `where`, making it first if need be."""
        row = np.asarray(row)
        self.grow(where, row.shape, dtype or row.dtype, unit, compress)
        self.fill(where, 0, row)

    def grow(self, where, shape, dtype, unit=None, compress=False, piece=None):
        """Room for an entry of this shape in the dataset `where`, stored by at most `piece` rows at a time."""
        with writing(self.path):
            data = self._found.get(where)
            if data is None and where in self.file:
                data = self.file[where]
            if data is None:
                chunk = (min(shape[0], piece or shape[0]), *shape[1:]) if shape else ()
                size = int(np.prod(chunk)) * np.dtype(dtype).itemsize
                data = self.file.create_dataset(
                    where, (0, *shape), dtype, maxshape=(None, *shape), chunks=(max(1, min(1024, 65536 // max(size, 1))), *chunk),
                    compression="gzip" if compress else None, compression_opts=1 if compress else None, shuffle=compress or None,
                )
                if unit:
                    data.attrs["unit"] = unit
            if data.ndim == 1:  # others hold a cache of their own while they are open
                self._found[where] = data
            data.resize(len(data) + 1, axis=0)

    def fill(self, where, place, rows):
        """Write `rows` into the last entry of a dataset, from its row `place` on."""
        with writing(self.path):
            data = self._found.get(where) or self.file[where]
            if data.ndim == 1:
                data[-1] = rows
            else:
                data[-1, place : place + len(rows)] = rows

    def truncate(self, group, step):
        """Drop entries of `group` after `step`, as its dataset ``step`` tells; returns how many are left.

        An InputError if entries up to `step` are missing somewhere: a flush was interrupted.
        """
        if group not in self.file:
            return 0
        g = self.file[group]
        try:
            keep = int(np.searchsorted(g["step"][()], step, side="right"))

            def cut(name, item):
                if isinstance(item, h5py.Dataset) and item.maxshape and item.maxshape[0] is None:
                    if len(item) < keep:
                        raise KeyError(f"{name} has {len(item)} of {keep} entries")
                    item.resize(keep, axis=0)

            g.visititems(cut)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.path} is damaged: {str(error).splitlines()[0]}") from None
        return keep

    def put(self, where, value, **attributes):
        """Write `value` as the whole content of the dataset `where`, replacing what was there."""
        with writing(self.path):
            value = np.asarray(value)
            if where in self.file and self.file[where].shape != value.shape:
                del self.file[where]
            if where in self.file:
                self.file[where][...] = value
            else:
                self.file.create_dataset(where, data=value)
            self.file[where].attrs.update(attributes)

    def flush(self):
        with writing(self.path):
            self.file.flush()
            self._check()

    def _check(self):
        if self.disk.error is not None:
            raise self.disk.error

    def close(self):
        self._found = {}
        if self.file is not None:
            with writing(self.path):
                self.file.close()
                self._check()
        if self.disk is not None:
            self.disk.close()

    def abandon(self):
        """Close after an error, as well as it goes."""
        try:
            self.close()
        except InputError:
            self.disk.close()
