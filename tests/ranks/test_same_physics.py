"""The same physics on any number of ranks: every case of ``rank_cases.py`` on 2, 3 and 4 against one."""

import pickle

import numpy as np
import pytest
from ase.build import bulk
from conftest import rattled
from rank_cases import CASES, REGISTERED
from rank_launch import mpiexec

from engine import registry
from engine.parallel import Serial
from engine.testing import check_registered

pytestmark = pytest.mark.mpi
FEW = ("lj_triclinic", "two_atoms", "several_systems", "copper_nve", "replica_exchange")  # on a prime number, and twice
ON_THREE = (*FEW, *REGISTERED)
RANKS = [(ranks, name) for ranks in (2, 4) for name in CASES] + [(3, name) for name in ON_THREE]
ELSEWHERE = {"equivariant": "test_charges_on_ranks.py", "equivariant/committee": "test_charges_on_ranks.py",
             "dielectric": "test_charges_on_ranks.py", "force-constants": "tests/integrators/test_tdscha_ranks.py"}
REFUSE = "mace", "nequip", "metatomic", "torch-sim"  # as test_runs.py sees


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{number of ranks: {case: arrays}}, each number of ranks run once."""
    folder = tmp_path_factory.mktemp("ranks")
    known = {1: {name: function(Serial()) for name, function in CASES.items()}}

    def of(ranks, again=0):
        key = (ranks, again) if again else ranks
        if key not in known:
            path = folder / f"{ranks}-{again}.pickle"
            mpiexec(ranks, "-m", "rank_cases", path, *(FEW if again else ON_THREE if ranks == 3 else ()))
            known[key] = pickle.loads(path.read_bytes())
        return known[key]

    return of


@pytest.mark.parametrize("ranks, name", RANKS)
def test_same_as_one_rank(results, ranks, name):
    alone, together = results(1)[name], results(ranks)[name]
    assert set(alone) == set(together)
    for key, expected in alone.items():
        value = together[key]
        if key == "owned":
            assert value.sum() == expected.sum() and len(value) == ranks
        elif key in ("pairs", "rebuilds"):  # counted, not computed: pair by pair the same
            assert (value == expected).all(), f"{key}: {value} against {expected}"
        elif key == "unwrapped":
            assert np.abs(value - expected).max() < 1e-9, f"trajectories differ by {np.abs(value - expected).max():.2g} Å"
        else:
            scale = max(np.abs(expected).max(), 1e-3)
            limit = 1e-8 if key in ("drift", "velocities") else 1e-10
            assert np.abs(value - expected).max() < limit * scale, f"{key} of {scale:.3g}"


def test_every_potential_runs_on_ranks_or_refuses():
    """Whatever package registers it."""
    here = {name.split()[1] for name in REGISTERED}
    check_registered("potentials", here, {**ELSEWHERE, **dict.fromkeys(REFUSE, "sees all atoms at once")})
    assert not here & set(REFUSE) and {name for name in registry.names("potentials") if _alone(name)} == set(REFUSE)


def _alone(name):
    return registry.get("potentials", name).alone is not None


def test_repeats_are_bitwise_equal(results):
    first, second = results(3), results(3, again=1)
    for name in FEW:
        for key in first[name]:
            assert np.array_equal(first[name][key], second[name][key]), f"{name}: {key}"


def test_some_rank_was_empty_and_work_is_even(results):
    owned = results(4)["two_atoms"]["owned"]
    assert owned.sum() == 2 and (owned == 0).sum() >= 2
    for ranks in (2, 4):
        owned = results(ranks)["lj_forces"]["owned"]
        assert owned.max() <= 1.06 * owned.mean()


def test_toy_network_is_differentiated_right():
    """On one rank: forces are −∂E/∂r, and the second pass is −∂Σ|F|²/∂r."""
    import toy_network

    atoms = rattled(bulk("Cu", cubic=True) * (2, 1, 1), 0.1)
    _, rows, _ = toy_network.evaluated(Serial(), atoms)
    direction = np.random.default_rng(0).normal(size=(len(atoms), 3))
    energy, square = [], []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * 1e-4 * direction
        state, there, sums = toy_network.evaluated(Serial(), moved)
        energy.append(sums["energy"][0])
        square.append((there["forces"] ** 2).sum())
    order = np.argsort(toy_network.evaluated(Serial(), atoms)[0].tags[: len(atoms)])
    slope = lambda values: (values[0] - values[1]) / 2e-4
    assert slope(energy) == pytest.approx(-(rows["forces"][order] * direction).sum(), rel=1e-6)
    assert slope(square) == pytest.approx(-(rows["hessian_product"][order] * direction).sum(), rel=1e-6)
