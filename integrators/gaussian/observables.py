"""What a Gaussian state says about a crystal: energies of modes, stress, polarization, scattering.

| quantity | function |
|---|---|
| E_μ = ½(P_μ² + B_μμ) + ½ω_μ²(R_μ² + A_μμ), n_μ = E_μ/ħω_μ − ½ | `mode_energies`, `occupations` |
| dE_μ/dt = P_μ(<f>_μ + ω_μ²R_μ) − (K G)_μμ + ω_μ²G_μμ | `mode_power` |
| momentum flux −(<W> + Σ_i p_i p_iᵀ/m_i)/V, averages of the Gaussian | `stress` |
| <σ> + (<f uᵀ> + <u fᵀ>)/2V of the published codes | `published_stress` |
| Σ_jk f_j f_k e^{iQ·(R_j−R_k)} e^{−½Q·(A_jj+A_kk)·Q} (e^{Q·A_jk·Q} − 1) | `structure_factor` |
"""

import numpy as np

from engine import units


class Modes:
    """Directions e_μ (columns, (d, k)) in reduced coordinates with frequencies ω_μ (k,) and an origin R₀ (d,)."""

    def __init__(self, vectors, omega, origin):
        self.vectors, self.omega, self.origin = vectors, np.asarray(omega), origin

    @classmethod
    def of(cls, coordinates, lattice):
        """The phonons of `lattice` seen in `coordinates` (which may be another lattice's)."""
        own = lattice.coordinates()
        vectors = coordinates.basis.T @ own.basis
        w2 = np.diag(own.matrix(lattice.force_constants))
        return cls(vectors, np.sqrt(np.abs(w2)), coordinates.coordinates(lattice.positions))

    def centroid(self, g):
        """Displacements and momenta of the centroid along the modes, (k,) each."""
        return (g.R - self.origin) @ self.vectors, g.P @ self.vectors

    def variances(self, g):
        """A_μμ, B_μμ, G_μμ (k,)."""
        return tuple(np.einsum("dk,dc,ck->k", self.vectors, M, self.vectors) for M in (g.A, g.B, g.G))

    def mode_energies(self, g):
        """Energies (k,) eV of the centroid's motion and of the fluctuations, apart."""
        r, p = self.centroid(g)
        a, b, _ = self.variances(g)
        w2 = self.omega**2
        return 0.5 * (p**2 + w2 * r**2), 0.5 * (b + w2 * a)

    def occupations(self, g, hbar=units.hbar):
        coherent, fluctuating = self.mode_energies(g)
        return (coherent + fluctuating) / (hbar * self.omega) - 0.5

    def mode_power(self, g, force, K):
        """What flows into each mode from all the others and from the field, (k,) eV per internal time."""
        r, p = self.centroid(g)
        w2 = self.omega**2
        _, _, gg = self.variances(g)
        KG = np.einsum("dk,dc,ck->k", self.vectors, K @ g.G, self.vectors)
        return p * (force @ self.vectors + w2 * r) - KG + w2 * gg


def momentum_flux(g, coordinates):
    """Σ_i <p_i p_iᵀ>/m_i (3, 3) eV."""
    P = (coordinates.basis @ g.P).reshape(-1, 3)
    B = coordinates.basis @ g.B @ coordinates.basis.T
    n = len(P)
    return P.T @ P + np.einsum("iaib->ab", B.reshape(n, 3, n, 3))


def stress(g, coordinates, mean_virial, volume):
    """σ (3, 3) eV/Å³ as momentum flux; tension positive."""
    return -(mean_virial + momentum_flux(g, coordinates)) / volume


def published_stress(mean_virial, force_displacement, volume):
    """<σ> + (<f uᵀ> + <u fᵀ>)/2V, with `force_displacement` = Σ_i <f_i u_iᵀ> (3, 3) eV."""
    return (-mean_virial + 0.5 * (force_displacement + force_displacement.T)) / volume


def structure_factor(g, coordinates, Q, amplitudes=None):
    """Bragg and diffuse intensities (m,), (m,) at wave vectors Q (m, 3) in 1/Å, scattering `amplitudes` (n,)."""
    x = coordinates.positions(g.R)
    n = len(x)
    f = np.ones(n) if amplitudes is None else np.asarray(amplitudes, float)
    C = coordinates.covariance(g.A).reshape(n, 3, n, 3)
    QAQ = np.einsum("ma,iajb,mb->mij", Q, C, Q, optimize=True)
    wave = f * np.exp(1j * Q @ x.T - 0.5 * np.einsum("mii->mi", QAQ))
    bragg = np.abs(wave.sum(1)) ** 2
    diffuse = np.einsum("mi,mj,mij->m", wave, wave.conj(), np.expm1(QAQ), optimize=True).real
    return bragg, diffuse
