"""The run's HDF5 file: opened on rank 0, shared by the writers, flushed after every row and frame.

HDF5's default format, so that a file killed between flushes opens for reading.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

import engine
from engine.errors import InputError


class RunFile:
    """An open HDF5 file with growing datasets."""

    def __init__(self, path, mode):
        self.path = Path(path)
        try:
            self.file = h5py.File(self.path, mode)
        except OSError as error:
            raise InputError(f"{self.path} cannot be {'created' if mode == 'w' else 'opened'}: {str(error).splitlines()[0]}") from None

    def describe(self, resolved_input: str, seed: int):
        """Who wrote this, with what, from which input (H5MD metadata and a group of our own)."""
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
        ours.attrs["input"] = resolved_input
        ours.attrs["seed"] = seed
        ours.attrs["versions"] = f"engine-md {engine.__version__}, python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}"

    def append(self, where, row, dtype=None, unit=None, name=None, compress=False):
        """Add `row` as the next entry of the dataset `where`, making it first if need be."""
        row = np.asarray(row)
        if where not in self.file:
            chunk = max(1, min(1024, int(65536 // max(row.nbytes, 1))))
            data = self.file.create_dataset(
                where, (0, *row.shape), dtype or row.dtype, maxshape=(None, *row.shape), chunks=(chunk, *row.shape),
                compression="gzip" if compress else None, compression_opts=1 if compress else None, shuffle=compress or None,
            )
            if unit:
                data.attrs["unit"] = unit
        data = self.file[where]
        data.resize(len(data) + 1, axis=0)
        data[-1] = row

    def truncate(self, group, step):
        """Drop entries of `group` after `step`, as its dataset ``step`` tells; returns how many are left."""
        if group not in self.file:
            return 0
        g = self.file[group]
        keep = int(np.searchsorted(g["step"][()], step, side="right"))

        def cut(_, item):
            if isinstance(item, h5py.Dataset) and item.maxshape and item.maxshape[0] is None and len(item) > keep:
                item.resize(keep, axis=0)

        g.visititems(cut)
        return keep

    def flush(self):
        self.file.flush()

    def close(self):
        self.file.close()
