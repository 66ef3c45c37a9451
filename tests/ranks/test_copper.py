"""4000 copper atoms on 1, 2, 3, 4 and 8 ranks: the same trajectory, noise included, and the same bits when repeated.

    python -m pytest -s -m mpi tests/ranks/test_copper.py        # prints the table of docs/ranks.md
"""

import pickle

import numpy as np
import pytest
from copper_4000 import everything
from rank_launch import mpiexec

from engine.parallel import Serial

RANKS = [pytest.param(2), pytest.param(4), *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 8))]
pytestmark = pytest.mark.mpi


@pytest.fixture(scope="module")
def alone():
    return everything(Serial())


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    folder, known = tmp_path_factory.mktemp("copper"), {}

    def run(ranks, again=0):
        if (ranks, again) not in known:
            path = folder / f"{ranks}-{again}"
            mpiexec(ranks, "-m", "copper_4000", path)
            known[ranks, again] = pickle.loads(path.read_bytes())
        return known[ranks, again]

    return run


def distance(one, two, key):
    return float(np.abs(one[key] - two[key]).max())


@pytest.mark.parametrize("ranks", RANKS)
def test_same_trajectory(alone, on, ranks):
    found = on(ranks)
    crystal, melt = (distance(found[k], alone[k], "positions") for k in ("crystal", "melt"))
    forces = distance(found["forces"], alone["forces"], "forces") / np.abs(alone["forces"]["forces"]).max()
    energy = distance(found["crystal"], alone["crystal"], "energy")
    print(f"\n| {ranks} | {crystal:.1e} | {energy:.1e} | {forces:.1e} | {melt:.1e} |")
    moved = np.abs(alone["crystal"]["positions"] - alone["melt"]["positions"]).max()
    assert moved > 0.1, "two runs that are the same show nothing"
    assert found["crystal"]["rebuilds"] == alone["crystal"]["rebuilds"] > 10
    assert crystal < 1e-9 and melt < 1e-9 and forces < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 8])
def test_repeats_are_bitwise_equal(on, ranks):
    first, second = on(ranks), on(ranks, again=1)
    for name in first:
        for key, value in first[name].items():
            assert np.array_equal(value, second[name][key]), f"{name}: {key}"
