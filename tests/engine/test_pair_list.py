"""The list for general use against brute force over images."""
import numpy as np
import pytest

from engine.neighbors.pair_list import PairList


def brute_force(x, cell, periodic, cutoff):
    reach = [int(np.ceil(cutoff / height)) + 3 if p else 0
             for height, p in zip(1 / np.linalg.norm(np.linalg.inv(cell), axis=0), periodic)]
    shifts = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1).reshape(-1, 3)
    found = set()
    for s in shifts:
        d = np.linalg.norm(x[None] + s @ cell - x[:, None], axis=2)
        for i, j in zip(*np.nonzero(d < cutoff)):
            if i != j or s.any():
                found.add((i, j, *s))
    return found


@pytest.mark.parametrize("seed, periodic", [(1, (1, 1, 1)), (2, (1, 0, 1)), (3, (0, 0, 0)), (4, (1, 1, 1))])
@pytest.mark.parametrize("reuse", (True, False))
def test_random_cells(seed, periodic, reuse):
    rng = np.random.default_rng(seed)
    finder = PairList(3.1, reuse)
    for n in (1, 7, 40, 25):
        cell = np.diag(rng.uniform(2.5, 7.0, 3)) + rng.uniform(-1, 1, (3, 3))
        x = rng.uniform(-1.5, 1.5, (n, 3)) @ cell
        pairs = finder(x, cell, periodic)
        listed = list(zip(pairs.first, pairs.second, *pairs.shifts.T))
        assert len(listed) == len(set(listed))
        assert set(listed) == brute_force(x, cell, np.array(periodic, bool), 3.1)
        vectors = x[pairs.second] + pairs.shifts @ cell - x[pairs.first]
        assert np.allclose(pairs.vectors, vectors, atol=1e-12)
        assert np.allclose(pairs.distances, np.linalg.norm(vectors, axis=1), atol=1e-12)
