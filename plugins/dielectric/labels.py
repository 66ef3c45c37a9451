"""Labels of an electric enthalpy beside padded graphs, and the branch of the polarization's.

A loss takes each label's mean squared error in units of its spread, s², over the frames that train:

    L = Σ_label w_label mean |x − x_label|²/s²_label

The polarization is known modulo e times lattice vectors. Its residual is taken in fractions of the cell and wrapped to the
nearest branch, which is the right one only when the model knows the polarization to half a quantum; before, it would pull a
ferroelectric, whose polarization is many quanta, to whatever branch is near the random model's, at odds with the Born charges
for ever. These are the slopes of P and know no branch, and P = 0 where symmetry says so is built in. So where there are Born
charges, they teach P alone at first (``training``); then every label is put on its branch for good (`branches`), and joins the
loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat

from plugins.equivariant.data import shards
from plugins.equivariant.training import batches

SAME = 1e-6  # a spread below which labels are one number


@dataclass
class Loss:
    """Weights of mean squared errors, each in units of its label's spread over the frames that train; Born charges about their
    mean over atoms."""

    energy: NonNegativeFloat = 0.3
    forces: NonNegativeFloat = 1.0
    stress: NonNegativeFloat = 0.1
    polarization: NonNegativeFloat = 0.3
    born_charges: NonNegativeFloat = 1.0
    polarizability: NonNegativeFloat = 0.1


def wrapped(difference, cells, inverse):
    """(S, 3) e·Å to the nearest branch: fractions of the cell's vectors (S, 3, 3), whose pseudo-inverse is given, rounded off."""
    s = difference.unsqueeze(1) @ inverse
    return difference - (torch.round(s.detach()) @ cells).squeeze(1)


def branches(own, labels):
    """((frames, 3) whole numbers that put labels on their branches, factor, root mean square of what is left), from the model's
    own polarizations; all in fractions of the cell.

    What a model has learned of slopes alone is mostly too small or too large as a whole, by some per cent, which may be half a
    quantum where P is many: the factor on `own` is the one with which all labels agree best, of those near one."""
    factors = np.linspace(0.75, 1.35, 241)
    left = own * factors[:, None, None] - labels
    misfit = np.mean((left - np.round(left)) ** 2, axis=(1, 2))
    best = np.argmin(misfit + 0.01 * (factors - 1.0) ** 2)
    return np.round(left[best]), factors[best], np.sqrt(misfit[best])


class Labels(batches.Labels):
    """As of other trainings, with conditions field (S, 3) and the polarization's quanta (S, 3, 3) with their pseudo-inverse.

    spreads : of each label;  whole (frames, 3) : whole numbers of quanta that put polarizations on their branches, None before
    that is known; they do not train until then where there are Born charges
    """

    SHAPES: ClassVar = {"energy": (), "forces": (3,), "stress": (3, 3), "polarization": (3,), "born_charges": (3, 3),
                        "polarizability": (3, 3)}
    OF_ATOMS: ClassVar = frozenset({"forces", "born_charges"})

    def __init__(self, frames, store, shifts, loss, cutoff, dtype, rows):
        super().__init__(frames, store, shifts, loss, cutoff, dtype)
        self.spreads = spreads([frames[r] for r in rows])
        self.charged = bool(self.has["born_charges"][rows].any() and loss.born_charges)
        self.whole = None

    def digest(self):
        return shards.digest(self.frames, (*self.SHAPES, "field"))

    def factor(self, name):
        waits = name == "polarization" and self.charged and self.whole is None
        return 0.0 if waits else super().factor(name) / self.spreads[name] ** 2

    def count(self, name, rows):
        """Of Born charges one random direction of the field is asked for."""
        return super().count(name, rows) // (3 if name == "born_charges" else 1)

    def target(self, name, row, frame):
        label = super().target(name, row, frame)
        if name == "polarization" and label is not None and self.whole is not None:
            label = label + self.whole[row] @ frame.quanta
        return label

    def conditions(self, found, atoms, systems):
        def rows(each, *shape):
            filled = np.zeros((systems, *shape))
            filled[: len(found)] = np.array([each(f) for f in found]).reshape(-1, *shape)
            return torch.tensor(filled, dtype=self.dtype)
        return (rows(lambda f: f.field, 3), rows(lambda f: f.quanta, 3, 3), rows(lambda f: np.linalg.pinv(f.quanta), 3, 3))

    def fractions(self, row, polarization):
        """(3,) of a frame's quanta."""
        return np.linalg.pinv(self.frames[row].quanta).T @ polarization


def branchless(frames):
    """(frames, 3) e·Å: polarizations less their circular mean, each on the branch nearest to it; less the mean along open
    directions."""
    frames = [f for f in frames if f.polarization is not None]
    cells, P = np.array([f.quanta for f in frames]), np.array([f.polarization for f in frames])
    s = np.einsum("fa,fab->fb", P, np.linalg.pinv(cells))
    across = P - np.einsum("fa,fab->fb", s, cells)
    s = s - np.angle(np.exp(2j * np.pi * s).mean(0)) / (2 * np.pi)
    return np.einsum("fa,fab->fb", s - np.round(s), cells) + across - across.mean(0)


def spreads(frames):
    """{label: root mean square about the mean} over frames that have it, about zero where all are the same, 1 where none has
    it; Born charges about their mean over atoms."""
    def rms(own, about=lambda label: 0.0):
        flat = lambda parts: np.concatenate([np.ravel(part) for part in parts])
        sizes = (flat([label - about(label) for label in own]).std(), np.sqrt((flat(own) ** 2).mean())) if len(own) else ()
        return float(next((size for size in sizes if size > SAME), 1.0))
    have = lambda name: [np.asarray(getattr(f, name)) for f in frames if getattr(f, name) is not None]
    alpha = have("polarizability")
    return {
        "energy": rms([f.energy / len(f.symbols) for f in frames if f.energy is not None]),
        "forces": rms(have("forces")), "stress": rms(have("stress")),
        "polarization": rms(branchless(frames) if have("polarization") else ()),
        "born_charges": rms(have("born_charges"), lambda charges: charges.mean(0)),
        "polarizability": rms(alpha, lambda each: np.mean(alpha, 0)),
    }
