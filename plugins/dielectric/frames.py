"""Labelled frames for a dielectric model: extended XYZ with any subset of the labels below.

| label | unit | names in the file |
|---|---|---|
| energy | eV | energy, total_energy |
| forces | eV/Å | forces |
| stress | eV/Å³, tension positive; at fixed reduced field, as codes give it | stress |
| polarization, a dipole modulo e times the vectors of periodic directions | e·Å | polarization, dipole |
| Born charges [field axis, displacement axis] | e | born_charge, born_charges |
| polarizability ∂P/∂E | e·Å²/V | polarizability |
| field, zero by default | V/Å | electric_field, field |

What is missing is NaN, and does not train.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.build import check_cell
from engine.errors import InputError
from plugins.equivariant import graphs

NAMES = {
    "energy": ("energy", "total_energy"), "forces": ("forces",), "stress": ("stress",),
    "polarization": ("polarization", "dipole"), "born_charges": ("born_charge", "born_charges"),
    "polarizability": ("polarizability",), "field": ("electric_field", "field"),
}


@dataclass
class Frame:
    """A graph with its labels, of shapes as in ``engine.contracts.SHAPES`` for one system; NaN: unknown.

    cell : vectors of the periodic directions, zero for open ones, along which the polarization knows no quantum
    """

    graph: graphs.Graph
    cell: np.ndarray
    energy: float
    forces: np.ndarray
    stress: np.ndarray
    polarization: np.ndarray
    born_charges: np.ndarray
    polarizability: np.ndarray
    field: np.ndarray


def _labels(atoms):
    found = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc is not None else {})}
    return {label: next((found[n] for n in names if n in found), None) for label, names in NAMES.items()}


def frame(atoms, species, cutoff) -> Frame:
    """A Frame of ASE Atoms with labels."""
    from ase.stress import voigt_6_to_full_3x3_stress

    check_cell(atoms)
    n, labels = len(atoms), _labels(atoms)
    unknown = set(atoms.get_chemical_symbols()) - set(species)
    if unknown:
        raise InputError(f"frames contain {', '.join(sorted(unknown))}; the model knows {', '.join(species)}")
    index = np.array([species.index(s) for s in atoms.get_chemical_symbols()])
    shapes = {"energy": (), "forces": (n, 3), "stress": (3, 3), "polarization": (3,), "born_charges": (n, 3, 3),
              "polarizability": (3, 3), "field": (3,)}
    values = {}
    for name, shape in shapes.items():
        value = labels[name]
        if value is None:
            value = np.zeros(3) if name == "field" else np.full(shape, np.nan)
        elif name == "stress" and np.size(value) == 6:
            value = voigt_6_to_full_3x3_stress(value)
        try:
            values[name] = np.asarray(value, float).reshape(shape)
        except (TypeError, ValueError):
            raise InputError(f"{name} has {np.size(value)} values; {math.prod(shape)} numbers belong there") from None
    if not atoms.pbc.all():
        values["stress"] = np.full((3, 3), np.nan)
    graph = graphs.build(atoms.positions, atoms.cell[:], atoms.pbc, index, cutoff)
    return Frame(graph, np.where(atoms.pbc[:, None], atoms.cell[:], 0.0), **values)


def images(files):
    """[(where, ASE Atoms)] of all frames of extended XYZ files, in their order."""
    import ase.io

    out = []
    for file in files:
        try:
            found = ase.io.read(file, index=":")
        except Exception as error:
            raise InputError(f"frames '{file}' cannot be read: {' '.join(str(error).split())}") from error
        out += [(f"frame {k} of {file}", atoms) for k, atoms in enumerate(found)]
    return out


def labelled(images, species, cutoff) -> list[Frame]:
    """Frames of what `images` gave."""
    out = []
    for where, atoms in images:
        try:
            out.append(frame(atoms, list(species), cutoff))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return out


def read(files, species, cutoff) -> list[Frame]:
    """All frames of extended XYZ files, in their order."""
    return labelled(images(files), species, cutoff)


def by_blocks(count, trajectories, test=0.2, gap=2):
    """(train, test) rows: the last part of every trajectory is held out, with `gap` frames between that nobody sees.

    trajectories : lengths of the trajectories, in the frames' order
    """
    if sum(trajectories) != count:
        raise InputError(f"the trajectories have {sum(trajectories)} frames together, the files {count}")
    train, held, start = [], [], 0
    for length in trajectories:
        last = start + length
        first = last - max(1, round(test * length))
        train += range(start, max(start, first - gap))
        held += range(first, last)
        start = last
    return np.array(train), np.array(held)
