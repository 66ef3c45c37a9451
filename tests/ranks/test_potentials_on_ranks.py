"""Every potential of this project gives on three ranks what it gives on one."""

import pickle

import numpy as np
import pytest
from potential_cases import CASES, results
from rank_launch import mpiexec

from engine.parallel import Serial

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "results"
    alone = results(Serial())
    mpiexec(3, "-m", "potential_cases", path)
    return alone, pickle.loads(path.read_bytes())


@pytest.mark.parametrize("name", CASES)
def test_same_as_one_rank(both, name):
    alone, together = (side[name] for side in both)
    assert set(alone) == set(together)
    for key, expected in alone.items():
        if key == "owned":
            assert together[key].sum() == expected.sum() and len(together[key]) == 3
        elif key == "pairs":
            assert (together[key] == expected).all()
        else:
            scale = max(np.abs(expected).max(), 1e-3)
            assert np.abs(together[key] - expected).max() < 1e-9 * scale, f"{key} of {scale:.3g}"
