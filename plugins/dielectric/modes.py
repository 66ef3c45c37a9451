"""Polar vibrations of a relaxed cell at Γ: frequencies, infrared intensities, static permittivity, LO–TO splitting.

With force constants Φ by central differences of forces, D = M^{-1/2} Φ M^{-1/2} and eigenvectors e_ν (X. Gonze and C. Lee,
Phys. Rev. B 55, 10355 (1997), eqs. 54, 58, 60):

    Z̃_a,ν = Σ_ib Z*_i[a, b] e_ib,ν/√m_i          I_ν = Σ_a Z̃_a,ν²
    ε_ab(0) = ε∞_ab + Σ_ν Z̃_a,ν Z̃_b,ν/(ε0 V ω_ν²)
    D^LO(q) = D + (q·Z̃*)(q·Z̃*)/(ε0 V q·ε∞·q)       for q → 0 along q

A molecular dynamics run is told apart by them in ``mode_spectrum``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from zipfile import BadZipFile

import numpy as np

from engine import units
from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces

WAVENUMBER = units.fs * 1e3 * 33.35640951981521 / (2 * np.pi)  # internal angular frequency to cm⁻¹
DEBYE = 4.803204712570263  # of one e·Å
RIGID = 1.0  # cm⁻¹, below which a mode is a translation


@dataclass
class Modes:
    """dynamical (3n, 3n); frequencies (3n,) cm⁻¹, negative where unstable, ascending; vectors (n, 3, 3n) of unit norm in
    mass-weighted coordinates; charges (3, 3n) Z̃ in e/√u; optical (3, 3) ε∞; masses (n,), volume Å³"""

    dynamical: np.ndarray
    frequencies: np.ndarray
    vectors: np.ndarray
    charges: np.ndarray
    optical: np.ndarray
    masses: np.ndarray
    volume: float

    def intensities(self):
        """(3n,) (D/Å)²/u"""
        return DEBYE**2 * (self.charges**2).sum(0)

    def static(self):
        """(3, 3) ε(0) of clamped cell; translations left out."""
        real = self.moving()
        omega2 = np.sign(self.frequencies[real]) * (self.frequencies[real] / WAVENUMBER) ** 2
        c = self.charges[:, real]
        return self.optical + (c / omega2) @ c.T / (units.epsilon0 * self.volume)

    def longitudinal(self, q):
        """(3n,) cm⁻¹ for waves that run along `q`."""
        q = np.asarray(q, float) / np.linalg.norm(q)
        v = self.vectors.reshape(-1, len(self.frequencies))
        along = v @ (q @ self.charges)  # back to mass-weighted coordinates
        D = self.dynamical + np.outer(along, along) / (units.epsilon0 * self.volume * (q @ self.optical @ q))
        return signed(np.linalg.eigvalsh(D))

    def moving(self):
        """Numbers of the modes that are no translation."""
        return np.flatnonzero(np.abs(self.frequencies) > RIGID)

    def projected(self, velocities):
        """(..., 3n) √u Å per internal time: the modes' own velocities for Cartesian ones (..., n, 3)."""
        return np.einsum("n,...na,nam->...m", np.sqrt(self.masses), velocities, self.vectors)

    def save(self, path):
        """All arrays in one file of NumPy's, for ``kind = "mode-spectrum"``."""
        np.savez_compressed(path, **vars(self))

    @classmethod
    def load(cls, path):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {field.name: file[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(f"modes = {path} is not a file of modes that `Modes.save` wrote ({error})") from None
        return cls(**{**arrays, "volume": float(arrays["volume"])})


def signed(omega2):
    return np.sign(omega2) * np.sqrt(np.abs(omega2)) * WAVENUMBER


def modes(atoms, potential, step=0.01) -> Modes:
    """Modes of ASE Atoms, relaxed, in a potential (or {name: potential}) that provides Born charges; `step` in Å."""
    potentials = potential if isinstance(potential, dict) else {"potential": potential}
    state = state_from_atoms(atoms)
    for one in potentials.values():
        one.bind(state.species_names)
    cutoff = max(one.capabilities().cutoff for one in potentials.values())
    forces = Forces(state, Domain(state, cutoff, 2.5 * step + 0.1, sort=False), potentials)
    forces.inputs.field = np.zeros((1, 3))
    n = state.n
    start = forces(frozenset({"born_charges", "polarizability"} & forces.provides))
    Z = start.born_charges[:n].copy()
    optical = np.eye(3) + start.polarizability[0] / (units.epsilon0 * state.volume[0])
    hessian = np.zeros((3 * n, 3 * n))
    x = state.positions[:n].copy()
    for k in range(3 * n):
        for sign in (1, -1):
            moved = x.copy()
            moved[k // 3, k % 3] += sign * step
            state.set("positions", moved)
            hessian[k] -= sign * forces().forces[:n].ravel() / (2 * step)
    root = np.repeat(np.sqrt(state.masses), 3)
    D = 0.5 * (hessian + hessian.T) / np.outer(root, root)
    omega2, vectors = np.linalg.eigh(D)
    vectors = vectors.reshape(n, 3, 3 * n)
    charges = np.einsum("nab,nbm,n->am", Z, vectors, 1 / np.sqrt(state.masses))
    return Modes(D, signed(omega2), vectors, charges, optical, state.masses.copy(), float(state.volume[0]))
