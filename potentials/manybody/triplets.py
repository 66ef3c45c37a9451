"""Parameter files whose entries are for triplets of elements: ``element1 element2 element3 number number ...``.

The format of LAMMPS's ``sw`` and ``tersoff`` files: an entry may go over several lines, # begins a comment.
"""

from itertools import product

import numpy as np

from engine.errors import InputError
from potentials.eam.files import read_lines


def read_triplets(path, label, names):
    """{(element1, element2, element3): numbers}, each entry holding as many numbers as there are `names`."""
    words, entries = [], {}
    for line in read_lines(path, label):
        words += line.split("#")[0].split()
    size = len(names) + 3
    if not words or len(words) % size:
        raise InputError(f"{label}: {path} holds {len(words)} words; entries are three elements and {len(names)} numbers "
                         f"({', '.join(names)}), so they must be a multiple of {size}")
    for start in range(0, len(words), size):
        key, numbers = tuple(words[start : start + 3]), words[start + 3 : start + size]
        try:
            values = np.array(numbers, float)
        except ValueError as error:
            raise InputError(f"{label}: {path}: entry {' '.join(key)}: {error}") from None
        if not np.isfinite(values).all():
            raise InputError(f"{label}: {path}: entry {' '.join(key)} holds a value that is not a finite number")
        if key in entries:
            raise InputError(f"{label}: {path}: entry {' '.join(key)} is given twice")
        entries[key] = values
    return entries


def table(entries, species_names, path, label):
    """Parameters (T, T, T, p) for these species, every triplet of which must be in the file."""
    known = sorted({key[0] for key in entries})
    for name in species_names:
        if name not in known:
            raise InputError(f"{label}: no parameters for '{name}' in {path}; it has {', '.join(known)}")
    size = len(species_names)
    out = np.zeros((size, size, size, len(next(iter(entries.values())))))
    for a, b, c in product(range(size), repeat=3):
        key = species_names[a], species_names[b], species_names[c]
        if key not in entries:
            raise InputError(f"{label}: {path} has no entry {' '.join(key)}")
        out[a, b, c] = entries[key]
    return out
