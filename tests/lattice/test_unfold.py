"""Force constants carried to a supercell, and sparse tensors beside full ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integrators"))
from quartic_crystal import write  # noqa: E402

from integrators.gaussian.lattice import Lattice  # noqa: E402
from plugins.lattice.unfold import unfold_lattice, unfold_model  # noqa: E402
from potentials.force_constants import ForceConstants  # noqa: E402
from potentials.polynomial import Polynomial  # noqa: E402


@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 1, 3), (2, 2, 1)])
def test_repeated_displacements_cost_n_times(tmp_path, repeats):
    atoms, polynomial = write(tmp_path, cubic=-3.0, quartic=12.0)
    small = ForceConstants(str(tmp_path / "model.h5"))
    unfold_model(small, repeats, tmp_path / "large.h5")
    large = ForceConstants(str(tmp_path / "large.h5"))
    N = int(np.prod(repeats))
    u = 0.2 * np.random.default_rng(0).normal(size=(3, 12))
    e, f = small.polynomial.evaluate(u)
    E, F = large.polynomial.evaluate(np.tile(u, N))
    assert E == pytest.approx(N * e, rel=1e-10)
    assert np.tile(f, N) == pytest.approx(F, abs=1e-10)
    assert large.virial.evaluate(np.tile(u, N)) == pytest.approx(N * small.virial.evaluate(u), abs=1e-10)
    # and any displacement has forces that are the energy's gradient: the tensors are symmetric in all indices
    U = 0.2 * np.random.default_rng(1).normal(size=12 * N)
    direction = np.random.default_rng(2).normal(size=12 * N)
    h = 1e-4
    there = large.polynomial.evaluate(np.array([U + h * direction, U - h * direction]))[0]
    slope = [(there[0] - there[1]) / (2 * h)]
    assert -large.polynomial.evaluate(U[None])[1][0] @ direction == pytest.approx(slope[0], rel=1e-6)


def test_bonds_of_a_ring_become_bonds_of_a_longer_one(tmp_path):
    """Nearest-neighbor springs unfold exactly: the energy of a supercell is the sum over its own bonds."""
    write(tmp_path, cubic=-3.0, quartic=12.0)
    unfold_model(ForceConstants(str(tmp_path / "model.h5")), (2, 1, 1), tmp_path / "large.h5")
    large = ForceConstants(str(tmp_path / "large.h5")).polynomial
    u = 0.2 * np.random.default_rng(3).normal(size=(8, 3))
    d = np.roll(u, -1, axis=0) - u
    expected = np.sum(0.5 * np.array([6.0, 2.0, 2.5]) * d**2 + 0.5 * d**4) - 0.5 * np.sum(d[:, 0] ** 3)
    assert large.evaluate(u.reshape(1, -1))[0][0] == pytest.approx(expected, rel=1e-10)
    lattice = unfold_lattice(Lattice.load(tmp_path / "lattice.h5"), (2, 1, 1))
    assert len(lattice) == 8 and lattice.frequencies()[0] > 0
    assert np.abs(lattice.force_constants - lattice.force_constants.T).max() < 1e-12


def test_sparse_tensors_are_tensors(tmp_path):
    _, polynomial = write(tmp_path)
    p = polynomial
    sparse = Polynomial(p.constant, p.linear, p.second, csr_array(p.third), csr_array(p.fourth))
    rng = np.random.default_rng(0)
    u, m, A = rng.normal(size=(5, 12)), rng.normal(size=12), np.eye(12) + 0.1
    for one, two in zip(p.evaluate(u), sparse.evaluate(u)):
        assert one == pytest.approx(two, abs=1e-11)
    for one, two in zip(p.averages(m, A), sparse.averages(m, A)):
        assert np.asarray(one) == pytest.approx(np.asarray(two), abs=1e-11)
    assert p.mean_third(m) == pytest.approx(sparse.mean_third(m), abs=1e-11)
    assert sparse.shifted(m).evaluate(u - m)[0] == pytest.approx(p.evaluate(u)[0], abs=1e-10)
    L = rng.normal(size=(12, 7))
    v = rng.normal(size=(3, 7))
    assert sparse.transformed(L).evaluate(v)[0] == pytest.approx(p.transformed(L).evaluate(v)[0], rel=1e-11)
