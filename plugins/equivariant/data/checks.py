"""What is wrong, or looks wrong, with labelled frames: a report, and a refusal where training would be nonsense."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from engine.errors import InputError
from plugins.equivariant.data.frames import Frame


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


def _some(frames):
    shown = ", ".join(f.source for f in frames[:3])
    return shown + (f" and {len(frames) - 3} more" if len(frames) > 3 else "")


def check(frames: list[Frame]) -> Report:
    """Look at every frame: numbers that are none, labels that are missing, duplicates, outliers, suspicious units."""
    report = Report()
    sizes = [len(f.symbols) for f in frames]
    species = sorted({s for f in frames for s in f.symbols})
    report.lines.append(f"{len(frames)} frames of {min(sizes)} to {max(sizes)} atoms, species {', '.join(species)}")
    for label in ("energy", "forces", "stress"):
        having = [f for f in frames if getattr(f, label) is not None]
        report.lines.append(f"{label}: {len(having)} frames")
        if having and len(having) < len(frames):
            report.warnings.append(f"{len(frames) - len(having)} frames have no {label}")
        for f in having:
            if not np.isfinite(getattr(f, label)).all():
                report.refused.append(f"{f.source}: {label} is not a number")
    for f in frames:
        if not (np.isfinite(f.positions).all() and np.isfinite(f.cell).all()):
            report.refused.append(f"{f.source}: a position or cell vector is not a number")
        elif f.periodic.any() and np.linalg.norm(f.cell[f.periodic], axis=1).min() < 1e-6:
            report.refused.append(f"{f.source}: periodic without a cell vector")
    if not any(f.energy is not None or f.forces is not None for f in frames):
        report.refused.append("no frame has an energy or forces under a name that is known; name them with energy = ..., "
                              "forces = ...")
    if report.refused:
        return report
    _duplicates(frames, report)
    _energies(frames, report)
    _forces(frames, report)
    _distances(frames, report)
    return report


def _duplicates(frames, report):
    seen: dict[str, Frame] = {}
    for f in frames:
        key = hashlib.sha256(np.round(f.positions, 6).tobytes() + "".join(f.symbols).encode()
                             + np.round(f.cell, 6).tobytes()).hexdigest()
        if key in seen:
            report.warnings.append(f"{f.source} has the same positions as {seen[key].source}")
        seen.setdefault(key, f)


def _energies(frames, report):
    having = [f for f in frames if f.energy is not None]
    if len(having) < 8:
        return
    names = sorted({s for f in having for s in f.symbols})
    counts = np.array([[(f.symbols == s).sum() for s in names] for f in having], float)
    energies, sizes = np.array([f.energy for f in having]), counts.sum(1)
    shifts, *_ = np.linalg.lstsq(counts, energies, rcond=None)
    rest = (energies - counts @ shifts) / sizes
    spread = 1.4826 * np.median(np.abs(rest - np.median(rest)))
    odd = [f for f, r in zip(having, rest) if abs(r - np.median(rest)) > max(12 * spread, 1e-6)]
    if odd:
        report.warnings.append(f"energies far from the others' (12 deviations or more): {_some(odd)}")
    if rest.std() > 20:
        report.warnings.append(f"energies per atom scatter by {rest.std():.3g} eV: mixed units or mixed methods?")


def _forces(frames, report):
    having = [f for f in frames if f.forces is not None]
    if not having:
        return
    rms = np.array([np.sqrt((f.forces**2).mean()) for f in having])
    total = float(np.sqrt((rms**2).mean()))
    report.lines.append(f"forces: rms {total:.4g} eV/Å, largest {max(np.abs(f.forces).max() for f in having):.4g}")
    if np.median(rms) > 10:
        report.warnings.append(f"a typical force of {np.median(rms):.3g} eV/Å is large: kcal/mol or a length in Bohr?")
    if 0 < np.median(rms) < 1e-4:
        report.warnings.append(f"a typical force of {np.median(rms):.3g} eV/Å is tiny: Hartree/Bohr or a minimum?")
    odd = [f for f, r in zip(having, rms) if r > 20 * np.median(rms) > 0]
    if odd:
        report.warnings.append(f"forces more than 20 times the typical ones: {_some(odd)}")
    net = [f for f in having if np.abs(f.forces.sum(0)).max() > 0.1 * len(f.symbols) ** 0.5 * max(total, 1e-3)]
    if net:
        report.warnings.append(f"forces do not sum to zero: {_some(net)}")


def _distances(frames, report):
    from plugins.equivariant.graphs import build

    close = []
    for f in frames:
        graph = build(f.positions, f.cell, f.periodic, np.zeros(len(f.symbols), int), 0.6)
        if len(graph.centre):
            close.append(f)
    if close:
        report.warnings.append(f"atoms closer than 0.6 Å: {_some(close)}: positions in another unit, or overlap?")
