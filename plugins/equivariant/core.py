"""The screened nuclear core under a model with ``zbl = true``: the engine's own ZBL potential.

The model is trained on what is left of the labels when the core is taken off, and a run adds the core again, so no
learned part has to follow the steep repulsion of nuclei. The core ends smoothly at 2 Å (or the model's cutoff), where
it is some hundredths of an eV for light elements.
"""

from __future__ import annotations

import numpy as np

REACH = 2.0  # Å


def repulsion(cutoff):
    """The ZBL potential for a model of this cutoff."""
    from potentials.pair.zbl import ZBL

    outer = min(REACH, cutoff)
    return ZBL(inner=0.5 * outer, cutoff=outer)


def subtract(frames, cutoff):
    """Frames with the core's energy, forces and stress taken off their labels."""
    from dataclasses import replace

    from ase import Atoms

    from engine.testing import evaluate

    out = []
    for f in frames:
        atoms = Atoms(list(f.symbols), f.positions, cell=f.cell, pbc=f.periodic)
        core = evaluate(repulsion(cutoff), atoms, {"energy", "forces", "virial"})
        out.append(replace(
            f, energy=None if f.energy is None else f.energy - float(core.energy[0]),
            forces=None if f.forces is None else f.forces - core.forces,
            stress=None if f.stress is None else f.stress + core.virial[0] / f.volume))
    return [f if f.forces is None else _finite(f) for f in out]


def _finite(frame):
    from engine.errors import InputError

    if not np.isfinite(frame.forces).all():
        raise InputError(f"{frame.source}: the nuclear core is not finite; do two atoms sit on one place?")
    return frame
