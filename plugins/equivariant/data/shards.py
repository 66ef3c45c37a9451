"""Frames on disk, so that a data set may be larger than memory: written once while its files are read, fetched by row.

A set is a folder of the cache: shards of about a gigabyte, in which frames stand one after another, and an index that
says where. In memory are the index (some forty bytes a frame) and the frames that somebody looks at just now; pages of
the shards are the system's to keep or to drop. A folder is filled under a temporary name and renamed whole, so
processes may do it at once, and named by a hash of what it was made from.

>>> data = load(Source(["water.xyz"]))
>>> data[17].forces                         # read now
>>> (data + load(Source(["more.xyz"])))[5000]
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import ase
import numpy as np

from engine.errors import InputError
from engine.kernels.compiled import cache_folder
from plugins.equivariant.data import frames as files
from plugins.equivariant.data.frames import Frame, Source

LARGEST = 2**30  # bytes of a shard
LABELS = ("energy", "forces", "stress")
INDEX = np.dtype([("shard", "i4"), ("start", "i8"), ("length", "i8"), ("atoms", "i4"), ("labels", "u1"), ("geometry", "u8")])


def _packed(frame: Frame, names: dict[str, int]) -> bytes:
    """A frame as bytes: one line of JSON, then rows of numbers as float64."""
    codes = [names.setdefault(str(s), len(names)) for s in frame.symbols]
    about = {"source": frame.source, "info": frame.info, "weights": frame.weights}
    parts = [np.array(codes), frame.positions, frame.cell, frame.periodic]
    parts += [getattr(frame, label) for label in LABELS if getattr(frame, label) is not None]
    numbers = np.concatenate([np.asarray(part, float).ravel() for part in parts])
    return json.dumps(about, default=_plain).encode() + b"\n" + numbers.tobytes()


def _plain(value):
    """Numbers of numpy as Python's, anything else as its text: `info` is only ever compared."""
    return value.item() if isinstance(value, np.generic) else value.tolist() if isinstance(value, np.ndarray) else str(value)


def geometry(frame: Frame) -> int:
    """A number that two frames share if atoms and cell are where they are in both."""
    parts = (np.asarray(a, float) for a in (frame.positions, frame.cell, frame.periodic))
    return int.from_bytes(hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in parts)).digest()[:8], "little")


class Shards(Sequence):
    """`shards[row]` is a ``Frame``; the sum of two is one after the other."""

    def __init__(self, folders: list[Path]):
        self.folders, self.starts, indices, self.names, self.files = list(folders), [0], [], [], []
        for folder in self.folders:
            index = np.load(folder / "index.npy")
            indices.append(index)
            self.starts.append(self.starts[-1] + len(index))
            self.names.append(np.array(json.loads((folder / "names.json").read_text())))
            self.files.append([np.memmap(folder / f"{k:05d}.frames", np.uint8, "r") for k in range(index["shard"].max() + 1)])
        self.index = np.concatenate(indices)

    def __len__(self):
        return len(self.index)

    def __add__(self, other):
        return Shards(self.folders + other.folders)

    def __getitem__(self, row) -> Frame:
        row = range(len(self))[row]  # negative ones, and none beyond the end
        set_ = int(np.searchsorted(self.starts, row, "right")) - 1
        entry = self.index[row]
        n, start = int(entry["atoms"]), int(entry["start"])
        data = self.files[set_][entry["shard"]][start:start + int(entry["length"])].tobytes()
        line = data.index(b"\n")
        about, numbers, at = json.loads(data[:line]), np.frombuffer(data, float, offset=line + 1), 0

        def take(*shape):
            nonlocal at
            count = int(np.prod(shape))
            at += count
            return numbers[at - count:at].reshape(shape).copy()

        symbols = self.names[set_][take(n).astype(int)]
        positions, cell, periodic = take(n, 3), take(3, 3), take(3).astype(bool)
        has = [bool(entry["labels"] & 1 << k) for k in range(3)]
        energy = float(take(1)[0]) if has[0] else None
        forces, stress = take(n, 3) if has[1] else None, take(3, 3) if has[2] else None
        return Frame(symbols, positions, cell, periodic, energy, forces, stress, about["source"], about["info"],
                     about["weights"])


def keep(frames: Iterable[Frame], key: str | None = None) -> Shards:
    """Frames, looked at one by one, on disk; the folder is named by `key`, or by what is in them."""
    temporary = Path(tempfile.mkdtemp(dir=cache_folder(), prefix="frames_tmp_"))
    try:
        digest = _fill(temporary, frames)
        folder = cache_folder() / f"frames_{key or digest}"
        publish(temporary, folder, whole)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Shards([folder])


def publish(temporary, folder, whole):
    """Give a filled folder its name, in place of one that is damaged."""
    if not whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(temporary, folder)
    except OSError:  # another process was first
        shutil.rmtree(temporary)


def whole(folder) -> bool:
    """Whether frames are all there: a disk that was full, or a copy that was cut short, leaves less."""
    try:
        index = np.load(folder / "index.npy")
        json.loads((folder / "names.json").read_text())
        return all((folder / f"{k:05d}.frames").stat().st_size == (index["start"] + index["length"])[index["shard"] == k].max()
                   for k in range(index["shard"].max() + 1))
    except (OSError, ValueError, EOFError, IndexError):
        return False


def _fill(folder, frames):
    digest, index, names, size, file = hashlib.sha256(), [], {}, LARGEST, None
    shard = -1
    try:
        for frame in frames:
            if size >= LARGEST:
                if file is not None:
                    file.close()
                shard, size = shard + 1, 0
                file = open(folder / f"{shard:05d}.frames", "wb")
            data = _packed(frame, names)
            digest.update(data)
            file.write(data)
            labels = sum(1 << k for k, label in enumerate(LABELS) if getattr(frame, label) is not None)
            index.append((shard, size, len(data), len(frame.symbols), labels, geometry(frame)))
            size += len(data)
    finally:
        if file is not None:
            file.close()
    if not index:
        raise InputError("data: there are no frames")
    np.save(folder / "index.npy", np.array(index, INDEX))
    (folder / "names.json").write_text(json.dumps(list(names)))
    digest.update(json.dumps(list(names)).encode())
    return digest.hexdigest()[:24]


@lru_cache
def _watched():
    """Hash of what reads files: a change there makes new folders."""
    return hashlib.sha256("".join([ase.__version__, *(Path(f).read_text() for f in (files.__file__, __file__))]).encode())


def load(source: Source) -> Shards:
    """The frames of a source; the files are read only if they, or what their labels are called, have changed."""
    key = _watched().copy()
    key.update(json.dumps(asdict(source) | {"files": [Path(p).name for p in source.files]}).encode())
    for path in source.files:
        if not Path(path).is_file():
            raise InputError(f"data: the file {path} does not exist")
        with open(path, "rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    name = key.hexdigest()[:24]
    folder = cache_folder() / f"frames_{name}"
    return Shards([folder]) if whole(folder) else keep(files.stream(source), name)


# -- what lists of frames and sets on disk are asked for alike ----------------------------------------------------------
def sizes(frames) -> np.ndarray:
    """(frames,) numbers of atoms."""
    return frames.index["atoms"].astype(int) if isinstance(frames, Shards) else np.array([len(f.symbols) for f in frames], int)


def having(frames, label) -> np.ndarray:
    """(frames,) which of them have a label."""
    if isinstance(frames, Shards):
        return (frames.index["labels"] & 1 << LABELS.index(label)) > 0
    return np.array([getattr(f, label) is not None for f in frames], bool)


def digest(frames, labels=LABELS) -> str:
    """Hash of what is learned from: where atoms are, labels and their weights."""
    found = hashlib.sha256(geometries(frames).tobytes())
    for f in frames:
        found.update(b"".join(np.asarray(getattr(f, label), float).tobytes() for label in labels))
        found.update(json.dumps(f.weights, sort_keys=True).encode())
    return found.hexdigest()[:16]


def geometries(frames) -> np.ndarray:
    """(frames,) the number ``geometry`` of each."""
    return frames.index["geometry"] if isinstance(frames, Shards) else np.array([geometry(f) for f in frames], np.uint64)
