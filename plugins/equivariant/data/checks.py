"""What is wrong, or looks wrong, with labelled frames: a report, and a refusal where training would be nonsense."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.errors import InputError
from plugins.equivariant.data import shards, units
from plugins.equivariant.data.baseline import Triangle, counts
from plugins.equivariant.data.frames import Frame

SHOWN, MOST = 3, 20  # frames named in one warning; warnings of one kind


@dataclass
class Report:
    """Lines for a person; `refused` are reasons not to train on these frames."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __str__(self):
        return "\n".join(self.lines + [f"warning: {w}" for w in self.warnings] + [f"refused: {r}" for r in self.refused])

    def require(self):
        if self.refused:
            more = f" (and {len(self.refused) - 1} more)" if len(self.refused) > 1 else ""
            raise InputError(f"data: {self.refused[0]}{more}")

    def warn(self, frames, text, *groups):
        """One warning for all rows of each group; in `text`, {} are where they stand."""
        if all(map(len, groups)):
            self.warnings.append(text.format(*(_named(rows, frames) for rows in groups)))


def _named(rows, frames):
    shown = ", ".join(frames[int(r)].source for r in rows[:SHOWN])
    return shown + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")


def check(frames: Sequence[Frame], labels=shards.LABELS, enough=("energy", "forces")) -> Report:
    """Look at every frame, one by one: numbers that are none, labels that are missing, duplicates, outliers, suspicious
    units. Of a frame no more than a few numbers are kept.

    labels : that there may be;  enough : of which one at least must be there
    """
    report, n = Report(), len(frames)
    species, size, labelled = set(), shards.sizes(frames), {name: shards.having(frames, name) for name in labels}
    wrong = []  # (what about it, row)
    for row, f in enumerate(frames):
        species |= set(f.symbols)
        wrong += [(f"{label} is not a number", row) for label in labelled
                  if labelled[label][row] and not np.isfinite(getattr(f, label)).all()]
        if not len(f.symbols):
            wrong.append(("no atoms", row))
        elif not (np.isfinite(f.positions).all() and np.isfinite(f.cell).all()):
            wrong.append(("a position or cell vector is not a number", row))
        elif f.periodic.any() and np.linalg.norm(f.cell[f.periodic], axis=1).min() < 1e-6:
            wrong.append(("periodic without a cell vector", row))
        elif _flat(f.cell):
            wrong.append(("cell vectors on one line or in one plane", row))
    names = sorted(species)
    report.lines.append(f"{n} frames of {size.min()} to {size.max()} atoms, species {', '.join(names)}")
    for label, having in labelled.items():
        report.lines.append(f"{label}: {having.sum()} frames")
        if 0 < having.sum() < n:
            report.warnings.append(f"{n - having.sum()} frames have no {label}")
    report.refused += [f"{frames[row].source}: {what}" for what, row in wrong]
    if not any(labelled[name].any() for name in enough):
        report.refused.append(f"no frame has {', '.join(enough[:-1])} or {enough[-1]} under a name that is known; name them with "
                              "energy = ..., forces = ...")
    if report.refused:
        return report
    _look_closer(frames, names, report)
    return report


def _flat(cell):
    """Whether a vector of the cell is a combination of the others; those of length zero are none."""
    length = np.linalg.norm(cell, axis=1)
    there = cell[length > 1e-6] / length[length > 1e-6, None]
    return np.linalg.matrix_rank(there, tol=1e-3) < len(there)


def _look_closer(frames, names, report):
    """Duplicates, energies, forces, stresses and distances of frames whose numbers are numbers."""
    n = len(frames)
    same, (per_atom, by_fit, by_all, rms, net, largest, stress, near, relative) = np.zeros(n, np.uint64), np.full((9, n), np.nan)
    energies, changes, previous = Triangle(len(names) + 1), [], None
    for row, f in enumerate(frames):
        changes.append(units.work(previous, f))
        previous = f
        same[row] = _place(f)
        near[row], relative[row] = units.distances(f)
        if f.energy is not None:
            energies.add(np.append(counts(f, names), f.energy))
            by_all[row] = f.energy / (units.all_electrons(f.symbols) or np.nan)
        if f.forces is not None:
            rms[row], largest[row] = np.sqrt((f.forces**2).mean()), np.abs(f.forces).max()
            net[row] = np.abs(f.forces.sum(0)).max() / len(f.symbols) ** 0.5
        if f.stress is not None:
            stress[row] = np.sqrt((f.stress**2).mean())
    _, first, which = np.unique(same, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(n))
    report.warnings += [f"{frames[int(row)].source} has the same positions as {frames[int(first[which[row]])].source}"
                        for row in again[:MOST]]
    if len(again) > MOST:
        report.warnings.append(f"{len(again) - MOST} more frames have the same positions as others")
    if shards.having(frames, "energy").sum() >= 8:
        shifts = energies.solve()
        for row, f in enumerate(frames):
            if f.energy is not None:
                fitted = counts(f, names) @ shifts
                per_atom[row], by_fit[row] = (f.energy - fitted) / len(f.symbols), f.energy / (fitted or np.nan)
        _energies(per_atom, frames, report)
    if shards.having(frames, "forces").any():
        _forces(rms, net, largest, frames, report)
    report.warn(frames, "atoms closer than 0.6 Å: {}: positions in another unit, or overlap?", np.flatnonzero(near < 0.6))
    if np.isfinite(stress).any() and np.nanmedian(stress) > 1:
        report.warnings.append(f"a typical stress of {np.nanmedian(stress):.3g} eV/Å³ is large: GPa or kbar?")
    report.warnings += [*units.whole_lengths(relative), *units.whole_energies(by_all), *units.unlike(np.array(changes))]
    for label, values in (("energies", by_fit), ("forces", rms), ("stresses", stress), ("shortest distances", relative)):
        for text, *groups in units.mixed(label, values):
            report.warn(frames, text, *groups)


def _place(f):
    """A number shared by frames with the same atoms at the same places, to 1e-6 Å."""
    return int.from_bytes(hashlib.sha256(f.place()).digest()[:8], "little")


def _energies(per_atom, frames, report):
    """per_atom (frames,) eV, less what the species contribute; NaN where there is no label."""
    middle = np.nanmedian(per_atom)
    spread = 1.4826 * np.nanmedian(np.abs(per_atom - middle))
    odd = np.flatnonzero(np.abs(per_atom - middle) > max(12 * spread, 1e-6))
    report.warn(frames, "energies far from the others' (12 deviations or more): {}", odd)
    if np.nanstd(per_atom) > 20:
        report.warnings.append(f"energies per atom scatter by {np.nanstd(per_atom):.3g} eV: mixed units or mixed methods?")


def _forces(rms, net, largest, frames, report):
    """rms and largest force component, and the net force over √n, of each frame; NaN where there is no label."""
    total, typical = float(np.sqrt(np.nanmean(rms**2))), np.nanmedian(rms)
    report.lines.append(f"forces: rms {total:.4g} eV/Å, largest {np.nanmax(largest):.4g}")
    if typical > 10:
        report.warnings.append(f"a typical force of {typical:.3g} eV/Å is large: kcal/mol or a length in Bohr?")
    if 0 < typical < 1e-4:
        report.warnings.append(f"a typical force of {typical:.3g} eV/Å is tiny: Hartree/Bohr or a minimum?")
    if typical > 0:
        report.warn(frames, "forces more than 20 times the typical ones: {}", np.flatnonzero(rms > 20 * typical))
    report.warn(frames, "forces do not sum to zero: {}", np.flatnonzero(net > 0.1 * max(total, 1e-3)))
