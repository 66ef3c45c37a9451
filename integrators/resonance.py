"""How long an outer time step may be: the first resonance of r-RESPA, estimated at the present positions.

For one mode with the fast curvature ω² and the slow one κ (both divided by mass), a step of length Δt maps position
and momentum by a matrix of trace 2 cos ωΔt − (κΔt/ω) sin ωΔt = 2 √(1 + ε²) cos(ωΔt + δ), with ε = tan δ = κΔt/2ω. It is
unstable (|trace| > 2) for ωΔt between π − 2δ and π: so the limit is half the fastest period, less a width that the slow
curvature gives it (Biesiadecki and Skeel, J. Comput. Phys. 109, 318 (1993)):

    ω Δt = π − 2 arctan(κ Δt / 2ω)

| equation | name here |
|---|---|
| ω² | largest eigenvalue of the mass-weighted Hessian of all faster levels |
| κ | largest absolute eigenvalue of that of the slow level (safe: no direction is assumed to be the fast mode's) |

Eigenvalues are Lanczos's, on Hessian-vector products from central differences of forces.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from engine import random, units

DISPLACEMENT = 0.01  # Å, the farthest that an atom is moved


@dataclass(frozen=True)
class Resonance:
    """Of one slow level: its outer step (fs), the fastest period of the levels below (fs), the longest stable step (fs)."""

    level: int
    outer_step: float
    period: float
    limit: float

    @property
    def passed(self):
        return self.outer_step > self.limit

    def __str__(self):
        verdict = "past" if self.passed else "within"
        return (f"level {self.level}: outer step {self.outer_step:g} fs is {verdict} the resonance limit of {self.limit:.1f} fs "
                f"(half the fastest period, {0.5 * self.period:.1f} fs, less the slow forces' width)")


def warn(simulation, integrator):
    """Warn of every level whose step is past its limit; returns all estimates."""
    found = estimate(simulation, integrator.timestep)
    for resonance in found:
        if resonance.passed:
            warnings.warn(f"{resonance}; energy will not be conserved: shorten it", stacklevel=3)
    return found


def estimate(simulation, timestep, iterations=15):
    """A Resonance for every slow level; `timestep` is the innermost one in fs."""
    every = simulation.forces.every
    simulation.forces.all_levels()  # lists are built here, and stay as they are below
    out = []
    for level in range(1, len(every)):
        fast = largest_curvature(simulation, range(level), iterations)
        slow = largest_curvature(simulation, [level], iterations)
        omega = np.sqrt(fast) if fast > 0 else 0.0
        period = 2 * np.pi / omega / units.fs if omega > 0 else np.inf
        out.append(Resonance(level, timestep * every[level], period, longest_step(omega, slow) / units.fs))
    simulation.forces.stale = True
    return out


def longest_step(omega, kappa):
    """Δt of the equation above, in the units of 1/ω."""
    if omega <= 0:
        return 2 / np.sqrt(kappa) if kappa > 0 else np.inf
    if kappa <= 0:
        return np.pi / omega
    return brentq(lambda t: omega * t + 2 * np.arctan(0.5 * kappa * t / omega) - np.pi, 0.0, np.pi / omega)


def largest_curvature(simulation, levels, iterations=15):
    """Largest absolute eigenvalue of M^{−1/2} (∂²E/∂x²) M^{−1/2} of the given levels, 1/time²."""
    state = simulation.state
    root = 1 / np.sqrt(state.masses)[:, None]
    x0 = state.positions[: state.n].copy()

    def force(x):
        state.set("positions", x)
        return sum(simulation.forces(frozenset(), level).forces[: state.n].copy() for level in levels)

    def product(u):
        move = root * u
        h = DISPLACEMENT / np.sqrt(state.comm.max(float((move * move).sum(1).max(initial=0.0))))
        return -root * (force(x0 + h * move) - force(x0 - h * move)) / (2 * h)

    def dot(a, b):
        return float(state.comm.sum(float((a * b).sum())))

    u = np.empty((state.n, 3))
    random.normal(simulation.seed, random.DISPLACEMENTS, state.system[: state.n], 0, 0, state.tags[: state.n], u)
    u *= state.free
    basis, diagonal, beside = [u / np.sqrt(dot(u, u))], [], []
    for _ in range(min(iterations, int(state.comm.sum(state.n)) * 3)):
        w = product(basis[-1])
        diagonal.append(dot(w, basis[-1]))
        for _ in range(2):  # twice is enough to stay orthogonal
            for b in basis:
                w = w - dot(w, b) * b
        norm = np.sqrt(dot(w, w))
        if norm < 1e-8 * max(np.abs(diagonal).max(), 1e-300):
            break
        beside.append(norm)
        basis.append(w / norm)
    state.set("positions", x0)
    k = len(diagonal)
    T = np.diag(diagonal) + np.diag(beside[: k - 1], 1) + np.diag(beside[: k - 1], -1)
    return float(np.abs(np.linalg.eigvalsh(T)).max()) if k > 1 else float(abs(diagonal[0]))
