"""The Gaussian state of TD-SCHA: centroids, momenta and their covariances.

Coordinates are mass-scaled (Å·√u, see `coordinates.py`), so momenta are velocities of them (√eV) and no mass appears.

| symbol | name | shape | unit |
|---|---|---|---|
| R, P | `R`, `P` | (d,) | Å·√u, √eV |
| A = <u uᵀ>, B = <p pᵀ>, G = <u pᵀ> (symmetrised product) | `A`, `B`, `G` | (d, d) | u·Å², eV, ... |
"""

from dataclasses import dataclass

import numpy as np

from engine import units
from engine.errors import PhysicsError


def bose(omega, temperature, hbar=units.hbar):
    """Bose–Einstein occupations of frequencies (internal units); zero at T = 0."""
    omega = np.asarray(omega, float)
    if temperature <= 0:
        return np.zeros_like(omega)
    with np.errstate(over="ignore"):
        return 1.0 / np.expm1(hbar * omega / (units.kB * temperature))


@dataclass
class Gaussian:
    """A Gaussian Wigner function of d degrees of freedom."""

    R: np.ndarray
    P: np.ndarray
    A: np.ndarray
    B: np.ndarray
    G: np.ndarray

    @classmethod
    def thermal(cls, dynamical, temperature, R=None, hbar=units.hbar):
        """Equilibrium of a harmonic `dynamical` matrix (d, d) at `temperature` (K, zero included):
        A = ħ(2n+1)/(2ω), B = ħω(2n+1)/2 in its eigenbasis, G = 0."""
        w2, e = np.linalg.eigh(dynamical)
        if w2[0] <= 0:
            raise PhysicsError(
                f"dynamical matrix: lowest squared frequency {w2[0]:.3g} eV/(u Å²) is not positive, so it has no"
                " thermal state; use auxiliary (SCHA) force constants with translations projected out"
            )
        w = np.sqrt(w2)
        spread = 0.5 * hbar * (2.0 * bose(w, temperature, hbar) + 1.0)
        d = len(w)
        R = np.zeros(d) if R is None else np.array(R, float)
        return cls(R, np.zeros(d), (e * (spread / w)) @ e.T, (e * (spread * w)) @ e.T, np.zeros((d, d)))

    @property
    def size(self):
        return len(self.R)

    def copy(self):
        return Gaussian(*(np.array(getattr(self, k)) for k in "RPABG"))

    def kinetic(self):
        """|P|²/2 + Tr(B)/2 in eV."""
        return 0.5 * float(self.P @ self.P) + 0.5 * float(np.trace(self.B))

    def covariance(self):
        """The (2d, 2d) covariance [[A, G], [Gᵀ, B]]."""
        return np.block([[self.A, self.G], [self.G.T, self.B]])

    def symplectic_spectrum(self):
        """The d invariants of any Gaussian motion: moduli of the eigenvalues of iΩ·covariance, ascending.

        Each is ħ(n + 1/2) of a normal mode; the uncertainty principle says >= ħ/2.
        """
        d = self.size
        cov = self.covariance()
        omega_cov = np.vstack([cov[d:], -cov[:d]])
        return np.sort(np.abs(np.linalg.eigvals(omega_cov).imag))[::2]

    def state_dict(self):
        return {k: np.array(getattr(self, k)) for k in "RPABG"}

    @classmethod
    def from_state_dict(cls, d):
        return cls(*(np.array(d[k], float) for k in "RPABG"))


def square_root(A):
    """Eigenvalues s of the symmetric root of A, and eigenvectors U: A^{1/2} = U diag(s) Uᵀ."""
    w, U = np.linalg.eigh(A)
    if not w[0] > 0:
        raise PhysicsError(
            f"covariance A is not positive definite (lowest eigenvalue {w[0]:.3g} Å²u): the time step is too long,"
            " or the state it started from was not physical"
        )
    return np.sqrt(w), U
