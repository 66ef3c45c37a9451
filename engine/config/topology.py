"""The keys ``bonds``, ``molecules`` and ``exclusions`` of the [system] table, into the state."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine import molecules as find
from engine.config.input import System
from engine.errors import InputError, shown
from engine.state import Attribute

MOLECULES = Attribute("molecules", np.int64, default=-1)  # number of the molecule, over all systems; -1: none


def add_topology(system: System, images, state):
    """Molecules and excluded pairs of a state made of ASE `images`, each replicated, `copies` times all of them."""
    if system.molecules is None and system.exclusions is None:
        return
    given = system.exclusions
    named = None if given is None else [*given.pairs, *(_read(given.file) if given.file else [])]
    first_atom = first_molecule = 0
    numbers, pairs = [], []
    for atoms in images * system.copies:
        n = len(atoms) * int(np.prod(system.replicate))
        mine, excluded = _one(system, atoms, n, named)
        numbers.append(np.where(mine < 0, -1, mine + first_molecule))
        pairs.append(excluded + first_atom)
        first_atom, first_molecule = first_atom + n, first_molecule + mine.max(initial=-1) + 1
    if system.molecules is not None:
        state.declare(MOLECULES)
        state.set("molecules", np.concatenate(numbers))
    if given is not None:
        state.exclusions = np.concatenate(pairs)
        if not len(state.exclusions):
            raise InputError("exclusions: no pair is left out; no atoms are bonded, see system.bonds")


def _one(system, atoms, n, named):
    """(molecules (n,), excluded pairs (m, 2)) of one structure, replicated to n atoms."""
    given, repeat = system.exclusions, lambda links: find.repeated(links, len(atoms), system.replicate)
    mine, bonded = np.full(n, -1), None
    if system.molecules == "bonds" or given is not None and given.bonds is not None:
        by_distance = system.bonds.source == "distance"
        bonded = repeat(find.bonds_by_distance(atoms, system.bonds.scale, system.bonds.lengths) if by_distance
                        else find.bonds_of_file(atoms))
    if system.molecules == "bonds":
        mine = find.connected(n, bonded)
    elif system.molecules is not None:
        ids = find.column(atoms, system.molecules)
        mine = find.renumbered(ids)
        if n > len(atoms):
            whole = find.connected(n, repeat(find.links_of_column(atoms, ids)))
            mine = find.renumbered(np.where(np.tile(ids, n // len(atoms)) < 0, -1, whole))
    if given is None:
        return mine, np.zeros((0, 2), np.int64)
    parts = [repeat(find.nearest_images(atoms, _checked(named, len(atoms))))]
    if given.molecules:
        parts.append(find.within_molecules(mine))
    if given.bonds is not None:
        parts.append(find.within_bonds(n, bonded, given.bonds))
    return mine, find.unique(np.concatenate(parts))


def _checked(pairs, n):
    for a, b in pairs:
        if a == b:
            raise InputError(f"exclusions: the pair {a}, {b} is an atom with itself")
        if not (0 <= a < n and 0 <= b < n):
            raise InputError(f"exclusions: the pair {a}, {b} names an atom that is not there; they run from 0 to {n - 1}")
    return pairs


def _read(path):
    """Pairs of a text file: two whole numbers a line, # begins a comment."""
    where = f"system.exclusions.file: {shown(Path(path))}"
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    pairs = []
    for k, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if len(words) not in (0, 2) or not all(word.isdigit() for word in words):
            raise InputError(f"{where}, line {k}: '{line.strip()[:40]}' must be two numbers of atoms, from 0")
        if words:
            pairs.append((int(words[0]), int(words[1])))
    if not pairs:
        raise InputError(f"{where} holds no pairs")
    return pairs
