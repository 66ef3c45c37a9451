"""Neighbor graphs of a data set, made once, kept on disk beside its frames (``shards``), read by memory map.

Three flat files (centre, neighbour, vectors) and an index stand in a folder of the cache that is named by a hash of
the frames and the cutoff. It is filled under a temporary name and renamed whole, so processes may do it at once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from zipfile import BadZipFile

import numpy as np

from engine.errors import InputError
from engine.kernels.compiled import cache_folder
from plugins.equivariant.data import shards
from plugins.equivariant.data.frames import Frame
from plugins.equivariant.graphs import Graph, build

COLUMNS = {"centre": (np.int32, ()), "neighbour": (np.int32, ()), "vectors": (np.float64, (3,))}


def _digest(frames, cutoff):
    places = shards.geometries(frames)
    return hashlib.sha256(f"4 {cutoff!r}".encode() + places.tobytes()).hexdigest()[:24]


class GraphStore:
    """`store[row]` is the graph of a frame; species are rows of `species`.

    counts (frames, species) : how many atoms of each
    """

    def __init__(self, frames: Sequence[Frame], species: list[str], cutoff: float):
        self.frames, self.names = frames, np.array(species)
        self.order = np.argsort(self.names)
        self.counts = np.zeros((len(frames), len(species)), np.int32)
        for row, f in enumerate(frames):
            unknown = sorted(set(f.symbols) - set(species))
            if unknown:
                raise InputError(f"{f.source}: the model does not know {', '.join(unknown)}; it has: {', '.join(species)}")
            self.counts[row] = np.bincount(self.indices(f), minlength=len(species))
        folder = cache_folder() / f"graphs_{_digest(frames, cutoff)}"
        if not _whole(folder):
            _fill(folder, frames, cutoff)
        index = np.load(folder / "index.npz")
        self.offsets, self.widest = index["offsets"], index["widest"]
        self.arrays = {}
        for name, (dtype, shape) in COLUMNS.items():
            count = int(self.offsets[-1])
            path = folder / f"{name}.bin"
            self.arrays[name] = np.memmap(path, dtype, "r", shape=(count, *shape)) if count else np.zeros((0, *shape), dtype)

    def __len__(self):
        return len(self.frames)

    def indices(self, frame) -> np.ndarray:
        """(n,) species of a frame's atoms."""
        return self.order[np.searchsorted(self.names, frame.symbols, sorter=self.order)]

    def __getitem__(self, row):
        return self.graph(row, self.frames[row])

    def graph(self, row, frame):
        """The same where the frame is at hand."""
        part = slice(self.offsets[row], self.offsets[row + 1])
        return Graph(self.arrays["centre"][part].astype(int), self.arrays["neighbour"][part].astype(int),
                     np.array(self.arrays["vectors"][part]), self.indices(frame), frame.volume)

    @property
    def neighbors(self):
        """Average number of neighbours of an atom."""
        return float(self.offsets[-1] / self.counts.sum())


def _whole(folder):
    """Whether graphs are all there."""
    try:
        with np.load(folder / "index.npz") as index:
            count, _ = int(index["offsets"][-1]), index["widest"]
        return all((folder / f"{name}.bin").stat().st_size == count * np.dtype((dtype, shape)).itemsize
                   for name, (dtype, shape) in COLUMNS.items())
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return False


def _fill(folder, frames, cutoff):
    temporary = tempfile.mkdtemp(dir=folder.parent, prefix="graphs_tmp_")
    offsets, widest = [0], []
    files = {name: open(os.path.join(temporary, f"{name}.bin"), "wb") for name in COLUMNS}
    for f in frames:
        g = build(f.positions, f.cell, f.periodic, np.zeros(len(f.symbols), int), cutoff)
        for name, (dtype, _) in COLUMNS.items():
            files[name].write(np.ascontiguousarray(getattr(g, name), dtype).tobytes())
        offsets.append(offsets[-1] + len(g.centre))
        widest.append(int(np.bincount(g.centre, minlength=1).max()))
    for file in files.values():
        file.close()
    np.savez(os.path.join(temporary, "index.npz"), offsets=np.array(offsets), widest=np.array(widest))
    shards.publish(temporary, folder, _whole)
