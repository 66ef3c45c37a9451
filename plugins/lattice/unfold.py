"""Force constants of one cell carried to a supercell of it.

    python -m plugins.lattice.unfold model.h5 start.h5 1 1 2 model40.h5 start40.h5 crystal40.extxyz

In the small cell, terms of all periodic images lie on top of one another. Each term goes to the images that are nearest to
each other: those with the smallest sum of all distances in its cluster, shared equally where several are. Displacements
that repeat from cell to cell then cost what they did, N times; the others are as good as the interactions are short.
"""

import sys
from dataclasses import replace
from itertools import product

import numpy as np
from scipy.sparse import coo_array

from integrators.gaussian.lattice import Lattice
from potentials.force_constants import ForceConstants, StrainCoupling
from potentials.polynomial import Polynomial, pairs

NEAR = [np.array(s) for s in product((-1, 0, 1), repeat=3)]


class Unfolding:
    """The map of terms; `repeats` (3,) copies of the cell along its vectors."""

    def __init__(self, positions, cell, repeats):
        self.positions, self.cell, self.repeats = positions, cell, np.array(repeats)
        self.cells = np.array(list(product(*(range(m) for m in repeats))))
        self.n, self._known = len(positions), {}

    def images(self, atoms):
        """Shifts [(k, 3), ...] of the distinct `atoms` (a sorted tuple), the first in the cell, for each nearest cluster."""
        if atoms not in self._known:
            x = self.positions[list(atoms)]
            options = [[np.zeros(3, int)]]
            for k in range(1, len(atoms)):
                d = np.array([np.linalg.norm(x[k] + s @ self.cell - x[0]) for s in NEAR])
                options.append([s for s, r in zip(NEAR, d) if r < d.min() + 3.0])
            found = []
            for choice in product(*options):
                y = x + np.array(choice) @ self.cell
                found.append((np.sum(np.linalg.norm(y[:, None] - y[None], axis=2)), np.array(choice)))
            least = min(f[0] for f in found)
            self._known[atoms] = [c for s, c in found if s < least + 1e-2]
        return self._known[atoms]

    def index(self, cell, coordinate):
        """Supercell coordinates of base `coordinate` (3·atom + axis) in the cells (m, 3)."""
        wrapped = np.mod(cell, self.repeats)
        row = np.ravel_multi_index(wrapped.T, self.repeats)
        return row * 3 * self.n + coordinate

    def place(self, coordinates):
        """For base coordinates (a tuple) all their places: [(weight, (m, k) supercell coordinates), ...]."""
        atoms = [c // 3 for c in coordinates]
        distinct = tuple(sorted(set(atoms)))
        found = self.images(distinct)
        for shifts in found:
            where = {a: s for a, s in zip(distinct, shifts)}
            yield 1.0 / len(found), np.stack([self.index(self.cells + where[a], c) for a, c in zip(atoms, coordinates)], 1)

    def vector(self, v):
        return np.tile(v, len(self.cells))

    def matrix(self, m):
        out = np.zeros((3 * self.n * len(self.cells),) * 2)
        for i in range(self.n):
            for j in range(self.n):
                block = m[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
                for weight, rows in self.place((3 * i, 3 * j)):
                    for a, b in rows:
                        out[a : a + 3, b : b + 3] += weight * block
        return out

    def third(self, third):
        d = 3 * self.n * len(self.cells)
        bi, bj, _, _ = pairs(3 * self.n)
        _, _, _, index = pairs(d)
        rows, columns, values = [], [], []
        for k, a in zip(*np.nonzero(third)):
            for weight, at in self.place((int(k), int(bi[a]), int(bj[a]))):
                rows.append(at[:, 0])
                columns.append(index[at[:, 1], at[:, 2]])
                values.append(np.full(len(at), weight * third[k, a]))
        return coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
                         shape=(d, d * (d + 1) // 2)).tocsr()

    def fourth(self, fourth):
        d = 3 * self.n * len(self.cells)
        bi, bj, _, _ = pairs(3 * self.n)
        _, _, _, index = pairs(d)
        p = d * (d + 1) // 2
        rows, columns, values = [], [], []
        for a, b in zip(*np.nonzero(fourth)):
            for weight, at in self.place((int(bi[a]), int(bj[a]), int(bi[b]), int(bj[b]))):
                rows.append(index[at[:, 0], at[:, 1]])
                columns.append(index[at[:, 2], at[:, 3]])
                values.append(np.full(len(at), weight * fourth[a, b]))
        return coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(p, p)).tocsr()


def unfold_lattice(lattice, repeats):
    u = Unfolding(lattice.positions, lattice.cell, repeats)
    N = len(u.cells)
    positions = ((u.cells @ lattice.cell)[:, None] + lattice.positions).reshape(-1, 3)
    return replace(
        lattice, symbols=list(lattice.symbols) * N, cell=lattice.cell * np.array(repeats)[:, None], positions=positions,
        masses=np.tile(lattice.masses, N), force_constants=u.matrix(lattice.force_constants),
        born=None if lattice.born is None else np.tile(lattice.born, (N, 1, 1)), notes={},
    )


def unfold_model(model, repeats, path):
    """Write the `ForceConstants` file of the supercell."""
    u, p = Unfolding(model.reference, model.cell, repeats), model.polynomial
    N = len(u.cells)
    positions = ((u.cells @ model.cell)[:, None] + model.reference).reshape(-1, 3)
    polynomial = Polynomial(N * p.constant, u.vector(p.linear), u.matrix(p.second), u.third(p.third), u.fourth(p.fourth))
    virial = None
    if model.virial is not None:
        w = model.virial
        virial = StrainCoupling(N * w.constant, np.tile(w.linear, (1, N)), np.stack([u.matrix(m) for m in w.second]))
    ForceConstants.save(path, list(model.symbols) * N, positions, model.cell * np.array(repeats)[:, None], polynomial, virial,
                        None if model.born is None else np.tile(model.born, (N, 1, 1)))


def main(arguments):
    from ase import Atoms

    model, start, repeats = ForceConstants(arguments[0]), Lattice.load(arguments[1]), [int(a) for a in arguments[2:5]]
    unfold_model(model, repeats, arguments[5])
    lattice = unfold_lattice(start, repeats)
    lattice.save(arguments[6])
    atoms = Atoms(lattice.symbols, positions=lattice.positions, cell=lattice.cell, pbc=True)
    atoms.set_masses(lattice.masses)
    atoms.write(arguments[7])


if __name__ == "__main__":
    if len(sys.argv) != 9:
        sys.exit(__doc__)
    main(sys.argv[1:])
