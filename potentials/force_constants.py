"""A crystal's energy as a Taylor expansion around reference positions: force constants up to fourth order.

    E(x, h, E) = V(u) − ε:W(u) − E·P(u),   u = x h⁻¹h₀ − x₀,  ε = sym(h₀⁻¹h) − 1,  P = Σ Z*·u

| symbol | name | unit |
|---|---|---|
| x₀, h₀ | `reference`, `cell` | Å |
| V | `polynomial` (``potentials.polynomial``) in the 3n displacements | eV |
| W_ab(u) = W⁰ + W¹·u + ½ W²:uu | `virial` (Voigt xx yy zz yz xz xy), the virial at the reference cell | eV |
| Z* | `born` [atom, field axis, displacement axis] | e |

S systems are evaluated at once. Each rank takes its share of the systems. The reference's images do not matter:
displacements are taken to the nearest image. Averages over Gaussians are exact (`gaussian_averages`).
"""

from dataclasses import dataclass

import h5py
import numpy as np
from scipy.sparse import csr_array

from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from potentials.polynomial import Polynomial

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _write(group, name, tensor):
    """An array, or the three arrays of a sparse one."""
    if isinstance(tensor, np.ndarray):
        group.create_dataset(name, data=tensor)
        return
    sparse = group.create_group(name)
    sparse.attrs["shape"] = tensor.shape
    for part in ("data", "indices", "indptr"):
        sparse[part] = getattr(tensor, part)


def _read(item):
    if isinstance(item, h5py.Dataset):
        return item[()]
    return csr_array((item["data"][()], item["indices"][()], item["indptr"][()]), shape=tuple(item.attrs["shape"]))


@dataclass
class StrainCoupling:
    """W(u), the virial as a quadratic polynomial of displacements: (6,), (6, d), (6, d, d) eV, ..."""

    constant: np.ndarray
    linear: np.ndarray
    second: np.ndarray

    def evaluate(self, U):
        """(S, 6) at points U (S, d)."""
        return self.constant + U @ self.linear.T + 0.5 * np.einsum("si,vij,sj->sv", U, self.second, U, optimize=True)

    def mean(self, m, A):
        """(6,) averaged over the Gaussian of mean m and covariance A."""
        return self.evaluate(m[None])[0] + 0.5 * np.einsum("vij,ij->v", self.second, A)


@dataclass
class ForceConstants(Potential):
    """`file`: HDF5 written by `save` (for example by `python -m plugins.lattice.fit`)."""

    file: InputFile

    def __post_init__(self):
        try:
            with h5py.File(self.file, "r") as f:
                get = lambda name: f[name][()] if name in f else None
                self.symbols = [str(s) for s in f.attrs["symbols"]]
                self.reference, self.cell, self.born = get("positions"), get("cell"), get("born")
                p = f["polynomial"]
                self.polynomial = Polynomial(float(p.attrs["constant"]), *(
                    _read(p[k]) if k in p else None for k in ("linear", "second", "third", "fourth")))
                self.virial = None
                if "virial" in f:
                    self.virial = StrainCoupling(*(f["virial"][k][()] for k in ("constant", "linear", "second")))
        except (OSError, KeyError) as error:
            raise InputError(f"{self.file}: not a force-constants file ({str(error).splitlines()[0]})") from None

    @staticmethod
    def save(path, symbols, reference, cell, polynomial, virial=None, born=None):
        """Write what `file` is to name."""
        with h5py.File(path, "w") as f:
            f.attrs["symbols"] = list(symbols)
            f["positions"], f["cell"] = reference, cell
            if born is not None:
                f["born"] = born
            p = f.create_group("polynomial")
            p.attrs["constant"] = polynomial.constant
            for k in ("linear", "second", "third", "fourth"):
                if getattr(polynomial, k) is not None:
                    _write(p, k, getattr(polynomial, k))
            if virial is not None:
                v = f.create_group("virial")
                for k in ("constant", "linear", "second"):
                    v[k] = getattr(virial, k)

    def bind(self, species_names):
        unknown = set(species_names) - set(self.symbols)
        if unknown:
            raise InputError(f"{self.file}: the reference crystal has no {', '.join(sorted(unknown))};"
                             f" it has {', '.join(sorted(set(self.symbols)))}")
        self.kinds = np.array([list(species_names).index(s) if s in species_names else -1 for s in self.symbols])

    def capabilities(self):
        provides = {"energy", "forces"}
        if self.virial is not None:
            provides.add("virial")
        if self.born is not None:
            provides |= {"polarization", "born_charges"}
        return Capabilities(
            0.0, lists="none", reach="global", takes=frozenset({"field"} if self.born is not None else ()),
            provides=frozenset(provides), heat_flux=False,
        )

    # -- displacements ----------------------------------------------------------------------------------------------
    def _strain(self, cells):
        """(S, 3, 3) deformation F, h = h₀ F, refused where the file has no strain coupling."""
        F = np.linalg.solve(self.cell, cells)
        if self.virial is None and np.abs(F - np.eye(3)).max() > 1e-6:
            raise InputError(f"{self.file}: the cell differs from the reference's, and the file has no strain coupling")
        return F

    def displacements(self, positions, cells):
        """u (S, n, 3) of positions (S, n, 3) in cells (S, 3, 3), carried back to the reference cell, nearest image."""
        inverse = np.linalg.inv(self.cell)
        f = np.einsum("snk,skl->snl", positions, np.linalg.inv(cells)) - self.reference @ inverse
        return (f - np.round(f)) @ self.cell

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        n, own, S = len(self.symbols), atoms.n, atoms.n_systems
        comm = atoms.comm
        site = atoms.tags[:own] % n
        system = atoms.system[:own]
        if comm.sum(own) != n * S or (self.kinds[site] != atoms.species[:own]).any():
            raise InputError(f"{self.file}: every system must have the {n} atoms of the reference crystal, in its order")
        x = np.zeros((S, n, 3))
        x[system, site] = atoms.positions[:own]
        x = comm.sum(x)
        mine = np.arange(comm.rank, S, comm.size)
        if not len(mine):
            energy, gradient, F = np.zeros(0), np.zeros((0, n, 3)), np.zeros((0, 3, 3))
            U = np.zeros((0, 3 * n))
        else:
            F = self._strain(atoms.cells[mine])
            U = self.displacements(x[mine], atoms.cells[mine]).reshape(len(mine), -1)
            energy, gradient = self.evaluate(U, F)
        if self.born is not None:
            Z = self.born.transpose(1, 0, 2).reshape(3, -1)  # (3, 3n)
            P = np.einsum("sa,sab->sb", U @ Z.T, F)  # the reduced polarization is that of the reference cell
            if inputs.field is not None:
                field = inputs.field[mine]
                energy = energy - np.einsum("sa,sa->s", field, P)
                gradient = gradient + (np.einsum("sab,sb->sa", F, field) @ Z).reshape(-1, n, 3)
            if "polarization" in needs:
                out.polarization[mine] += P
            if "born_charges" in needs:
                carry = self._strain(atoms.cells)[system]
                out.born_charges[:own] += carry.swapaxes(1, 2) @ self.born[site] @ np.linalg.inv(carry).swapaxes(1, 2)
        if "energy" in needs:
            out.energy[mine] += energy
        if "virial" in needs and len(mine):
            W = np.zeros((len(mine), 3, 3))
            for v, (a, b) in enumerate(VOIGT):
                W[:, a, b] = W[:, b, a] = self.virial.evaluate(U)[:, v]
            out.virial[mine] += np.swapaxes(F, 1, 2) @ W
        forces = np.zeros((S, n, 3))
        if len(mine):
            # carry −∂E/∂u to the present cell: u = x h⁻¹h₀
            forces[mine] = np.einsum("sna,sba->snb", gradient, np.linalg.inv(F))
        forces = comm.sum(forces)
        out.forces[:own] += forces[system, site]

    def evaluate(self, U, F=None):
        """Energies (S,) and −∂E/∂u (S, n, 3) at displacements U (S, 3n); `F` (S, 3, 3) deformations."""
        energy, force = self.polynomial.evaluate(U)
        if F is not None and self.virial is not None:
            strain = 0.5 * (F + np.swapaxes(F, 1, 2)) - np.eye(3)
            e = np.stack([strain[:, a, b] * (1 if a == b else 2) for a, b in VOIGT], 1)
            if np.abs(e).max() > 0:
                energy = energy - np.einsum("sv,sv->s", e, self.virial.evaluate(U))
                force = force + e @ self.virial.linear + np.einsum("sv,vij,sj->si", e, self.virial.second, U, optimize=True)
        return energy, force.reshape(len(U), -1, 3)

    # -- exact averages -----------------------------------------------------------------------------------------------
    def strained(self, strain):
        """The polynomial at a symmetric strain (3, 3), to first order in it as the energy is."""
        p = self.polynomial
        e = np.array([strain[a, b] * (1 if a == b else 2) for a, b in VOIGT])
        if not e.any():
            return p
        w = self.virial
        return Polynomial(p.constant - float(e @ w.constant), p.linear - e @ w.linear,
                          p.second - np.einsum("v,vij->ij", e, w.second), p.third, p.fourth)

    def projected(self, reference, to_cartesian, cell):
        """The polynomial of q and the mean virial's (or None), where positions = reference + to_cartesian q; at fixed
        cell. `reference` (n, 3) Å, `to_cartesian` (3n, d). Without the field, whose force is `field_force`."""
        F = self._strain(cell[None])[0]
        u0 = self.displacements(reference[None], cell[None]).ravel()
        L = np.einsum("sna,ab->snb", to_cartesian.T.reshape(-1, len(self.symbols), 3), np.linalg.inv(F))
        L = L.reshape(-1, 3 * len(self.symbols)).T
        polynomial = self.strained(0.5 * (F + F.T) - np.eye(3)).shifted(u0).transformed(L)
        virial = None
        if self.virial is not None:
            w = self.virial
            virial = StrainCoupling(w.evaluate(u0[None])[0], (w.linear + w.second @ u0) @ L,
                                    np.einsum("vij,ia,jb->vab", w.second, L, L, optimize=True))
        return polynomial, virial

    def polarization(self, reference, to_cartesian, cell):
        """P₀ (3,) and ∂P/∂q (3, d) e·Å, or None without charges."""
        if self.born is None:
            return None
        F = np.linalg.solve(self.cell, cell)
        Z = self.born.transpose(1, 0, 2).reshape(3, -1)
        u0 = self.displacements(reference[None], cell[None]).ravel()
        L = np.einsum("sna,ab->snb", to_cartesian.T.reshape(-1, len(self.symbols), 3), np.linalg.inv(F))
        return F.T @ (Z @ u0), F.T @ (Z @ L.reshape(-1, 3 * len(self.symbols)).T)  # P that `compute` has
