"""Polar vibrations of a relaxed cell at Γ: frequencies, infrared intensities, static permittivity, LO–TO splitting.

With force constants Φ by central differences of forces, D = M^{-1/2} Φ M^{-1/2} and eigenvectors e_ν (X. Gonze and C. Lee,
Phys. Rev. B 55, 10355 (1997), eqs. 54, 58, 60):

    Z̃_a,ν = Σ_ib Z*_i[a, b] e_ib,ν/√m_i          I_ν = Σ_a Z̃_a,ν²
    ε_ab(0) = ε∞_ab + Σ_ν Z̃_a,ν Z̃_b,ν/(ε0 V ω_ν²)
    D^LO(q)_νμ = ω_ν² δ_νμ + (q·Z̃)_ν (q·Z̃)_μ/(ε0 V q·ε∞·q)       for q → 0 along q

Where the potential has a polarizability, its slopes are those of the Born charges in a field, ∂α_ac/∂R_ib = ∂Z*_i[a, b]/∂E_c,
by differences (exact for an enthalpy of fourth order in E or less), and the Raman activity comes from ∂α/∂Q_ν (D. A. Long, The
Raman Effect, 2002, ch. 5): 45 ā'² + 7 γ'², α as a volume, α/(4π ε0).

Modes without a charge along q stay in D^LO as they are. Of the others the k-th from below goes up, but not above the (k + 1)-th,
because the one positive direction that is added separates them: so every mode has an LO shift of its own.

A molecular dynamics run is told apart by them in ``mode_spectrum``; ``modes_stage`` makes them in a run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from engine import units
from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces
from engine.output.file import writing

DEBYE = 4.803204712570263  # of one e·Å
RIGID = 1.0  # cm⁻¹, below which a mode is a translation
NEUTRAL = 1e-3  # of the largest strength along a wave, below which a mode has no charge
SAME = 2.0  # cm⁻¹, within which modes are one line
FIELDS = {0.005: 4 / 3, 0.01: -1 / 3}  # V/Å, and what their central differences count (L. F. Richardson, 1911)
WEAKEST = 0.005  # of the largest, below which an intensity, activity or shift is not worth a line


@dataclass
class Modes:
    """frequencies (3n,) cm⁻¹, negative where unstable, ascending; vectors (n, 3, 3n) of unit norm in
    mass-weighted coordinates; charges (3, 3n) Z̃ in e/√u; raman (3, 3, 3n) ∂α/∂Q in e·Å/V/√u, NaN where α is not known; optical
    (3, 3) ε∞; masses (n,); positions (n, 3) and cell (3, 3) Å"""

    frequencies: np.ndarray
    vectors: np.ndarray
    charges: np.ndarray
    raman: np.ndarray
    optical: np.ndarray
    masses: np.ndarray
    positions: np.ndarray
    cell: np.ndarray

    @property
    def volume(self):
        return float(abs(np.linalg.det(self.cell)))

    def intensities(self):
        """(3n,) (D/Å)²/u"""
        return DEBYE**2 * (self.charges**2).sum(0)

    def activities(self):
        """(3n,) Å⁴/u, for Raman"""
        slope = units.coulomb * self.raman
        trace = np.einsum("aam->m", slope)
        return 5 * trace**2 + 3.5 * (3 * (slope**2).sum((0, 1)) - trace**2)

    def static(self):
        """(3, 3) ε(0) of clamped cell; translations left out."""
        real = self.moving()
        omega2, c = squared(self.frequencies[real]), self.charges[:, real]
        return self.optical + (c / omega2) @ c.T / (units.epsilon0 * self.volume)

    def longitudinal(self, q):
        """(3n,) cm⁻¹ of each mode for waves that run along `q`; charges that add too little to be seen are taken for none."""
        q = np.asarray(q, float) / np.linalg.norm(q)
        along, out = q @ self.charges, self.frequencies.copy()
        polar = np.flatnonzero(along**2 > NEUTRAL * (along**2).max())
        added = np.outer(along[polar], along[polar]) / (units.epsilon0 * self.volume * (q @ self.optical @ q))
        out[polar] = signed(np.linalg.eigvalsh(np.diag(squared(out[polar])) + added))
        return out

    def moving(self):
        """Numbers of the modes that are no translation."""
        return np.flatnonzero(np.abs(self.frequencies) > RIGID)

    def lines(self, direction):
        """(lines, 5): how many modes, wavenumber, intensity, LO shift for waves along `direction`, Raman activity. Degenerate
        modes are one line; what neither light nor a shift shows is left out."""
        of_modes = np.stack([self.intensities(), self.longitudinal(direction) - self.frequencies, self.activities()], 1)
        starts = np.flatnonzero(np.diff(self.frequencies, prepend=-np.inf) > SAME)
        groups = [rows for rows in np.split(np.arange(len(self.frequencies)), starts[1:]) if rows[0] in self.moving()]
        found = np.array([[len(rows), self.frequencies[rows].mean(), of_modes[rows, 0].sum(), of_modes[rows, 1].max(),
                           of_modes[rows, 2].sum()] for rows in groups]).reshape(-1, 5)
        seen = found[:, 2:] > WEAKEST * np.nan_to_num(found[:, 2:]).max(0, initial=0.0)
        return found[seen.any(1)]

    def save(self, path):
        """All arrays in one file of NumPy's, for ``kind = "mode-spectrum"``."""
        path = Path(path)
        part = path.with_name(path.name + ".tmp")
        with writing(path):
            with open(part, "wb") as file:
                np.savez_compressed(file, **vars(self))
            part.replace(path)

    @classmethod
    def load(cls, path):
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{field.name: file[field.name] for field in fields(cls)})
        except FileNotFoundError:
            raise InputError(f"modes = {path} does not exist; a stage of kind = \"modes\" writes it") from None
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(f"modes = {path} is not a file of modes that this version wrote ({error})") from None


def squared(frequencies):
    return np.sign(frequencies) * (frequencies / units.per_cm) ** 2


def signed(omega2):
    return np.sign(omega2) * np.sqrt(np.abs(omega2)) * units.per_cm


def require_charges(forces):
    if "born_charges" not in forces.provides:
        raise InputError("modes: no potential in use has Born charges, so that no light sees its vibrations; "
                         "fixed-charges, born-charges, polarizable-bonds and dielectric have")


def modes(atoms, potential, step=0.01, field=(0.0, 0.0, 0.0), exclusions=()) -> Modes:
    """Modes of ASE Atoms in a potential (or {name: potential}) with Born charges, relaxed in `field`, V/Å; `step` in Å;
    exclusions : (m, 2) rows of pairs that do not act on each other."""
    potentials = potential if isinstance(potential, dict) else {"potential": potential}
    state = state_from_atoms(atoms)
    state.exclusions = np.array(exclusions, np.int64).reshape(-1, 2)
    for one in potentials.values():
        one.bind(state.species_names)
    cutoff = max(one.capabilities().cutoff for one in potentials.values())
    forces = Forces(state, Domain(state, cutoff, 2.5 * step + 0.1, sort=False), potentials)
    forces.inputs.field = np.array([field], float)
    require_charges(forces)
    n, optical, slopes = state.n, np.eye(3), np.full((state.n, 3, 3, 3), np.nan)
    if "polarizability" in forces.provides:
        optical += forces({"polarizability"}).polarizability[0] / (units.epsilon0 * state.volume[0])
        slopes[:] = 0.0
        for c, (delta, weight), sign in product(range(3), FIELDS.items(), (1, -1)):
            forces.inputs.field = np.array([field], float) + sign * delta * np.eye(3)[c]
            charges = forces({"born_charges"}).born_charges[:n]
            slopes[..., c] += sign * weight / (2 * delta) * charges  # [atom, field axis, displacement axis, other field axis]
        forces.inputs.field = np.array([field], float)
    Z = forces({"born_charges"}).born_charges[:n].copy()
    hessian, x = np.zeros((3 * n, 3 * n)), state.positions[:n].copy()
    for k in range(3 * n):
        for sign in (1, -1):
            moved = x.copy()
            moved[k // 3, k % 3] += sign * step
            state.set("positions", moved)
            hessian[k] -= sign * forces(frozenset()).forces[:n].ravel() / (2 * step)
    root = np.repeat(np.sqrt(state.masses), 3)
    D = 0.5 * (hessian + hessian.T) / np.outer(root, root)
    omega2, vectors = np.linalg.eigh(D)
    vectors = vectors.reshape(n, 3, 3 * n)
    motions = vectors / np.sqrt(state.masses)[:, None, None]
    return Modes(signed(omega2), vectors, np.einsum("nab,nbm->am", Z, motions), np.einsum("nabc,nbm->acm", slopes, motions),
                 optical, state.masses.copy(), x, state.cells[0].copy())
