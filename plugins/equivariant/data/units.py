"""Which frames seem to be in other units than their set is said to be in: what is a known conversion away from the rest.

Mixed sets: of numbers that are about as large in every frame, the sorted logarithms have no wide gap; where there is one, and
the two groups lie as far apart as two units do, somebody joined sets of different units. Whole sets: a shortest distance is about
the sum of two covalent radii, and an energy that counts all electrons is, in Hartree, that of Thomas-Fermi atoms with the
corrections of Scott and Schwinger, to a few per cent,

    E(Z) = −0.768745 Z^(7/3) + Z²/2 − 0.269900 Z^(5/3)

Between frames that are near each other the energy changes by the work of the forces, so their units must belong together:
Hartree and Hartree/Bohr beside Å are 1.89 apart. Other energies, and forces that are small, are of any size and tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import units
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import find_mic

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
STEP, ALIKE = 0.3, 0.95  # Å, rms way between frames that are near; correlation of energy and work that says something


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


def work(a, b) -> tuple[float, float]:
    """(energy, work of the forces by the trapezoidal rule), eV, that b has more than a; NaN unless the two are near."""
    if a is not None and None not in (a.energy, b.energy) and a.forces is not None and b.forces is not None \
            and np.array_equal(a.symbols, b.symbols) and np.allclose(a.cell, b.cell):
        way, length = find_mic(b.positions - a.positions, a.cell, a.periodic)
        if (length**2).mean() < STEP**2:
            return b.energy - a.energy, float(-0.5 * ((a.forces + b.forces) * way).sum())
    return np.nan, np.nan


def unlike(changes) -> Iterator[str]:
    """What is odd with energies beside forces; `changes` (pairs, 2) as from ``work``."""
    energy, done = changes[np.isfinite(changes).all(1)].T
    norm = ((energy @ energy) * (done @ done)) ** 0.5
    if len(energy) < 5 or not norm > 0 or abs(energy @ done) < ALIKE * norm:
        return
    slope = (energy @ done) / (done @ done)
    if not 0.6 < slope < 1.6:  # anharmonic crystals have 0.7
        why = "forces of the wrong sign" if slope < 0 else "units that do not fit, as Hartree, Hartree/Bohr and Å (1.89)"
        yield f"energies of neighbouring frames differ by {slope:.3g} times the work of the forces: {why}?"


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
