"""Importance reweighting of the published ice ensemble: 1000 configurations, 33 modes, T = 0."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from integrators.scha import Ensemble
from plugins.lattice.quantum_espresso import BOHR, RYDBERG, read_dyn


def test_reweighting_factors(shared_data):
    """Factors are ratios of normal densities (to rounding); their mean is 1 and the free energies agree within errors."""
    folder = shared_data / "07-sscha/ice-ensemble"
    drawn, target = (read_dyn(folder / f).sum_rule() for f in ("dyn1", "dyn1_population2"))
    data = np.load(folder / "ensemble_population2_1000.npz")
    c = drawn.coordinates()
    x = c.coordinates(drawn.positions + data["u"] * BOHR)
    D0, D1 = (c.matrix(k.force_constants) for k in (drawn, target))
    R1 = c.coordinates(target.positions)
    e = Ensemble(x, data["energies"] * RYDBERG, c.forces(data["forces"] * RYDBERG / BOHR), np.zeros(c.size), D0, 0.0)
    weights = e.weights(R1, D1)
    A0, A1 = drawn.gaussian(c, 0.0).A, target.gaussian(c, 0.0).A
    expected = np.exp(multivariate_normal(R1, A1).logpdf(x) - multivariate_normal(np.zeros(c.size), A0).logpdf(x))
    assert weights == pytest.approx(expected, rel=1e-12)
    assert weights.mean() == pytest.approx(1.0, abs=3 * weights.std() / np.sqrt(1000))
    before, after = e.estimate(np.zeros(c.size), D0), e.estimate(R1, D1)
    assert 800 < after.effective < 850 and before.effective == pytest.approx(1000)
    assert abs(after.free_energy - before.free_energy) < 3 * (after.error + before.error)
    for estimate, D in ((before, D0), (after, D1)):  # both are near self-consistency
        assert np.abs(np.sqrt(np.linalg.eigvalsh(estimate.curvature)) / np.sqrt(np.linalg.eigvalsh(D)) - 1).max() < 0.15


