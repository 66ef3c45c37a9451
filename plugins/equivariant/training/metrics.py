"""Errors of a model on labelled frames: MAE and RMSE for each quantity, forces for each species."""

from __future__ import annotations

import numpy as np
import torch


class Errors:
    """Sums of absolute and squared errors by name; `pairs` keeps (label, prediction) for parity plots if asked."""

    def __init__(self, species, keep=False):
        self.species, self.sums, self.keep, self.pairs = species, {}, keep, {}

    def add(self, name, label, found):
        error = (found - label).ravel()
        s = self.sums.setdefault(name, np.zeros(3))
        s += [np.abs(error).sum(), (error**2).sum(), error.size]
        if self.keep:
            self.pairs.setdefault(name, []).append(np.stack([label.ravel(), found.ravel()]))

    def total(self, processes):
        """Sums over all processes; the same names on all of them."""
        names = ["energy", "forces", "stress"] + [f"forces {s}" for s in self.species]
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


def measure(evaluation, parameters, labels, rows, shape, processes, keep=False) -> Errors:
    """Errors on frames `rows`; energies by atom, in eV, eV/Å and eV/Å³."""
    species = labels.species_names
    errors = Errors(species, keep)
    group = shape.frames * processes.size
    for k in range(0, len(rows), group):
        part = [int(r) for r in rows[k:k + group]]
        batch = labels.batch(part, shape, processes.rank, processes.size)
        _, (energy, forces, stress) = evaluation(parameters, batch)
        start = 0
        for s, row in enumerate(part[processes.rank::processes.size]):
            f, n = labels.frames[row], len(labels.frames[row].symbols)
            if f.energy is not None:
                errors.add("energy", np.array([f.energy - labels.base[row]]) / n, energy[s:s + 1].numpy() / n)
            if f.forces is not None:
                found = forces[start:start + n].double().numpy()
                errors.add("forces", f.forces, found)
                for name in species:
                    mine = f.symbols == name
                    if mine.any():
                        errors.add(f"forces {name}", f.forces[mine], found[mine])
            if f.stress is not None and stress is not None:
                errors.add("stress", f.stress, stress[s].double().numpy())
            start += n
    return errors.total(processes)
