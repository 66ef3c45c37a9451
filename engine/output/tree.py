"""A state_dict tree in an HDF5 file: groups for dicts, datasets for arrays, attributes for numbers and strings.

Nothing that is read is ever executed: there is no pickle here. Files are written whole, synced and renamed.
"""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from engine.errors import InputError


def save(tree: dict, path):
    """Write `tree` to `path` whole, or leave what was there."""
    with replacing(path) as file:
        for names, value in leaves(tree):
            put(file, names, value)


@contextmanager
def replacing(path):
    """A new HDF5 file that takes the place of `path` when all has been written, or nothing."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)  # mkstemp makes files that only their owner may read
    os.close(handle)
    try:
        with h5py.File(temporary, "w") as file:
            yield file
        with open(temporary, "rb+") as done:
            os.fsync(done.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def leaves(tree, above=()):
    """((name, name, ...), value) of everything in a tree, groups before what they hold (as empty dicts)."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield (*above, name), {}
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def put(file, names, value):
    """Write one leaf."""
    group, key = file["/" + "/".join(names[:-1])], names[-1]
    if isinstance(value, dict):
        group.create_group(key, track_order=True)
    elif isinstance(value, np.ndarray) and value.dtype.kind not in "OU":
        group.create_dataset(key, data=value)
    elif isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        group.create_dataset(key, data=np.array(value, dtype=h5py.string_dtype()))
    elif isinstance(value, (list, tuple)):
        group.create_dataset(key, data=np.array(value))
    elif value is None or isinstance(value, (bool, int, float, str, np.generic)):
        group.attrs[key] = h5py.Empty("f") if value is None else value
    else:
        raise TypeError(f"'{key}' of a state_dict is a {type(value).__name__}; arrays, numbers, strings and dicts are kept")


def load(path, leave_out=lambda name: False) -> dict:
    """Read a tree, without the groups (``/a/b``) that `leave_out` picks; an InputError says which file is damaged."""
    try:
        with h5py.File(path, "r") as file:
            return _read(file, leave_out)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a readable checkpoint ({str(error).splitlines()[0]})") from None


def _read(group, leave_out):
    tree = {}
    for key, value in group.attrs.items():
        if isinstance(value, h5py.Empty):
            tree[key] = None
        else:
            tree[key] = value.item() if isinstance(value, np.generic) else value
    for key, item in group.items():
        if isinstance(item, h5py.Group):
            if not leave_out(item.name):
                tree[key] = _read(item, leave_out)
        elif h5py.check_string_dtype(item.dtype):
            tree[key] = [s.decode() for s in item[()]]
        else:
            tree[key] = item[()]
    return tree
