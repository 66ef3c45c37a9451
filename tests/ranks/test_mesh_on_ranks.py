"""Particle-mesh Ewald gives on 2, 4 and 5 ranks what it gives on one, to rounding; idle ranks and whole systems included."""

import pickle

import numpy as np
import pytest
from mesh_cases import CASES, results
from rank_launch import mpiexec

from engine.parallel import Serial

pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def alone():
    return results(Serial())


@pytest.mark.parametrize("ranks", [2, 4, 5])
def test_same_as_one_rank(alone, ranks, tmp_path):
    mpiexec(ranks, "-m", "mesh_cases", tmp_path / "results")
    together = pickle.loads((tmp_path / "results").read_bytes())
    for name in CASES:
        for key, expected in alone[name].items():
            got = together[name][key]
            if key == "owned":
                assert got.sum() == expected.sum() and len(got) == ranks
                assert (got == 0).any() == (name == "idle ranks" and ranks > 2)
            else:
                scale = np.abs(expected).max()
                assert np.abs(got - expected).max() < 1e-10 * scale, f"{name}: {key} of {scale:.3g} on {ranks} ranks"
