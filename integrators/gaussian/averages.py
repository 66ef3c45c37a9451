"""Averages over a Gaussian: the potential energy, the mean force and the mean curvature, from samples.

| symbol | name |
|---|---|
| <V>, <f>, K = <∂²V/∂R²> | `Averages.energy`, `.force`, `.curvature` |
| y, x = R + A^{1/2} y | `noise`, `configurations` |
| A^{1/2} = U diag(s) Uᵀ | `root = (s, U)` |

Two forms of K. `gradient_curvature` is twice the derivative with respect to A of the *sampled* energy
(1/N) Σ V(R + A^{1/2} y_i): dA = S dS + dS S, dE = −Tr(dS sym<y fᵀ>), hence K = −2X with S X + X S = sym<y fᵀ>.
The sampled energy is then conserved whatever the number of configurations. `published_curvature` is
−sym(A⁻¹<u fᵀ>) (arXiv:2408.00902): equal to it for infinitely many samples, and for harmonic forces.
"""

from dataclasses import dataclass, field

import numpy as np

from integrators.gaussian.state import square_root


@dataclass
class Averages:
    energy: float  # eV
    force: np.ndarray  # (d,)
    curvature: np.ndarray  # (d, d)
    extra: dict = field(default_factory=dict)  # averages of what else the samples were asked for (virial, <f u>, ...)


def symmetric(M):
    return 0.5 * (M + M.T)


def configurations(R, root, noise):
    """Samples (N, d) of the Gaussian; `root` from `square_root(A)`."""
    s, U = root
    return R + ((noise @ U) * s) @ U.T


def gradient_curvature(root, noise, forces):
    """K (d, d) as twice the exact gradient of the sampled energy with respect to A; forces (N, d)."""
    s, U = root
    M = symmetric(U.T @ (noise.T @ forces / len(noise)) @ U)
    return U @ (-2.0 * M / (s[:, None] + s[None, :])) @ U.T


def published_curvature(root, noise, forces):
    """K = −sym(A⁻¹ <u fᵀ>) of the published codes."""
    s, U = root
    return -symmetric(U @ ((U.T @ (noise.T @ forces / len(noise))) / s[:, None]))


CURVATURES = {"gradient": gradient_curvature, "published": published_curvature}


class SampledAverages:
    """Averages by correlated samples of `evaluate(x (N, d)) -> (energies (N,), forces (N, d))`."""

    def __init__(self, noise, evaluate, curvature="gradient"):
        self.noise, self.evaluate, self.curvature = noise, evaluate, CURVATURES[curvature]

    def __call__(self, gaussian):
        root = square_root(gaussian.A)
        energies, forces = self.evaluate(configurations(gaussian.R, root, self.noise))
        return Averages(float(np.mean(energies)), forces.mean(0), self.curvature(root, self.noise, forces))
