"""Fixed point charges in an electric field: the simplest matter that feels one.

    F = −E·P,   P = Σ q_i (r_i + n_i·h)                     positions followed through the boundaries by their images n_i

In a field that is linear in space, E(r) = E + G·r, −½ G:Q with Q = Σ q_i r_i⊗r_i is added.

Without a field it is nothing: the charges' own interaction is another potential's. At fixed reduced field Ē = h·E, with
fractional positions s, F = −Ē·Σ q_i s_i does not change with the cell, so the virial is zero (at fixed E it would be P⊗E).

The polarization is single-valued along a trajectory, and differs by whole multiples of q times a lattice vector between
equivalent starts: a branch. What a conductor carries through the boundary counts, so ∂P/∂t is the whole current.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.config.quantities import Charge
from engine.contracts import Capabilities, Potential
from engine.errors import InputError

RESPONSES = frozenset({"polarization", "born_charges", "polarizability"})


def sum_here(atoms, values):
    """Sum this rank's owned rows (n, ...) into (S, ...)."""
    out = np.zeros((atoms.n_systems, *values.shape[1:]))
    if atoms.n_systems == 1:
        out[0] = values.sum(0)
    else:
        np.add.at(out, atoms.system[: atoms.n], values)
    return out


def field_of(atoms, inputs):
    """(S, 3) V/Å, zero where there is none."""
    return np.zeros((atoms.n_systems, 3)) if inputs.field is None else inputs.field


@dataclass
class FixedCharges(Potential):
    """charges : {species: e}; without them those of [system] are used"""

    charges: dict[str, Charge] = field(default_factory=dict)

    #: a current across the boundary is in P, so a conductivity may be had from it
    itinerant = True

    def bind(self, species_names):
        self._by_species, self._charged = None, False
        if self.charges:
            missing = [s for s in species_names if s not in self.charges]
            if missing:
                raise InputError(f"fixed-charges: no charge is given for {', '.join(missing)}")
            self._by_species = np.array([self.charges[s] for s in species_names], float)

    def capabilities(self):
        return Capabilities(
            cutoff=0.0, lists="none", takes=frozenset({"field", "field_gradient", "charges"}),
            provides=frozenset({"energy", "forces", "virial", "quadrupole"}) | RESPONSES, heat_flux=False,
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        n, system = atoms.n, atoms.system[: atoms.n]
        q = atoms.charges[:n] if self._by_species is None else self._by_species[atoms.species[:n]]
        self._charged = self._charged or atoms.comm.any(bool(q.any()))
        if not self._charged:
            raise InputError("fixed-charges: all charges are zero; give charges = { species = e }, or charges with the structure")
        E = field_of(atoms, inputs)
        out.forces[:n] += q[:, None] * E[system]
        if inputs.field_gradient is not None:
            self._graded(atoms, q, inputs.field_gradient, needs, out)
        if needs & {"energy", "polarization"}:
            P = sum_here(atoms, q[:, None] * atoms.unwrapped())
            if "energy" in needs:
                out.energy -= (P * E).sum(1)
            if "polarization" in needs:
                out.polarization += P
        if "born_charges" in needs:
            out.born_charges[:n] += q[:, None, None] * np.eye(3)

    def _graded(self, atoms, q, gradient, needs, out):
        x = atoms.unwrapped()
        out.forces[: atoms.n] += q[:, None] * (x @ gradient)
        if needs & {"energy", "quadrupole"}:
            Q = sum_here(atoms, q[:, None, None] * x[:, :, None] * x[:, None, :])
            if "energy" in needs:
                out.energy -= 0.5 * (Q * gradient).sum((1, 2))
            if "quadrupole" in needs:
                out.quadrupole += Q
