"""Errors of a model on labelled frames: MAE and RMSE for each quantity, forces for each species."""

from __future__ import annotations

import numpy as np
import torch

from plugins.equivariant.training.report import UNITS

PLOTTED = 50_000  # atoms in a parity plot
OF_SPECIES = "forces", "born_charges"  # told apart by species


class Errors:
    """Sums of absolute and squared errors by name; `pairs` has (label, prediction) of what was added with `keep`."""

    def __init__(self, species):
        self.species, self.sums, self.pairs = species, {}, {}

    def add(self, name, label, found, keep=False):
        error = (found - label).ravel()
        s = self.sums.setdefault(name, np.zeros(3))
        s += [np.abs(error).sum(), (error**2).sum(), error.size]
        if keep:
            self.pairs.setdefault(name, []).append(np.stack([label.ravel(), found.ravel()]))

    def total(self, processes):
        """Sums over all processes; the same names on all of them."""
        names = [*UNITS, *(f"{name} {s}" for name in OF_SPECIES for s in self.species)]
        table = torch.tensor(np.array([self.sums.get(n, np.zeros(3)) for n in names]))
        table = processes.sum([table])[0].numpy()
        self.sums = {n: row for n, row in zip(names, table) if row[2] > 0}
        return self

    def mae(self, name):
        s = self.sums.get(name)
        return float(s[0] / s[2]) if s is not None else float("nan")

    def rmse(self, name):
        s = self.sums.get(name)
        return float(np.sqrt(s[1] / s[2])) if s is not None else float("nan")

    def as_dict(self):
        return {name: {"mae": self.mae(name), "rmse": self.rmse(name), "count": int(s[2])} for name, s in self.sums.items()}


def spacing(labels, rows) -> int:
    """Every which frame is kept for a plot."""
    return max(-(-int(labels.sizes[rows].sum()) // PLOTTED), 1)


def measure(evaluation, parameters, labels, rows, shape, processes, keep=False) -> Errors:
    """Errors on frames `rows`; energies by atom, in eV, eV/Å and eV/Å³.

    keep : labels and predictions too, for parity plots, of as many frames, evenly chosen, as have some `PLOTTED` atoms
    """
    species = labels.store.names
    errors, every = Errors(species), spacing(labels, rows)
    group = shape.frames * processes.size
    for k in range(0, len(rows), group):
        part = [int(r) for r in rows[k:k + group]]
        batch = labels.batch(part, shape, processes.rank, processes.size)
        energy, forces, stress = (x if x is None else x.cpu() for x in evaluation(parameters, batch)[1])
        start = 0
        mine = list(enumerate(part, k))[processes.rank::processes.size]
        for s, (number, row) in enumerate(mine):
            f, n, kept = labels.frames[row], int(labels.sizes[row]), keep and number % every == 0
            if f.energy is not None:
                errors.add("energy", np.array([f.energy - labels.base[row]]) / n, energy[s:s + 1].numpy() / n, kept)
            if f.forces is not None:
                found = forces[start:start + n].double().numpy()
                errors.add("forces", f.forces, found, kept)
                for name in species:
                    those = f.symbols == name
                    if those.any():
                        errors.add(f"forces {name}", f.forces[those], found[those])
            if f.stress is not None and stress is not None:
                errors.add("stress", f.stress, stress[s].double().numpy(), kept)
            start += n
    return errors.total(processes)
