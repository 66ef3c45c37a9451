"""How a Gaussian moves: dR/dt = P, dP/dt = <f>, dA/dt = G + Gᵀ, dG/dt = B − A K, dB/dt = −(K G + (K G)ᵀ).

Both propagators take `averages`, a function Gaussian -> Averages, evaluate it once a step, and have global order 2.

`KickDriftKick` is a splitting into the exact flows of V(R, A) and of the kinetic energy. It is symplectic, explicit,
keeps the symplectic spectrum to rounding, and has no drift of the (sampled) energy if K is the energy's gradient.

`GeneralisedVerlet` is the published scheme (arXiv:2408.00902; npj Comput. Mater. 11, 102 (2025)): explicit in
R, P, A; B and G at the end of the step solve B = B_h − h(K G + (K G)ᵀ), G = G_h + h(B − A K). Published codes iterate
this; inserting G leaves B + h²(K B + B K) = B_h − h sym(...), solved here exactly in the eigenbasis of K.
"""

import numpy as np

from integrators.gaussian.averages import symmetric


def kick(g, force, K, h):
    """P += h<f>, B −= h(KG + (KG)ᵀ) − h²KAK, G −= hAK, right-hand sides with the old G (in place)."""
    g.P = g.P + h * force
    AK = g.A @ K
    KG = K @ g.G
    g.B = symmetric(g.B - h * (KG + KG.T) + h * h * (K @ AK))
    g.G = g.G - h * AK


def drift(g, dt):
    """R += dt·P, A += dt(G + Gᵀ) + dt²B, G += dt·B (in place)."""
    g.R = g.R + dt * g.P
    g.A = symmetric(g.A + dt * (g.G + g.G.T) + (dt * dt) * g.B)
    g.G = g.G + dt * g.B


class KickDriftKick:
    """Half kick, drift, new averages, half kick."""

    name = "kick-drift-kick"

    @staticmethod
    def begin(g, force, K, dt):
        kick(g, force, K, 0.5 * dt)
        drift(g, dt)

    @staticmethod
    def end(g, force, K, dt):
        kick(g, force, K, 0.5 * dt)


class GeneralisedVerlet:
    """The published semi-implicit Verlet."""

    name = "generalised-verlet"

    @staticmethod
    def begin(g, force, K, dt):
        h = 0.5 * dt
        AK, KG = g.A @ K, K @ g.G
        g.R = g.R + dt * g.P + h * dt * force
        g.P = g.P + h * force
        g.A = symmetric(g.A + dt * (g.G + g.G.T) + dt * dt * (g.B - symmetric(AK)))
        g.G = g.G + h * (g.B - AK)
        g.B = symmetric(g.B - h * (KG + KG.T))

    @staticmethod
    def end(g, force, K, dt):
        h = 0.5 * dt
        g.P = g.P + h * force
        G = g.G - h * (g.A @ K)
        k, U = np.linalg.eigh(K)
        KG = K @ G
        rhs = U.T @ (g.B - h * (KG + KG.T)) @ U
        g.B = symmetric(U @ (rhs / (1.0 + h * h * (k[:, None] + k[None, :]))) @ U.T)
        g.G = G + h * g.B


class FixedCovariance:
    """Only the centroid moves, in the mean force of a Gaussian that keeps its A, B and G (velocity Verlet)."""

    name = "fixed"

    @staticmethod
    def begin(g, force, K, dt):
        g.P = g.P + 0.5 * dt * force
        g.R = g.R + dt * g.P

    @staticmethod
    def end(g, force, K, dt):
        g.P = g.P + 0.5 * dt * force


PROPAGATORS = {p.name: p for p in (KickDriftKick, GeneralisedVerlet, FixedCovariance)}


def propagate(g, averages, dt, steps, propagator=KickDriftKick, external=None, time=0.0, observe=None):
    """Move `g` in place by `steps` steps of `dt` (internal time units); returns the last averages.

    `external(t)` is an extra force (d,) on the centroid (a field's); `observe(time, g, averages)` is called before
    the first step and after every one.
    """
    def push(t):
        return a.force if external is None else a.force + external(t)

    a = averages(g)
    if observe:
        observe(time, g, a)
    for i in range(steps):
        t = time + i * dt
        propagator.begin(g, push(t), a.curvature, dt)
        a = averages(g)
        propagator.end(g, push(t + dt), a.curvature, dt)
        if observe:
            observe(t + dt, g, a)
    return a
