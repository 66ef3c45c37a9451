"""Molecules and excluded pairs: which atoms are bonded, which belong together, and which pairs no list shall hold.

Bonds are known by distance, from the structure file, or not at all; molecules are what bonds connect, or what a column of
the file says. All of it is found in the structure as it was read, each bond with the integer shift of its second atom
(position of j + shift @ cell is bonded to i), and repeated with it: a molecule that crosses the boundary of the unit cell
is whole in a supercell.
"""

import re

import numpy as np
from numba import njit

from engine.errors import InputError, nearest

SCALE = 1.2  # times the sum of two covalent radii: a bond
MOST = 30_000_000  # excluded pairs: more are a mistake, and half a gigabyte
LARGEST = 20_000  # atoms of a molecule whose shortest tree is looked for, in time that grows with their square

Links = tuple[np.ndarray, np.ndarray]  # pairs (m, 2), shifts (m, 3)


def bonds_by_distance(atoms, scale=SCALE, lengths=None) -> Links:
    """Bonds of ASE Atoms: pairs closer than `scale` times the sum of their covalent radii (Cordero 2008, as in ASE).

    lengths : {"O-H": 1.2}, Å, instead of that for some pairs of species; 0: never bonded
    """
    from ase.data import atomic_numbers, covalent_radii

    from engine.neighbors.pair_list import PairList

    symbols = np.array(atoms.get_chemical_symbols())
    species, kind = np.unique(symbols, return_inverse=True)
    radius = np.array([covalent_radii[atomic_numbers[s]] if s != "X" else 0.0 for s in species])
    reach = scale * (radius[:, None] + radius)
    for key, length in (lengths or {}).items():
        pair = key.split("-")
        if len(pair) != 2:
            raise InputError(f"bonds.lengths: '{key}' must name two species, as in \"O-H\"")
        for s in pair:
            if s not in species:
                raise InputError(f"bonds.lengths: '{key}': no atom is '{s}'{nearest(s, species)}; there are: "
                                 f"{', '.join(species)}")
        a, b = (int(np.searchsorted(species, s)) for s in pair)
        reach[a, b] = reach[b, a] = length
    if not reach.max(initial=0.0) > 0:
        return _no_links()
    found = PairList(float(reach.max()))(atoms.positions, atoms.cell[:], atoms.pbc)
    i, j, shift = found.first, found.second, found.shifts.astype(np.int64)
    forward = (shift[:, 2] > 0) | (shift[:, 2] == 0) & ((shift[:, 1] > 0) | (shift[:, 1] == 0) & (shift[:, 0] > 0))
    once = (i < j) | ((i == j) & forward)
    bonded = once & (found.distances < reach[kind[i], kind[j]])
    return np.stack([i, j], 1)[bonded], shift[bonded]


def bonds_of_file(atoms) -> Links:
    """The bonds that the structure file names, as ASE hands them on from LAMMPS data files: for each atom the numbers of
    its partners, ``"4(1),7(2)"`` or ``"_"``; between nearest images."""
    if "bonds" not in atoms.arrays:
        raise InputError("bonds.source = 'structure': the file names no bonds; ASE reads them from LAMMPS data files")
    named = []
    for i, text in enumerate(atoms.arrays["bonds"]):
        numbers = re.findall(r"(\d+)\(", str(text))
        if not numbers and str(text).strip("_ "):
            raise InputError(f"the bonds of atom {i} read {text!r}; they must be as in '4(1),7(1)'")
        named += [(i, int(j)) for j in numbers]
    pairs = np.array(named, np.int64).reshape(-1, 2)
    if pairs.size and pairs.max() >= len(atoms):
        raise InputError(f"the file names a bond to atom {pairs.max()}; atoms run from 0 to {len(atoms) - 1}")
    return nearest_images(atoms, pairs)


def nearest_images(atoms, pairs) -> Links:
    """Pairs of atom numbers with the shift of the second that brings it nearest to the first."""
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    shifts = np.zeros((len(pairs), 3), np.int64)
    x, cell, inverse, periodic = _geometry(atoms)
    _shifts(x, cell, inverse, periodic, pairs, shifts)
    return pairs, shifts


def links_of_column(atoms, ids) -> Links:
    """Links that hold the atoms of equal number together: of each molecule a tree of shortest links, between nearest
    images. Atoms whose number is negative belong to none."""
    order = np.argsort(ids, kind="stable")
    order = order[ids[order] >= 0]
    first = np.flatnonzero(np.r_[True, np.diff(ids[order]) != 0]) if len(order) else np.zeros(0, np.int64)
    largest = int(np.diff(np.append(first, len(order))).max(initial=0))
    if largest > LARGEST:
        raise InputError(f"a molecule of {largest} atoms cannot be followed through the boundary for replicate; replicate the "
                         "structure before it is numbered")
    pairs = np.empty((max(len(order) - len(first), 0), 2), np.int64)
    x, cell, inverse, periodic = _geometry(atoms)
    _trees(x, cell, inverse, periodic, order, np.append(first, len(order)), pairs)
    return nearest_images(atoms, pairs)


def column(atoms, name):
    """Molecule numbers (n,) from a per-atom column of a structure file; -1: none. In LAMMPS's ``mol-id`` 0 is none too."""
    if name not in atoms.arrays:
        known = sorted(set(atoms.arrays) - {"numbers", "positions"})
        raise InputError(f"molecules = '{name}': the structure has no such per-atom column{nearest(name, known)}; it has: "
                         f"{', '.join(known) or 'none'}; \"bonds\" finds molecules by bonds")
    ids = atoms.arrays[name]
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise InputError(f"molecules = '{name}': that column must hold one whole number for each atom, not {ids.dtype.name}"
                         f"{'' if ids.ndim == 1 else f' of shape {ids.shape[1:]}'}")
    ids = ids.astype(np.int64)
    return np.where((ids < 0) | ((ids == 0) & (name == "mol-id")), -1, ids)


def repeated(links: Links, n, replicate):
    """Pairs (m, 2) of a structure of n atoms repeated as ASE does it: copies of the whole, the last direction fastest."""
    pairs, shifts = links
    counts = np.array(replicate)
    cells = np.indices(tuple(replicate)).reshape(3, -1).T
    to = (cells[:, None] + shifts) % counts
    number = (to[..., 0] * counts[1] + to[..., 1]) * counts[2] + to[..., 2]
    first = np.arange(len(cells))[:, None] * n + pairs[:, 0]
    return unique(np.stack([first.ravel(), (number * n + pairs[:, 1]).ravel()], 1))


def unique(pairs):
    """Every pair once, the smaller number first, no atom with itself."""
    pairs = np.sort(np.asarray(pairs, np.int64).reshape(-1, 2), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def connected(n, pairs):
    """(n,) the number of the molecule that each atom is in, from 0 in the order of their first atoms."""
    graph = _graph(n, pairs)
    from scipy.sparse.csgraph import connected_components

    return renumbered(connected_components(graph, directed=False)[1])


def renumbered(ids):
    """Numbers from 0 in the order of first appearance in place of `ids`; negative ones stay -1."""
    values, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(np.where(values < 0, -1, first), kind="stable")] = np.arange(len(values)) - (values < 0).any()
    return np.maximum(rank[inverse], -1)


def within_molecules(molecules):
    """All pairs (m, 2) of atoms of the same molecule (n,); atoms with a negative number are in none."""
    order = np.argsort(molecules, kind="stable")
    order = order[molecules[order] >= 0]
    sizes = np.bincount(molecules[order])
    _limit(int((sizes * (sizes - 1) // 2).sum()), f"molecules of up to {sizes.max(initial=0)} atoms")
    starts = np.cumsum(sizes) - sizes
    parts = []
    for size in np.unique(sizes[sizes > 1]):
        members = order[starts[sizes == size][:, None] + np.arange(size)]
        i, j = np.triu_indices(size, 1)
        parts.append(np.stack([members[:, i].ravel(), members[:, j].ravel()], 1))
    return unique(np.concatenate(parts) if parts else [])


def within_bonds(n, pairs, bonds):
    """All pairs (m, 2) of atoms that are at most `bonds` bonds apart: 1 for bonded ones, 3 up to the ends of a dihedral."""
    graph = _graph(n, pairs)
    reached = step = graph
    for _ in range(bonds - 1):
        step = step @ graph
        reached = reached + step
        _limit(reached.nnz // 2, f"pairs up to {bonds} bonds apart")
    return unique(np.stack(reached.nonzero(), 1))


def _limit(count, what):
    if count > MOST:
        raise InputError(f"exclusions: {what} are {count} pairs, more than {MOST}; is everything one molecule? give "
                         "exclusions.bonds, or shorter system.bonds.lengths")


def _graph(n, pairs):
    from scipy.sparse import coo_array

    ends = np.concatenate([pairs, pairs[:, ::-1]]) if len(pairs) else np.zeros((0, 2), np.int64)
    return coo_array((np.ones(len(ends), np.int64), (ends[:, 0], ends[:, 1])), shape=(n, n)).tocsr()


def _no_links() -> Links:
    return np.zeros((0, 2), np.int64), np.zeros((0, 3), np.int64)


def _geometry(atoms):
    """Positions, a cell that spans space, its inverse, and which directions are periodic."""
    periodic = np.array(atoms.pbc, bool)
    cell = atoms.cell.complete()[:] if not periodic.all() else atoms.cell[:]
    return np.ascontiguousarray(atoms.positions), np.array(cell), np.linalg.inv(cell), periodic


@njit(cache=True)
def _nearest(x, cell, inverse, periodic, i, j, shift):
    """Squared distance of the nearest image of j from i, and its shift."""
    d, base = x[j] - x[i], np.zeros(3)
    for a in range(3):
        if periodic[a]:
            base[a] = -np.rint(d[0] * inverse[0, a] + d[1] * inverse[1, a] + d[2] * inverse[2, a])
    best = np.inf
    for a in range(-1, 2) if periodic[0] else range(0, 1):
        for b in range(-1, 2) if periodic[1] else range(0, 1):
            for c in range(-1, 2) if periodic[2] else range(0, 1):
                r2 = 0.0
                for k in range(3):
                    r2 += (d[k] + (base[0] + a) * cell[0, k] + (base[1] + b) * cell[1, k] + (base[2] + c) * cell[2, k]) ** 2
                if r2 < best * (1.0 - 1e-12):
                    best = r2
                    shift[0], shift[1], shift[2] = base[0] + a, base[1] + b, base[2] + c
    return best


@njit(cache=True)
def _shifts(x, cell, inverse, periodic, pairs, shifts):
    for m in range(pairs.shape[0]):
        _nearest(x, cell, inverse, periodic, pairs[m, 0], pairs[m, 1], shifts[m])


@njit(cache=True)
def _trees(x, cell, inverse, periodic, order, bounds, pairs):
    """Prim's shortest spanning tree of each molecule order[bounds[k]:bounds[k + 1]]."""
    total, shift = 0, np.zeros(3, np.int64)
    for k in range(bounds.shape[0] - 1):
        members = order[bounds[k]:bounds[k + 1]]
        size = members.shape[0]
        near, distance, inside = np.zeros(size, np.int64), np.full(size, np.inf), np.zeros(size, np.bool_)
        last = 0
        inside[0] = True
        for _ in range(size - 1):
            chosen = -1
            for m in range(size):
                if inside[m]:
                    continue
                r2 = _nearest(x, cell, inverse, periodic, members[last], members[m], shift)
                if r2 < distance[m]:
                    distance[m], near[m] = r2, last
                if chosen < 0 or distance[m] < distance[chosen]:
                    chosen = m
            inside[chosen] = True
            pairs[total, 0], pairs[total, 1] = members[near[chosen]], members[chosen]
            total += 1
            last = chosen
