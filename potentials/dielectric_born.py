"""Fixed Born charges in an electric field: ions that leave their sites by u_i carry P = Σ Z*_i u_i.

    F = −E·P,   P_a = Σ_i Z*_i[a, b] u_i[b],   u_i = r_i − s_i·h            s_i: the site, fixed in lattice coordinates

A tensor that stayed put in space would break the balance of torques. It goes with the lattice, P·h⁻¹ = Σ ζ_i Δs_i with
ζ = h₀⁻ᵀ Z* h₀ᵀ: at fixed reduced field F then hangs on fractional positions alone and the virial is zero.

Across open directions there is no lattice for a site to go with, and a cell's vector there may span no more than the atoms
of the moment: the rows of h are unit vectors there, normal to the periodic ones, and coordinates along them are in Å.

| equation | name here |
|---|---|
| Z*, e, [field axis, displacement axis] | ``born_charges`` by species (a number or 3 × 3), or the file's ``born_charge`` |
| ζ | per-atom attribute ``lattice_charge_..`` |
| s | per-atom attribute ``site_..``, both named after what they are made of: several such potentials have their own |
| h | ``frames`` |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import cell as cells_
from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from engine.state import Attribute
from potentials.dielectric import RESPONSES, field_of, sum_here


def frames(cells, periodic):
    """(S, 3, 3) what lattice coordinates count in: the cells' vectors where they are periodic, else unit vectors."""
    if periodic.all():
        return cells
    nobody = np.zeros((0, 3))
    return np.array([cells_.complete(np.where(periodic[:, None], h, 0.0), periodic, nobody, padding=0.5)[0] for h in cells])


@dataclass
class FixedBornCharges(Potential):
    """born_charges : {species: number or 3 × 3};  file : a structure (extended XYZ, in the order of the system's atoms)
    whose positions are the sites, with the column born_charge where it is given;  neutral : remove the mean charge, so
    that a translation carries nothing. Without a file the sites are where the atoms are at first."""

    born_charges: dict[str, Any] = field(default_factory=dict)
    file: InputFile | None = None
    neutral: bool = True

    itinerant = False

    def bind(self, species_names):
        self._tensors = None
        mark = hashlib.sha256(repr((self.born_charges, str(self.file), self.neutral)).encode()).hexdigest()[:8]
        self._site = Attribute(f"site_{mark}", np.float64, (3,))
        self._charge = Attribute(f"lattice_charge_{mark}", np.float64, (3, 3))
        if self.born_charges:
            missing = [s for s in species_names if s not in self.born_charges]
            if missing:
                raise InputError(f"born-charges: no charge is given for {', '.join(missing)}")
            self._tensors = np.array([self._tensor(self.born_charges[s], s) for s in species_names])
        elif self.file is None:
            raise InputError("born-charges: give either born_charges by species or a file with the column born_charge")

    @staticmethod
    def _tensor(value, species):
        try:
            tensor = np.asarray(value, float)
        except (TypeError, ValueError):  # words, rows of several lengths
            tensor = np.full(3, np.nan)
        if tensor.shape not in ((), (3, 3)) or not np.isfinite(tensor).all():
            raise InputError(f"born-charges: born_charges.{species} = {value!r}: must be a number (e) or three rows of three")
        return tensor * np.eye(3) if tensor.shape == () else tensor

    def capabilities(self):
        return Capabilities(
            cutoff=0.0, lists="none", takes=frozenset({"field"}),
            provides=frozenset({"energy", "forces", "virial"}) | RESPONSES, heat_flux=False,
        )

    def _settle(self, atoms):
        """Give each atom its site and its tensor in lattice coordinates; once, for they are kept with the atoms."""
        n = atoms.n
        cells = frames(atoms.cells, atoms.periodic)[atoms.system[:n]]
        sites = np.einsum("ni,nij->nj", atoms.unwrapped(), np.linalg.inv(cells))
        tensors = None if self._tensors is None else self._tensors[atoms.species[:n]]
        if self.file is not None:
            reference = self._reference(atoms)
            if tensors is None:
                tensors = self._column(reference)[atoms.tags[:n]]
            ideal = reference.positions[atoms.tags[:n]] @ np.linalg.inv(frames(reference.cell[:][None], atoms.periodic)[0])
            sites = ideal + np.where(atoms.periodic, np.round(sites - ideal), 0.0)
        if self.neutral:
            count = atoms.comm.sum(sum_here(atoms, np.ones(n)))
            mean = atoms.comm.sum(sum_here(atoms, tensors)) / count[:, None, None]
            tensors = tensors - mean[atoms.system[:n]]
        if not atoms.comm.any(bool(tensors.any())):
            raise InputError("born-charges: all charges are zero" + ", once their mean is taken away" * self.neutral)
        atoms.declare(self._site)
        atoms.declare(self._charge)
        atoms.set(self._site.name, sites)
        atoms.set(self._charge.name, np.einsum("nia,nij,nbj->nab", np.linalg.inv(cells), tensors, cells))

    def _reference(self, atoms):
        import ase.io

        try:
            reference = ase.io.read(self.file)
        except Exception as error:
            raise InputError(f"born-charges: '{self.file}' cannot be read: {error}") from error
        if len(reference) != atoms.comm.sum(atoms.n) or atoms.n_systems > 1:
            raise InputError(f"born-charges: '{self.file}' has {len(reference)} atoms, the system {atoms.comm.sum(atoms.n)}; "
                             "they must be the same atoms in the same order")
        if (np.linalg.norm(reference.cell[:][atoms.periodic], axis=1) < 1e-8).any():
            raise InputError(f"born-charges: '{self.file}' has no cell vector along a direction in which the system is periodic")
        return reference

    def _column(self, reference):
        """(n, 3, 3) of the file."""
        values = reference.arrays.get("born_charge")
        if values is None:
            raise InputError(f"born-charges: '{self.file}' has no column born_charge, and none are given by species")
        if values.size != 9 * len(reference) or values.dtype.kind not in "if" or not np.isfinite(values).all():
            raise InputError(f"born-charges: the column born_charge of '{self.file}' must be nine finite numbers for each atom")
        return values.reshape(-1, 3, 3).astype(float)

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if self._site.name not in atoms.table:
            self._settle(atoms)
        site, lattice_charge = getattr(atoms, self._site.name), getattr(atoms, self._charge.name)
        n, system = atoms.n, atoms.system[: atoms.n]
        E, cells = field_of(atoms, inputs), frames(atoms.cells, atoms.periodic)
        if atoms.n_systems == 1:
            h = cells[0]
            charges = np.einsum("ai,nab,jb->nij", h, lattice_charge, np.linalg.inv(h), optimize=True)
        else:
            h = cells[system]
            charges = np.einsum("nai,nab,njb->nij", h, lattice_charge, np.linalg.inv(h), optimize=True)
        out.forces[:n] += np.einsum("ni,nij->nj", E[system], charges)
        if needs & {"energy", "polarization"}:
            u = atoms.unwrapped() - np.einsum("na,naj->nj", site, cells[system])
            P = sum_here(atoms, np.einsum("nij,nj->ni", charges, u))
            if "energy" in needs:
                out.energy -= (P * E).sum(1)
            if "polarization" in needs:
                out.polarization += P
        if "born_charges" in needs:
            out.born_charges[:n] += charges
