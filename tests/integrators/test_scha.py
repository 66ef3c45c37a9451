"""The SCHA minimiser: exact limits, the free energy's derivatives, reweighting."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from integrators.gaussian.sampling import correlated_normals
from integrators.scha import (
    ClosedForm,
    Ensemble,
    Minimiser,
    draw,
    harmonic_free_energy,
    stability,
    thermal_covariance,
)
from potentials.polynomial import Polynomial


def anharmonic(d=3, seed=4, cubic=0.15, quartic=0.3):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    second = (q * np.linspace(0.6, 1.5, d)) @ q.T
    c = rng.normal(size=(d, d, d)) * cubic
    c = sum(c.transpose(p) for p in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]) / 6
    a = rng.normal(size=(d, d, d))
    a = a + a.transpose(0, 2, 1)
    f = np.einsum("kij,klm->ijlm", a, a)
    f = (f + f.transpose(0, 2, 1, 3) + f.transpose(0, 3, 2, 1)) * quartic / 30
    return Polynomial.from_tensors(second, c, f)


def solve(poly, T, R=None, move=True):
    d = poly.size
    m = Minimiser(lambda R, D: ClosedForm(poly.averages, T, 1.0), np.zeros(d) if R is None else R, np.eye(d), move_centroids=move)
    assert m.run(50, 1e-7)
    return m


def free_energy(poly, T, R, D):
    return ClosedForm(poly.averages, T, 1.0).estimate(R, D).free_energy


@pytest.mark.parametrize("T", [0.0, 3000.0])
def test_minimum_of_the_free_energy(T):
    """The self-consistent (R, D) is where a general-purpose minimiser of F over R and a Cholesky factor of D ends."""
    poly, d = anharmonic(), 3
    tri = np.tril_indices(d)

    def F(z):
        L = np.zeros((d, d))
        L[tri] = z[d:]
        return free_energy(poly, T, z[:d], L @ L.T + 1e-3 * np.eye(d))

    m = solve(poly, T)
    best = minimize(F, np.concatenate([np.zeros(d), np.eye(d)[tri]]), method="BFGS", options={"gtol": 1e-9})
    assert free_energy(poly, T, m.R, m.D) == pytest.approx(best.fun, abs=1e-10)
    assert np.abs(m.R - best.x[:d]).max() < 1e-4
    for _ in range(3):  # and no small change lowers it
        s = np.random.default_rng(_).normal(size=(d, d)) * 1e-3
        assert free_energy(poly, T, m.R, m.D + s + s.T) > free_energy(poly, T, m.R, m.D)


@pytest.mark.parametrize("T", [0.0, 3000.0])
def test_stability_matrix_is_the_second_derivative_of_the_free_energy(T):
    poly, d, h = anharmonic(cubic=0.3), 3, 1e-3
    m = solve(poly, T)
    four = np.zeros((d,) * 4)
    four = poly.fourth[poly.index][:, :, poly.index]
    ours = stability(m.D, poly.mean_third(m.R), T, four, hbar=1.0)

    def F(R):
        at = solve(poly, T, R, move=False)
        return free_energy(poly, T, R, at.D)

    e = np.eye(d) * h
    R = m.R
    numeric = np.array([[F(R + a + b) - F(R + a - b) - F(R - a + b) + F(R - a - b) for a in e] for b in e]) / (4 * h * h)
    assert np.abs(numeric - ours).max() < 2e-5
    bubble = stability(m.D, poly.mean_third(m.R), T, hbar=1.0)
    assert 1e-4 < np.abs(bubble - ours).max() < 0.1
    assert np.linalg.eigvalsh(m.D - bubble)[0] > 0  # the third order always softens


def test_harmonic_crystal_without_noise():
    """Whatever the ensemble was drawn from, a harmonic crystal's force constants come back to rounding."""
    d = 6
    poly = anharmonic(d, cubic=0.0, quartic=0.0)
    x = np.random.default_rng(0).normal(size=(40, d))
    e = Ensemble(x, *poly.evaluate(x), np.zeros(d), np.eye(d), 0.0, 1.0)
    est = e.estimate(np.full(d, 0.1), poly.second * 1.1)
    assert np.abs(e.estimate(np.zeros(d), poly.second).curvature - poly.second).max() < 1e-12
    assert est.error > 0
    exact = e.estimate(np.zeros(d), poly.second)
    assert exact.free_energy == pytest.approx(harmonic_free_energy(poly.second, 0.0, 1.0), abs=1e-12)


def test_weights_are_ratios_of_densities():
    d, T = 4, 500.0
    rng = np.random.default_rng(3)
    D0, D1 = np.diag([1.0, 1.3, 0.7, 2.0]), np.diag([1.1, 1.2, 0.8, 1.9])
    R1 = np.full(d, 0.05)
    x = rng.normal(size=(50, d))
    e = Ensemble(x, np.zeros(50), np.zeros((50, d)), np.zeros(d), D0, T, 1.0)
    A0, A1 = (thermal_covariance(D, T, 1.0) for D in (D0, D1))
    expected = multivariate_normal(R1, A1).pdf(x) / multivariate_normal(np.zeros(d), A0).pdf(x)
    assert e.weights(R1, D1) == pytest.approx(expected, rel=1e-12)
    assert e.weights(np.zeros(d), D0) == pytest.approx(np.ones(50), rel=1e-14)


def test_sampled_minimum_converges_to_the_exact_one():
    """N^-1/2 in the number of configurations, and reuse of ensembles by reweighting ends at the same place."""
    poly, T, d = anharmonic(cubic=0.4), 0.0, 3
    exact = solve(poly, T)

    def sampled(n, seed, keep=0.6):
        noise = correlated_normals(n, d, seed)
        m = Minimiser(lambda R, D: draw(poly.evaluate, noise, R, D, T, 1.0), np.zeros(d), np.eye(d), keep=keep)
        assert m.run(60, 0.05)
        return m

    def error(n):
        return np.sqrt(np.mean([np.sum((sampled(n, s).D - exact.D) ** 2) for s in range(6)]))

    coarse, fine = error(64), error(64 * 16)
    assert 2.0 < coarse / fine < 8.0 and fine < 0.02
    often, seldom = sampled(1024, 1, keep=0.99), sampled(1024, 1, keep=0.3)
    assert np.abs(often.D - seldom.D).max() < 1e-3
    assert seldom.population < often.population or seldom.population <= 4


def test_restart_continues_identically():
    poly, T, d = anharmonic(), 0.0, 3
    noise = correlated_normals(64, d, 2)
    sample = lambda R, D: draw(poly.evaluate, noise, R, D, T, 1.0)
    whole = Minimiser(sample, np.zeros(d), np.eye(d))
    whole.run(4, 0.0)
    first = Minimiser(sample, np.zeros(d), np.eye(d))
    first.run(2, 0.0)
    second = Minimiser(sample, np.zeros(d), np.eye(d))
    second.load_state_dict(first.state_dict())
    second.run(2, 0.0)
    assert np.array_equal(whole.D, second.D) and np.array_equal(whole.R, second.R)
    assert [r.free_energy for r in whole.reports] == [r.free_energy for r in second.reports]
