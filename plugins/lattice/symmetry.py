"""Crystal symmetry of a supercell, found by spglib, as projections of vectors and force constants."""

from dataclasses import dataclass

import numpy as np
import spglib

from engine.errors import InputError


@dataclass
class Symmetry:
    """Space-group operations of the supercell: Cartesian rotations (g, 3, 3) and atom maps (g, n), i -> maps[g, i]."""

    rotations: np.ndarray
    maps: np.ndarray
    name: str = "P1"

    @classmethod
    def of(cls, lattice, tolerance=1e-3):
        """All operations of `lattice` (Å tolerance), pure translations of the primitive cell included."""
        numbers = [sorted(set(lattice.symbols)).index(s) + 1 for s in lattice.symbols]
        inverse = np.linalg.inv(lattice.cell)
        fractional = lattice.positions @ inverse
        cell = (lattice.cell, fractional, numbers)
        found = spglib.get_symmetry(cell, symprec=tolerance)
        if found is None:
            raise InputError(f"no symmetry could be found with tolerance {tolerance} Å; try a larger one")
        rotations, maps = [], []
        for W, t in zip(found["rotations"], found["translations"]):
            image = fractional @ W.T + t
            gap = image[:, None] - fractional[None]
            gap -= np.round(gap)
            distance = np.linalg.norm(gap @ lattice.cell, axis=2)
            to = distance.argmin(1)
            if len(set(to)) == len(to) and distance.min(1).max() < 10 * tolerance:
                maps.append(to)
                rotations.append(lattice.cell.T @ W @ inverse.T)
        kind = spglib.get_symmetry_dataset(cell, symprec=tolerance)
        return cls(np.array(rotations), np.array(maps), f"{kind.international} ({kind.number})")

    def __len__(self):
        return len(self.maps)

    def __post_init__(self):
        """The group as (one operation for each rotation) × (pure translations): means are taken in two stages."""
        keys = [tuple(np.round(Q, 4).ravel() + 0.0) for Q in self.rotations]
        first = {key: k for k, key in reversed(list(enumerate(keys)))}
        unit = tuple(np.eye(3).ravel())
        translations = [k for k, key in enumerate(keys) if key == unit]
        self.stages = (translations, list(first.values()))

    def _mean(self, x, turn, place):
        for stage in self.stages:
            out = np.zeros_like(x)
            for k in stage:
                out[place(self.maps[k])] += turn(self.rotations[k], x)
            x = out / len(stage)
        return x

    def vector(self, v):
        """Mean of a polar vector field (n, 3) over the group."""
        return self._mean(v, lambda Q, x: x @ Q.T, lambda to: to)

    def matrix(self, phi):
        """Mean of a second-rank tensor field (3n, 3n), e.g. force constants, over the group."""
        n = self.maps.shape[1]
        blocks = phi.reshape(n, 3, n, 3).transpose(0, 2, 1, 3)
        out = self._mean(blocks, lambda Q, x: Q @ x @ Q.T, lambda to: np.ix_(to, to))
        return out.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)

    def atomic(self, t):
        """Mean of one second-rank tensor for each atom (n, 3, 3), e.g. Born charges."""
        return self._mean(t, lambda Q, x: Q @ x @ Q.T, lambda to: to)

    def third(self, phi):
        """Mean of a third-rank tensor field (3n, 3n, 3n)."""
        n = self.maps.shape[1]
        x = phi.reshape(n, 3, n, 3, n, 3).transpose(0, 2, 4, 1, 3, 5)
        turn = lambda Q, x: np.einsum("xyzabc,ia,jb,kc->xyzijk", x, Q, Q, Q, optimize=True)
        out = self._mean(x, turn, lambda to: np.ix_(to, to, to))
        return out.transpose(0, 3, 1, 4, 2, 5).reshape(phi.shape)

    def reduced(self, coordinates):
        """Projection (force (d,), curvature (d, d)) -> the same, in reduced coordinates."""

        def project(force, curvature):
            left = coordinates.basis / coordinates.weights[:, None]
            f = self.vector((left @ force).reshape(-1, 3))
            K = self.matrix(coordinates.force_constants(curvature))
            return coordinates.forces(f), coordinates.matrix(K)

        return project
