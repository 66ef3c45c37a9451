"""Which frames seem to be in other units than their set is said to be in: what is a known conversion away from the rest.

Mixed sets: of numbers that are about as large in every frame, the sorted logarithms have no wide gap; where there is one, and
the two groups lie as far apart as two units do, somebody joined sets of different units. Whole sets: a shortest distance is about
the sum of two covalent radii, and an energy that counts all electrons is, in Hartree, that of Thomas-Fermi atoms with the
corrections of Scott and Schwinger, to a few per cent,

    E(Z) = −0.768745 Z^(7/3) + Z²/2 − 0.269900 Z^(5/3)

Energies of pseudopotentials and small forces are of any size: a whole set of them in other units cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import units
from ase.data import atomic_numbers, covalent_radii

from plugins.equivariant.graphs import build

KCAL, KJ, BOHR = units.mol / units.kcal, units.mol / units.kJ, 1 / units.Bohr
CONVERSIONS = {  # {label: {(unit of the larger numbers, of the smaller): their ratio}}
    "energies": {("kcal/mol", "eV"): KCAL, ("kJ/mol", "eV"): KJ, ("eV", "Hartree"): units.Hartree, ("eV", "Ry"): units.Rydberg},
    "forces": {("kcal/mol/Å", "eV/Å"): KCAL, ("kJ/mol/Å", "eV/Å"): KJ, ("eV/Å", "Hartree/Bohr"): units.Hartree * BOHR,
               ("eV/Å", "Ry/Bohr"): units.Rydberg * BOHR},
    "stresses": {("GPa", "eV/Å³"): 1 / units.GPa, ("kbar", "eV/Å³"): 10 / units.GPa, ("kbar", "GPa"): 10.0},
    "shortest distances": {("Bohr", "Å"): BOHR},
}
NOBLE = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}  # far from one another at any pressure
LONG, SHORT, SURE = 1.35, 0.6, 0.05  # of shortest distances by covalent radii; of logarithms of energies of all electrons


def distances(frame) -> tuple[float, float]:
    """The shortest distance, Å, and the shortest by the sum of the atoms' covalent radii; NaN where nothing is near."""
    radii = covalent_radii[[atomic_numbers.get(s, 0) for s in frame.symbols]]
    length = relative = np.nan
    for reach in (1.2, 2.4):  # the second for lengths in Bohr
        graph = build(frame.positions, frame.cell, frame.periodic, np.zeros(len(radii), int), float(2 * radii.max() * reach))
        if len(graph.centre):
            lengths = np.linalg.norm(graph.vectors, axis=1)
            length, relative = float(lengths.min()), float((lengths / (radii[graph.centre] + radii[graph.neighbour])).min())
            if relative <= reach:  # none that is further away is nearer for its radii
                break
    return length, np.nan if set(frame.symbols) <= NOBLE else relative


def all_electrons(symbols) -> float:
    """eV, of free atoms with all their electrons."""
    z = np.array([atomic_numbers.get(s, 0) for s in symbols], float)
    return float((-0.768745 * z ** (7 / 3) + z**2 / 2 - 0.2699 * z ** (5 / 3)).sum()) * units.Hartree


def mixed(label: str, values) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(text, rows of the larger, rows of the smaller) if `values` (frames,), NaN where there is none, are in two units."""
    rows = np.flatnonzero(np.isfinite(values) & (values > 0))
    rows = rows[np.argsort(values[rows])]
    x = np.log(values[rows])
    if len(x) < 6:
        return
    gap = int(np.diff(x)[1:-1].argmax()) + 2  # at least two frames on either side
    low, high = x[:gap], x[gap:]
    apart, spread = np.median(high) - np.median(low), max(low.std(), high.std())
    error = 0.05 + 2.5 * spread * (1 / len(low) + 1 / len(high)) ** 0.5  # twice that of two medians
    clear = x[gap] - x[gap - 1]
    near = [f"{larger} and {smaller} ({ratio:.4g})" for (larger, smaller), ratio in CONVERSIONS[label].items()
            if abs(apart - np.log(ratio)) < error and clear > np.log(ratio) / 2 and spread < np.log(ratio) / 5]
    if near:
        yield (f"{label} of two kinds, {np.exp(apart):.3g} times apart, as are {' or '.join(near)}: {{}}; and {{}}: mixed units?",
               rows[gap:], rows[:gap])


def whole_lengths(relative) -> Iterator[str]:
    """What is odd with lengths of which most are; `relative` as from ``distances``."""
    known = relative[np.isfinite(relative)]
    typical = np.median(known) if len(known) else 1.0
    if typical > LONG or typical < SHORT:
        unit = "Bohr read as Å" if typical > LONG else "Å read as Bohr, nm, or fractions of the cell"
        yield f"typical shortest distances are {typical:.3g} times the sum of the covalent radii: {unit}?"


def whole_energies(by_all) -> Iterator[str]:
    """`by_all` (frames,): energies by those of all electrons; a set with all electrons has 1."""
    known = by_all[np.isfinite(by_all) & (by_all > 0)]
    if not len(known) or np.log(known).std() > SURE:
        return
    typical = np.log(np.median(known))
    for (larger, smaller), ratio in CONVERSIONS["energies"].items():
        unit, away = (larger, np.log(ratio)) if smaller == "eV" else (smaller, -np.log(ratio))
        if abs(typical - away) < SURE:
            yield f"energies are {np.exp(typical):.4g} times those of atoms with all electrons: {unit} read as eV?"
