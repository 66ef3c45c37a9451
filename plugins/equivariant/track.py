"""Which tensor products a local model of given order, parity and depth has, as sparse coefficient lists.

A layer multiplies the edge's tensor V (irreps in) by the centre atom's environment A (harmonics 0e + 1o + 2e + ...):

    V'_{u,k} = Σ_paths w_{u,path} √(2 l_out + 1) Σ_ij C_{ijk} V_{u,i} A_{u,j}          (Allegro, Musaelian 2023, eq. 10)

Only scalars (0e) are read, and V is linear in what the edge started with, V⁰. So the scalar of layer k is the dot
product of V⁰ with a vector n_k that belongs to the centre atom alone (``PERFORMANCE`` notes, "operators per atom"):

    n_k = M_1 M_2 … M_{k−1} m_k,   (M v)_i = Σ w C_ijk A_j v_k,   m_i = Σ w C_ij0 A_j

Irreps that cannot be made, or from which no scalar can follow, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plugins.equivariant.angular import dimension, wigner_3j

Irrep = tuple[int, int]  # (l, parity ±1)


@dataclass(frozen=True)
class Layer:
    """One tensor product; `entries` (m, 4) int are (path, i, j, k) and `values` (m,) their coefficients.

    i runs over the components of `irreps_in`, j over the environment's harmonics, k over `irreps_out`;
    scalars are component 0 of the output.
    """

    irreps_in: tuple[Irrep, ...]
    irreps_out: tuple[Irrep, ...]
    paths: tuple[tuple[int, int, int], ...]
    entries: np.ndarray
    values: np.ndarray

    @property
    def dim_in(self):
        return sum(2 * l + 1 for l, _ in self.irreps_in)

    @property
    def dim_out(self):
        return sum(2 * l + 1 for l, _ in self.irreps_out)


def _reachable(irreps_in, harmonics, target):
    return any(p * (-1) ** l2 == target[1] and abs(l - l2) <= target[0] <= l + l2
               for l, p in irreps_in for l2 in harmonics)


def _offsets(irreps):
    return np.concatenate([[0], np.cumsum([2 * l + 1 for l, _ in irreps])]).astype(int)


def _layer(irreps_in, l_max, irreps_out):
    harmonics = [(l, (-1) ** l) for l in range(l_max + 1)]
    paths, entries, values = [], [], []
    first, second, out = _offsets(irreps_in), _offsets(harmonics), _offsets(irreps_out)
    for c, (lc, pc) in enumerate(irreps_out):
        for a, (la, pa) in enumerate(irreps_in):
            for b, (lb, pb) in enumerate(harmonics):
                if pa * pb != pc or not abs(la - lb) <= lc <= la + lb:
                    continue
                w = wigner_3j(la, lb, lc) * np.sqrt(2 * lc + 1)
                index = np.argwhere(w)
                entries.append(np.column_stack([np.full(len(index), len(paths)), index[:, 0] + first[a],
                                                index[:, 1] + second[b], index[:, 2] + out[c]]))
                values.append(w[tuple(index.T)])
                paths.append((a, b, c))
    return Layer(tuple(irreps_in), tuple(irreps_out), tuple(paths), np.concatenate(entries), np.concatenate(values))


def layers(l_max: int, parity: bool, count: int) -> list[Layer]:
    """The tensor products of a model with `count` layers; with `parity`, also irreps that harmonics do not have."""
    harmonics = [(l, (-1) ** l) for l in range(l_max + 1)]
    allowed = [(l, p) for l in range(l_max + 1) for p in (1, -1)] if parity else harmonics
    irreps = [harmonics]
    for k in range(count):
        wanted = [(0, 1)] if k == count - 1 else allowed
        irreps.append([x for x in wanted if _reachable(irreps[-1], range(l_max + 1), x)])
    for k in range(count - 1, -1, -1):  # leave out what leads to nothing
        irreps[k] = [x for x in irreps[k] if any(_reachable([x], range(l_max + 1), y) for y in irreps[k + 1])]
    return [_layer(irreps[k], l_max, irreps[k + 1]) for k in range(count)]


def dense(layer: Layer, weights: np.ndarray, l_max: int) -> np.ndarray:
    """(channels, dim_in, dimension(l_max), dim_out) coefficients for weights (channels, paths)."""
    t = np.zeros((len(weights), layer.dim_in, dimension(l_max), layer.dim_out))
    path, i, j, k = layer.entries.T
    t[:, i, j, k] = weights[:, path] * layer.values
    return t
