"""A crystal with (auxiliary) force constants: where a SCHA starts, what it ends with, where TD-SCHA begins.

Mass-scaled dynamical matrix D = M^{-1/2} Φ M^{-1/2} (Φ in eV/Å², masses in u), squared frequencies in eV/(u·Å²).
Translations are projected out exactly: the d = 3n − 3 mass-scaled coordinates q span the complement of the three
vectors √m e_α, and every Gaussian lives in them alone.
"""

from dataclasses import dataclass, field, replace

import h5py
import numpy as np

from engine import units
from engine.errors import InputError
from integrators.gaussian.state import Gaussian


@dataclass
class Coordinates:
    """Mass-scaled reduced coordinates q (d,): positions = reference + (basis q)/√m.

    reference (n, 3) Å, masses (n,) u, basis (3n, d) with orthonormal columns.
    """

    reference: np.ndarray
    masses: np.ndarray
    basis: np.ndarray

    def __post_init__(self):
        self.weights = np.repeat(1.0 / np.sqrt(self.masses), 3)  # (3n,)
        self.to_cartesian = self.weights[:, None] * self.basis  # (3n, d): displacement = to_cartesian q

    @property
    def size(self):
        return self.basis.shape[1]

    def positions(self, q):
        """(..., d) -> (..., n, 3) Å."""
        return self.reference + (q @ self.to_cartesian.T).reshape(*q.shape[:-1], -1, 3)

    def forces(self, cartesian):
        """Generalised forces (..., d) of Cartesian ones (..., n, 3) eV/Å."""
        return cartesian.reshape(*cartesian.shape[:-2], -1) @ self.to_cartesian

    def coordinates(self, positions):
        """q (..., d) of positions (..., n, 3); the translation's share is dropped."""
        u = (positions - self.reference).reshape(*positions.shape[:-2], -1)
        return (u / self.weights) @ self.basis

    def matrix(self, force_constants):
        """Reduced dynamical matrix (d, d) of Cartesian force constants (3n, 3n)."""
        return self.to_cartesian.T @ force_constants @ self.to_cartesian

    def force_constants(self, dynamical):
        """Cartesian force constants (3n, 3n) of a reduced dynamical matrix; obeys the sum rule exactly."""
        left = self.basis / self.weights[:, None]
        return left @ dynamical @ left.T

    def covariance(self, A):
        """Cartesian covariance of displacements (3n, 3n) Å²."""
        return self.to_cartesian @ A @ self.to_cartesian.T

    def momentum_covariance(self, B):
        """Cartesian covariance of momenta (3n, 3n) u·eV."""
        left = self.basis / self.weights[:, None]
        return left @ B @ left.T


def translation_free(masses):
    """An orthonormal basis (3n, 3n − 3) of mass-scaled displacements that do not move the centre of mass."""
    t = np.kron(np.sqrt(masses / masses.sum())[:, None], np.eye(3))  # (3n, 3)
    full, _ = np.linalg.qr(np.hstack([t, np.eye(len(t))]))
    return full[:, 3 : len(t)]


@dataclass
class Lattice:
    symbols: list
    cell: np.ndarray  # (3, 3) Å
    positions: np.ndarray  # (n, 3) Å: the centroids
    masses: np.ndarray  # (n,) u
    force_constants: np.ndarray  # (3n, 3n) eV/Å²
    temperature: float = 0.0  # K
    born: np.ndarray | None = None  # (n, 3, 3) e, [atom, field axis, displacement axis]
    dielectric: np.ndarray | None = None  # (3, 3) electronic
    notes: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.positions)

    def coordinates(self):
        """Reduced coordinates whose axes are the phonons (ascending frequency); signs fixed, so that repeats agree."""
        plain = Coordinates(self.positions, self.masses, translation_free(self.masses))
        _, e = np.linalg.eigh(plain.matrix(self.force_constants))
        basis = plain.basis @ e
        largest = np.argmax(np.abs(basis) > np.abs(basis).max(0) - 1e-9, axis=0)
        return replace_basis(plain, basis * np.sign(basis[largest, np.arange(basis.shape[1])]))

    def frequencies(self):
        """(3n − 3,) cm⁻¹, imaginary ones negative."""
        plain = Coordinates(self.positions, self.masses, translation_free(self.masses))
        w2 = np.linalg.eigvalsh(plain.matrix(self.force_constants))
        return np.sign(w2) * np.sqrt(np.abs(w2)) * units.per_cm

    def gaussian(self, coordinates, temperature=None):
        """The thermal Gaussian of the force constants in given coordinates."""
        T = self.temperature if temperature is None else temperature
        return Gaussian.thermal(coordinates.matrix(self.force_constants), T, coordinates.coordinates(self.positions))

    def sum_rule(self):
        """Force constants with translations projected out exactly (a copy of the lattice)."""
        t = np.kron(np.full((len(self), 1), len(self) ** -0.5), np.eye(3))
        p = np.eye(len(t)) - t @ t.T
        phi = p @ (0.5 * (self.force_constants + self.force_constants.T)) @ p
        return replace(self, force_constants=phi)

    def save(self, path):
        with h5py.File(path, "w") as f:
            f.attrs["symbols"] = self.symbols
            f.attrs["temperature"] = self.temperature
            for name in ("cell", "positions", "masses", "force_constants", "born", "dielectric"):
                if getattr(self, name) is not None:
                    f[name] = getattr(self, name)
            for name, value in self.notes.items():
                f.require_group("notes")[name] = value

    @classmethod
    def load(cls, path):
        try:
            with h5py.File(path, "r") as f:
                arrays = {k: f[k][()] for k in ("cell", "positions", "masses", "force_constants")}
                arrays |= {k: f[k][()] for k in ("born", "dielectric") if k in f}
                notes = {k: v[()] for k, v in f["notes"].items()} if "notes" in f else {}
                return cls([str(s) for s in f.attrs["symbols"]], temperature=float(f.attrs["temperature"]), notes=notes, **arrays)
        except (OSError, KeyError) as error:
            raise InputError(f"{path}: not a lattice file written by a scha stage ({error})") from error


def replace_basis(coordinates, basis):
    return Coordinates(coordinates.reference, coordinates.masses, basis)
