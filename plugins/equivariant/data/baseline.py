"""What every atom of a species contributes on average: shifts by least squares, scales from the forces."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.errors import InputError
from plugins.equivariant.data.frames import Frame


def counts(frame: Frame, species: list[str]) -> np.ndarray:
    """(species,) how many atoms of each."""
    return np.array([(frame.symbols == s).sum() for s in species], float)


class Triangle:
    """What least squares need of a tall matrix whose rows come one by one: the triangle R of its QR decomposition."""

    def __init__(self, columns):
        self.r, self.rows = np.zeros((0, columns)), []

    def add(self, row):
        self.rows.append(row)
        if len(self.rows) >= 256:
            self.fold()

    def fold(self):
        if self.rows:
            self.r, self.rows = np.linalg.qr(np.concatenate([self.r, self.rows]), "r"), []
        return self.r

    def solve(self):
        """x that minimises |A x − b| for rows [A | b]."""
        r = self.fold()
        return np.linalg.lstsq(r[:, :-1], r[:, -1], rcond=None)[0]


def shifts(frames: Iterable[Frame], species: list[str], given: dict[str, float] | str | None = None) -> np.ndarray:
    """(species,) eV for each atom; frames are looked at once, one by one.

    From the energies by least squares; refused where compositions do not tell the species apart, as in a set of one
    composition. given : {"O": -432.1, ...}, or "mean": one shift for all, the average energy of an atom.
    """
    if isinstance(given, dict):
        return _given("shifts", given, species)
    equations, fractions, each = Triangle(len(species) + 1), Triangle(len(species)), []
    for f in frames:
        if f.energy is not None:
            row = counts(f, species)
            equations.add(np.append(row, f.energy))
            fractions.add(row / row.sum())
            each.append(f.energy / row.sum())
    if not each:
        return np.zeros(len(species))
    if given == "mean":
        return np.full(len(species), np.mean(each))
    rank = np.linalg.matrix_rank(fractions.fold(), tol=1e-3)
    if rank < len(species):
        raise InputError(
            f"shifts: energies of {', '.join(species)} cannot be told apart, as the compositions in the data have rank {rank} "
            f"of {len(species)}; set shifts = \"mean\" (one shift for all) or give one for each, as {{ "
            + ", ".join(f"{s} = ..." for s in species) + " }")
    return equations.solve()


def scales(frames: Iterable[Frame], species: list[str], given: dict[str, float] | str = "one") -> np.ndarray:
    """(species,) eV, by which what the model says of an atom is multiplied (its unit of length is the Å).

    given : "one", the root mean square of all force components, for every species; "species", that of the components on
    atoms of each, but not below a tenth of the one, so that a species that hardly moves is not silenced, and the one where
    no frame has the species; or {"O": 1.5, ...}. 1 eV where there are no forces.
    """
    if isinstance(given, dict):
        found = _given("scales", given, species)
        if not (found > 0).all() or not np.isfinite(found).all():
            raise InputError(f"scales: {given} must be finite numbers above 0, eV")
        return found
    squares, components = np.zeros((2, len(species)))
    for f in frames:
        if f.forces is not None:
            for k, name in enumerate(species):
                on = f.forces[f.symbols == name]
                squares[k], components[k] = squares[k] + (on**2).sum(), components[k] + on.size
    one = (squares.sum() / max(components.sum(), 1)) ** 0.5
    if one <= 1e-8:
        return np.ones(len(species))
    if given == "one":
        return np.full(len(species), one)
    return by_species(one, (squares / np.maximum(components, 1)) ** 0.5, components)


def by_species(one: float, each: np.ndarray, count: np.ndarray) -> np.ndarray:
    """`each` species' root mean square, not below a tenth of that of all; `one` where it was not counted."""
    return np.where(count > 0, np.maximum(each, one / 10), one)


def _given(what, table, species):
    for name in species:
        if name not in table:
            raise InputError(f"{what}: none is given for {name}; give all of {', '.join(species)}")
    return np.array([float(table[name]) for name in species])
