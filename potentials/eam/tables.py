"""Tabulated functions of embedded-atom potentials and how they are interpolated.

The field's convention (funcfl and setfl files, Foiles, Baskes and Daw 1986; as interpolated by LAMMPS): cubic Hermite
splines on a uniform grid with five-point slopes, ``r φ(r)`` rather than ``φ(r)`` in the pair table, and a linear
continuation of the embedding energy beyond its last density.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Tables:
    """An embedded-atom potential of T species on uniform grids starting at zero.

    embedding (T, n_rho) eV at ρ = k·d_rho; density (T, T, n_r): [a, b] is what an atom of b gives to one of a;
    rphi (T, T, n_r): r·φ in eV·Å; cutoff in Å.
    """

    species: list[str]
    d_rho: float
    d_r: float
    cutoff: float
    embedding: np.ndarray
    density: np.ndarray
    rphi: np.ndarray

    def select(self, names):
        """The tables of `names`, in their order."""
        rows = [self.species.index(name) for name in names]
        grid = np.ix_(rows, rows)
        return Tables(list(names), self.d_rho, self.d_r, self.cutoff, self.embedding[rows], self.density[grid], self.rphi[grid])


def hermite(values):
    """Spline records (..., n − 1, 4): value(p) = ((c3 p + c2) p + c1) p + c0 on interval k, p in [0, 1).

    Slopes are five-point differences inside, central next to the ends and one-sided at them.
    """
    f = np.asarray(values, float)
    slope = np.empty_like(f)
    slope[..., 2:-2] = ((f[..., :-4] - f[..., 4:]) + 8.0 * (f[..., 3:-1] - f[..., 1:-3])) / 12.0
    slope[..., 0] = f[..., 1] - f[..., 0]
    slope[..., 1] = 0.5 * (f[..., 2] - f[..., 0])
    slope[..., -2] = 0.5 * (f[..., -1] - f[..., -3])
    slope[..., -1] = f[..., -1] - f[..., -2]
    rise = f[..., 1:] - f[..., :-1]
    left, right = slope[..., :-1], slope[..., 1:]
    return np.stack([f[..., :-1], left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise], -1)
