"""Labelled frames for a dielectric model: what ``plugins.equivariant.data.frames`` reads, and beside it any of

| label | unit | names in the file |
|---|---|---|
| polarization, a dipole modulo e times the vectors of periodic directions | e·Å | polarization, dipole |
| Born charges [field axis, displacement axis] | e | born_charge, born_charges |
| polarizability ∂P/∂E | e·Å²/V | polarizability |
| field, zero by default | V/Å | electric_field, field |

A stress is that at fixed reduced field, as codes give it. What a file does not have, or has as NaN throughout, is None, and does
not train.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.errors import InputError
from plugins.equivariant.data import frames as data
from plugins.equivariant.data.frames import Source

LABELS = "energy", "forces", "stress", "polarization", "born_charges", "polarizability"
NAMES = {"polarization": ("polarization", "dipole"), "born_charges": ("born_charge", "born_charges"),
         "polarizability": ("polarizability",), "field": ("electric_field", "field")}


@dataclass
class Frame(data.Frame):
    """polarization (3,), born_charges (n, 3, 3), polarizability (3, 3) or None; field (3,)"""

    polarization: np.ndarray | None = None
    born_charges: np.ndarray | None = None
    polarizability: np.ndarray | None = None
    field: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def place(self):
        return super().place() + np.round(self.field, 6).tobytes()

    @property
    def quanta(self):
        """(3, 3) Å: vectors of the periodic directions, zero for open ones, along which the polarization knows no quantum."""
        return np.where(self.periodic[:, None], self.cell, 0.0)


def frame(source: Source, atoms, where: str) -> Frame:
    """ASE Atoms with their labels."""
    found, n = data.carried(atoms), len(atoms)
    made = Frame(**vars(data.frame(source, atoms, where, LABELS)))
    for name, shape in {"polarization": (3,), "born_charges": (n, 3, 3), "polarizability": (3, 3), "field": (3,)}.items():
        called = next((c for c in NAMES[name] if c in found), None)
        if called is None:
            continue
        value = data.numbers(found[called], called, np.shape(found[called]), where)
        if value.size != np.prod(shape):
            raise InputError(f"{where}: '{called}' has {value.size} values; {np.prod(shape)} numbers belong there")
        if name == "field" and not np.isfinite(value).all():
            raise InputError(f"{where}: '{called}' is not made of numbers")
        if source.length_unit not in ("Å", "Angstrom"):
            raise InputError(f"{where}: '{called}' must be in the units of the engine (e·Å, e, e·Å²/V, V/Å), and so the lengths; "
                             f"length_unit = '{source.length_unit}' goes with energies, forces and stresses alone")
        if not np.isnan(value).all():
            setattr(made, name, value.reshape(shape))
    return made


def read(source: Source) -> list[Frame]:
    """All frames of a source, in their order."""
    return [frame(source, atoms, where) for atoms, where in data.images(source)]


def by_blocks(count, trajectories, test=0.2, gap=2):
    """{"train", "validation", "test"}: rows; the last part of every trajectory is held out, with `gap` frames between that nobody
    sees, and no frame chooses the weights that are kept.

    trajectories : lengths of the trajectories, in the frames' order
    """
    if sum(trajectories) != count:
        raise InputError(f"the trajectories have {sum(trajectories)} frames together, the data {count}")
    train, held, start = [], [], 0
    for length in trajectories:
        last = start + length
        first = last - max(1, round(test * length))
        train += range(start, max(start, first - gap))
        held += range(first, last)
        start = last
    return {"train": np.array(train, int), "validation": np.array([], int), "test": np.array(held, int)}
