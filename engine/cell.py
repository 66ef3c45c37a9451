"""Cells: rows are lattice vectors, any triclinic shape, any mixture of periodic and open directions."""

import numpy as np


def inverse(cells):
    """Inverses (S, 3, 3) of cells (S, 3, 3): fractional = positions @ inverse."""
    return np.linalg.inv(cells)


def volume(cells):
    """Volumes (S,) in Å³."""
    return np.abs(np.linalg.det(cells))


def heights(cells):
    """Distances (S, 3) between opposite faces: 1/|column of the inverse|."""
    return 1.0 / np.linalg.norm(inverse(cells), axis=1)


def complete(cell, periodic, positions, padding=1.0):
    """A cell (3, 3) whose open directions without a usable vector span the atoms.

    An open direction keeps a given vector only if it is not zero; a missing one is made orthogonal to the other
    vectors, as long as the atoms extend along it plus `padding` on both sides. Returns the cell and the origin (3,)
    that fractional coordinates of open directions are counted from.
    """
    cell = np.array(cell, float)
    missing = [d for d in range(3) if np.linalg.norm(cell[d]) < 1e-12]
    present = [cell[d] for d in range(3) if d not in missing]
    for d in missing:
        direction = _orthogonal(present, d)
        cell[d] = direction
        present.append(direction)
    extent = positions @ np.linalg.inv(cell) if len(positions) else np.zeros((1, 3))
    low, high = extent.min(0), extent.max(0)
    origin = np.zeros(3)
    for d in range(3):
        if periodic[d]:
            continue
        length = np.linalg.norm(cell[d])
        width = (high[d] - low[d]) + 2 * padding / length
        origin += (low[d] - padding / length) * cell[d]
        cell[d] = cell[d] * width
    return cell, origin


def _orthogonal(vectors, fallback):
    if len(vectors) == 2:
        normal = np.cross(vectors[0], vectors[1])
        return normal / np.linalg.norm(normal)
    axis = np.eye(3)[fallback]
    if not vectors:
        return axis
    along = vectors[0] / np.linalg.norm(vectors[0])
    for trial in (axis, *np.eye(3)):
        rest = trial - (trial @ along) * along
        if np.linalg.norm(rest) > 1e-3:
            return rest / np.linalg.norm(rest)
    raise AssertionError("three axes cannot all be parallel to one vector")
