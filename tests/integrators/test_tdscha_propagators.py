"""TD-SCHA's propagators against exact motion: harmonic crystals, forced oscillators, the 1-D quartic well."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from engine.errors import InputError, PhysicsError
from integrators.gaussian.averages import Averages, SampledAverages, square_root
from integrators.gaussian.propagators import PROPAGATORS, GeneralisedVerlet, KickDriftKick, propagate
from integrators.gaussian.sampling import correlated_normals
from integrators.gaussian.state import Gaussian
from potentials.polynomial import Polynomial

BOTH = [KickDriftKick, GeneralisedVerlet]


def crystal(d, seed):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    K = (q * np.linspace(0.3, 3.0, d)) @ q.T
    K = 0.5 * (K + K.T)
    M = rng.normal(size=(2 * d, 2 * d))
    cov = M @ M.T / d + np.eye(2 * d)
    g = Gaussian(rng.normal(size=d), rng.normal(size=d), cov[:d, :d].copy(), cov[d:, d:].copy(), cov[:d, d:].copy())
    return K, g


def exact(polynomial):
    return lambda g: Averages(*polynomial.averages(g.R, g.A))


def harmonic_closed_form(K, g, t):
    d = len(K)
    flow = expm(np.block([[np.zeros((d, d)), np.eye(d)], [-K, np.zeros((d, d))]]) * t)
    z = flow @ np.concatenate([g.R, g.P])
    c = flow @ g.covariance() @ flow.T
    return Gaussian(z[:d], z[d:], c[:d, :d], c[d:, d:], c[:d, d:])


def difference(a, b):
    return max(np.abs(getattr(a, k) - getattr(b, k)).max() for k in "RPABG")


@pytest.mark.parametrize("propagator", BOTH)
def test_harmonic_crystal_is_exact_at_two_configurations_a_mode(propagator):
    """All five blocks follow the closed form to second order, and sampled averages equal exact ones to rounding."""
    d = 9
    K, start = crystal(d, 1)
    noise = correlated_normals(2 * d, d, seed=3)
    sampled = SampledAverages(noise, lambda x: (0.5 * np.einsum("ni,ij,nj->n", x, K, x), -x @ K))
    truth = harmonic_closed_form(K, start, 4.0)
    errors = []
    for steps in (100, 200):
        g, h = start.copy(), start.copy()
        propagate(g, sampled, 4.0 / steps, steps, propagator)
        propagate(h, exact(Polynomial.from_tensors(K)), 4.0 / steps, steps, propagator)
        assert difference(g, h) < 1e-11
        errors.append(difference(g, truth))
    assert errors[1] < 5e-3
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.05)
    fine = start.copy()
    propagate(fine, sampled, 4.0 / 8000, 8000, propagator)
    assert difference(fine, truth) < 3e-6


def test_raw_pairs_get_a_harmonic_crystal_wrong():
    """57 modes: K from unwhitened pairs is wrong by tens of percent and has a negative soft mode; whitened is exact."""
    d = 57
    w = np.linspace(0.05, 1.0, d) ** 2
    A = np.diag(0.5 / np.sqrt(w))
    def worst(n, whiten):
        noise = correlated_normals(n, d, seed=5, whiten=whiten)
        s = SampledAverages(noise, lambda x: (x @ w, -x * w))
        K = s(Gaussian(np.zeros(d), np.zeros(d), A, A, 0 * A)).curvature
        return np.linalg.norm(K - np.diag(w), 2) / w.max(), np.linalg.eigvalsh(K)[0]
    assert worst(200, True)[0] < 1e-12
    errors = {n: worst(n, False) for n in (200, 4000)}
    assert 0.3 < errors[200][0] < 1.2 and 0.06 < errors[4000][0] < 0.25
    assert errors[200][1] < 0.0


@pytest.mark.parametrize("propagator", [*BOTH, PROPAGATORS["fixed"]])
def test_forced_oscillator(propagator):
    """x'' = −w²x + a cos(νt): closed form, and the work of the force is the change of energy."""
    w, nu, a, T, steps = 1.3, 0.9, 0.4, 20.0, 4000
    g = Gaussian.thermal(np.array([[w * w]]), 0.0, hbar=1.0)
    propagate(g, exact(Polynomial.from_tensors(np.array([[w * w]]))), T / steps, steps, propagator,
              external=lambda t: np.array([a * np.cos(nu * t)]))
    x = a / (w * w - nu * nu) * (np.cos(nu * T) - np.cos(w * T))
    v = a / (w * w - nu * nu) * (w * np.sin(w * T) - nu * np.sin(nu * T))
    assert g.R[0] == pytest.approx(x, abs=2e-5) and g.P[0] == pytest.approx(v, abs=2e-5)


def double_well():
    return Polynomial.from_tensors(np.array([[-1.0]]), fourth=np.array([[[[3.0]]]]))  # −x²/2 + x⁴/8


def well_start():
    A0 = 0.35
    return Gaussian(*map(np.atleast_1d, (2.0, 0.0)), *map(np.atleast_2d, (A0, 0.25 / A0, 0.0)))


PUBLISHED_WELL = np.array([-1.11380865, -1.20067998, 0.39268931, 1.51664265, 0.58785147])


def test_quartic_well_numbers():
    """The ordinary differential equations, solved by another method, and our propagator give the known numbers."""
    poly = double_well()

    def rhs(t, z):
        R, P, A, B, G = z
        _, f, K = poly.averages(np.array([R]), np.array([[A]]))
        k = K[0, 0]
        return [P, f[0], 2 * G, -2 * k * G, B - A * k]

    s = well_start()
    z0 = [s.R[0], s.P[0], s.A[0, 0], s.B[0, 0], s.G[0, 0]]
    z = solve_ivp(rhs, (0, 10), z0, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    assert np.abs(z - PUBLISHED_WELL).max() < 2e-8
    for propagator in BOTH:
        g = well_start()
        propagate(g, exact(poly), 10 / 10000, 10000, propagator)
        ours = np.array([g.R[0], g.P[0], g.A[0, 0], g.B[0, 0], g.G[0, 0]])
        assert np.abs(ours - PUBLISHED_WELL).max() < 3e-4


@pytest.mark.parametrize("propagator", BOTH)
def test_order_two_in_the_quartic_well(propagator):
    errors = []
    for steps in (2000, 4000, 8000):
        g = well_start()
        propagate(g, exact(double_well()), 10 / steps, steps, propagator)
        errors.append(np.abs(np.array([g.R[0], g.P[0], g.A[0, 0], g.B[0, 0], g.G[0, 0]]) - PUBLISHED_WELL).max())
    assert np.diff(-np.log2(errors)) == pytest.approx([2.0, 2.0], abs=0.1)


def test_invariants_over_many_steps():
    """Symplectic spectrum: to 1e-12 over 1e5 steps for kick-drift-kick, second order in dt for the Verlet scheme."""
    g = well_start()
    before = g.symplectic_spectrum()
    assert before == pytest.approx([0.5], abs=1e-14)
    propagate(g, exact(double_well()), 0.01, 100_000, KickDriftKick)
    assert np.abs(g.symplectic_spectrum() - before).max() < 1e-12

    broken = []
    for steps in (500, 1000):
        g = well_start()
        propagate(g, exact(double_well()), 10 / steps, steps, GeneralisedVerlet)
        broken.append(abs(g.symplectic_spectrum()[0] - 0.5))
    assert np.log2(broken[0] / broken[1]) == pytest.approx(2.0, abs=0.2) and broken[1] > 1e-6


def cubic_quartic():
    """The 3-D potential of the design probe, and a start away from equilibrium."""
    rng = np.random.default_rng(1)
    H = np.diag([1.0, 1.7, 0.6])
    c3 = rng.normal(size=(3, 3, 3)) * 0.08
    c3 = sum(np.transpose(c3, p) for p in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]) / 6
    c4 = np.zeros((3, 3, 3, 3))
    for i in range(3):
        c4[i, i, i, i] = 2.4
    g = Gaussian.thermal(H, 0.0, R=[1.0, -0.5, 0.8], hbar=1.0)
    return Polynomial.from_tensors(H, c3, c4), g


def probe_noise():
    """The 20 raw ± pairs of the published comparison of the two K's (drawn after the cubic coefficients)."""
    rng = np.random.default_rng(1)
    rng.normal(size=(3, 3, 3))
    y = rng.normal(size=(20, 3))
    return np.vstack([y, -y])


def energies(dt, time, curvature, fresh=False, propagator=KickDriftKick):
    poly, g = cubic_quartic()
    out = []
    if fresh:
        count = iter(range(10**9))
        def average(g):
            noise = correlated_normals(40, 3, seed=7, occurrence=0, step=next(count), whiten=False)
            return SampledAverages(noise, poly.evaluate, curvature)(g)
    else:
        average = SampledAverages(probe_noise(), poly.evaluate, curvature)
    propagate(g, average, dt, round(time / dt), propagator, observe=lambda t, g, a: out.append(a.energy + g.kinetic()))
    return np.array(out)


def drift(e):
    k = len(e) // 10
    return abs(e[-k:].mean() - e[:k].mean())


def test_sampled_energy_is_conserved_with_its_own_gradient_only():
    """40 configurations, 200 time units: the published K drifts by 5e-2 at every time step; with the energy's gradient
    the drift is below 3e-6 and falls with dt², and fresh draws at every step conserve nothing."""
    gradient = [energies(dt, 200.0, "gradient") for dt in (0.04, 0.02, 0.01)]
    assert drift(gradient[2]) < 3e-6 and drift(gradient[0]) < 5e-5
    ripple = [np.abs(e - e[0]).max() for e in gradient]
    assert -np.diff(np.log2(ripple)) == pytest.approx([2.0, 2.0], abs=0.15)
    for dt in (0.04, 0.02):
        assert 3e-2 < drift(energies(dt, 200.0, "published")) < 8e-2
    assert np.ptp(energies(0.04, 20.0, "gradient", fresh=True)) > 100 * ripple[0]


def test_refusals_are_one_line():
    with pytest.raises(InputError, match="too few for 57 modes.*at least 114"):
        correlated_normals(100, 57, 1)
    with pytest.raises(InputError, match="must be even"):
        correlated_normals(5, 2, 1)
    with pytest.raises(PhysicsError, match="not positive definite"):
        square_root(np.diag([1.0, -0.1]))
    with pytest.raises(PhysicsError, match="not positive"):
        Gaussian.thermal(np.diag([1.0, -0.1]), 0.0)


def test_noise_is_white_and_reproducible():
    y = correlated_normals(24, 12, seed=11)
    assert np.abs(y.mean(0)).max() < 1e-15 and np.abs(y.T @ y / 24 - np.eye(12)).max() < 1e-14
    assert np.array_equal(y, correlated_normals(24, 12, seed=11))
    assert not np.allclose(y, correlated_normals(24, 12, seed=12))
