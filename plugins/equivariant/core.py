"""The screened nuclear core under a model with ``zbl = true``: the engine's own ZBL potential.

What no frame shows, a model does not know: two hydrogens of different molecules may find a hole at half an Å and fall
into it. The core begins where the data end, just inside the shortest distance of each pair of species in them (or
where ``cores`` says), so that labels are as they were and what is closer is repelled as nuclei are. Cores given by
hand may reach into the data: the model is then trained on what is left of the labels.

It rises to its whole strength within a tenth of its radius, where that makes nothing stiffer than bonds are, and else within
half. (Where hydrogens of two molecules, which nothing drives apart at 1.3 Å, met a core that rose within half, small models
of water fell into holes of 0.2 eV at 1 Å behind barriers of 0.1 eV. Bonded atoms meet the model's own repulsion.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.errors import InputError
from plugins.equivariant.description import Description

FARTHEST = 2.0  # Å, for pairs that are never close in the data
INSIDE = 0.98  # of the shortest distance
STIFFEST = 40.0  # eV/Å², that the rising core may add to a pair


def closest(store, d: Description) -> dict[str, float]:
    """{"O-H": Å} where the core of each pair ends, from a ``GraphStore``."""
    count = len(d.species)
    shortest = np.full((count, count), np.inf)
    for row in range(len(store)):
        g = store[row]
        np.minimum.at(shortest, (g.species[g.centre], g.species[g.neighbour]), np.linalg.norm(g.vectors, axis=1))
    return {f"{d.species[i]}-{d.species[j]}": min(round(float(min(INSIDE * shortest[i, j], FARTHEST)), 3), d.cutoff)
            for i in range(count) for j in range(i + 1)}


def repulsion(d: Description):
    """The ZBL potential of a model."""
    from potentials.pair.zbl import ZBL

    default = min(FARTHEST, d.cutoff)
    outer = {f"{a}-{b}": d.cores.get(f"{a}-{b}", d.cores.get(f"{b}-{a}", default))
             for k, a in enumerate(d.species) for b in d.species[:k + 1]}
    pairs = {pair: {"cutoff": radius, "inner": _inner(pair, radius)} for pair, radius in outer.items()}
    return ZBL(inner=0.5 * default, cutoff=default, pairs=pairs)


def _inner(pair, outer):
    """Å where the core of a pair has its whole strength."""
    from ase.data import atomic_numbers

    from engine import units
    from potentials.pair.zbl import POWER, RADIUS, derivatives

    z, y = (atomic_numbers[name] for name in pair.split("-"))
    force = -derivatives(outer, units.coulomb * z * y, RADIUS / (z**POWER + y**POWER))[1]
    return (0.9 if force < STIFFEST * 0.1 * outer else 0.5) * outer


def subtract(frames, d: Description):
    """Frames, one by one, with the core's energy, forces and stress taken off their labels."""
    from ase import Atoms

    from engine.testing import evaluate

    for f in frames:
        atoms = Atoms(list(f.symbols), f.positions, cell=f.cell, pbc=f.periodic)
        core = evaluate(repulsion(d), atoms, {"energy", "forces", "virial"})
        if not np.isfinite(core.forces).all():
            raise InputError(f"{f.source}: the nuclear core is not finite; do two atoms sit on one place?")
        yield replace(f, energy=None if f.energy is None else f.energy - float(core.energy[0]),
                      forces=None if f.forces is None else f.forces - core.forces,
                      stress=None if f.stress is None else f.stress + core.virial[0] / f.volume)
