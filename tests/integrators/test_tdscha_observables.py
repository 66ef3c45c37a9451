"""Modes, their power, stress and diffuse scattering of a Gaussian against what they must add up to."""

import numpy as np
import pytest
from quartic_crystal import MASSES, SYMBOLS, tensors

from engine import units
from integrators.gaussian.averages import Averages, configurations, square_root
from integrators.gaussian.lattice import Lattice
from integrators.gaussian.observables import Modes, momentum_flux, published_stress, stress, structure_factor
from integrators.gaussian.propagators import propagate
from potentials.polynomial import Polynomial


@pytest.fixture
def moving():
    second, third, fourth = tensors(cubic=-8.0, quartic=60.0)
    positions = np.zeros((4, 3))
    positions[:, 0] = 2.5 * np.arange(4)
    lattice = Lattice(SYMBOLS, np.diag([10.0, 6.0, 7.0]), positions, MASSES, second)
    c = lattice.coordinates()
    poly = Polynomial.from_tensors(second, third, fourth).transformed(c.to_cartesian)
    g = lattice.gaussian(c, 300.0)
    g.R = g.R + 0.3
    g.P = g.P + 0.05
    return lattice, c, poly, g


def test_mode_energies_and_power(moving):
    """The energies sum to kinetic and harmonic energy; the power is their time derivative, whatever the potential."""
    lattice, c, poly, g = moving
    modes = Modes.of(c, lattice)
    assert np.abs(modes.vectors - np.eye(c.size)).max() < 1e-12
    total = sum(part.sum() for part in modes.mode_energies(g))
    D = c.matrix(lattice.force_constants)
    assert total == pytest.approx(g.kinetic() + 0.5 * np.sum(D * (np.outer(g.R, g.R) + g.A)), abs=1e-12)
    thermal = lattice.gaussian(c, 300.0)
    n = 1 / np.expm1(units.hbar * modes.omega / (units.kB * 300))
    assert modes.occupations(thermal) == pytest.approx(n, rel=1e-10)

    exact = lambda g: Averages(*poly.averages(g.R, g.A))
    propagate(g, exact, 0.01, 20)
    a = exact(g)
    power = modes.mode_power(g, a.force, a.curvature)
    dt = 1e-4
    after, before = g.copy(), g.copy()
    propagate(after, exact, dt, 1)
    propagate(before, exact, -dt, 1)
    slope = (sum(modes.mode_energies(after)) - sum(modes.mode_energies(before))) / (2 * dt)
    assert power == pytest.approx(slope, abs=1e-6) and np.abs(power).max() > 1e-4


def test_stress_is_momentum_flux(moving):
    lattice, c, poly, g = moving
    flux = momentum_flux(g, c)
    assert np.trace(flux) == pytest.approx(2 * g.kinetic(), rel=1e-12)
    W = np.diag([1.0, 2.0, 3.0])
    assert stress(g, c, W, 100.0) == pytest.approx(-(W + flux) / 100.0)
    still = lattice.gaussian(c, 300.0)  # harmonic equilibrium: <f uᵀ> = −D A = −B
    full = -(c.basis @ c.matrix(lattice.force_constants) @ still.A @ c.basis.T).reshape(4, 3, 4, 3)
    fu = np.einsum("iaib->ab", full)
    assert published_stress(W, fu, 100.0) == pytest.approx(stress(still, c, W, 100.0), abs=1e-12)


def test_structure_factor_against_sampling(moving):
    """Bragg and diffuse intensity together are <|Σ f e^{iQx}|²> of the Gaussian."""
    lattice, c, poly, g = moving
    rng = np.random.default_rng(1)
    Q = rng.normal(size=(4, 3)) * 3
    f = np.array([11.0, 17.0, 11.0, 17.0])
    bragg, diffuse = structure_factor(g, c, Q, f)
    x = c.positions(configurations(g.R, square_root(g.A), rng.normal(size=(200_000, c.size))))
    amplitude = np.einsum("sin,i->sn", np.exp(1j * x @ Q.T), f)
    assert np.abs(amplitude.mean(0)) ** 2 == pytest.approx(bragg, rel=0.01, abs=1)
    assert (np.abs(amplitude) ** 2).mean(0) == pytest.approx(bragg + diffuse, rel=0.01, abs=1)
    assert (diffuse > 0).all()
