"""Polarizable bonds: an analytic enthalpy F(R, E, cell) with all of a learned one's derivatives, and their oracle.

Every pair closer than the cutoff r_c carries a dipole along the bond, a polarizability and a fourth-order response,

    F = Σ_pairs f(r) [ −q r u − ½ α⊥ E² − ½ (α∥ − α⊥) u² − γ u⁴/24 ],      u = r̂·E,   f = e^{(r₀ − r)/λ} (1 − r²/r_c²)³

the bond-polarizability model (Wolkenstein; M. Cardona, Light Scattering in Solids II, 1982, ch. 2) with charge transfer.
P = −∂F/∂E is local, hence single-valued, and a conductor's current is not in it.

| equation | name here |
|---|---|
| q, e; r̂ points from the first species of ``pair`` to the second, so equal species have none | ``charge`` |
| α∥, α⊥, e·Å²/V | ``parallel``, ``perpendicular`` |
| γ, e·Å⁴/V³ | ``fourth`` |
| r₀, λ, Å | ``length``, ``decay`` |
| ∂g/∂u, ∂g/∂(E²), ∂g/∂r of one bond g | ``g_u``, ``g_e``, ``g_r`` |

Forces −∂g/∂r⃗ = −g_r r̂ − g_u (E − u r̂)/r; P = −g_u r̂ − 2 g_e E; α = −g_uu r̂⊗r̂ − 2 g_e 1; virial at fixed reduced field
−r⃗⊗∂g/∂r⃗ − P⊗E, symmetric because g is the same in every orientation of bond and field together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.config.quantities import Charge, Length
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from potentials.dielectric import RESPONSES, field_of

NONE1, NONE2, NONE3 = np.zeros(1), np.zeros((1, 3)), np.zeros((1, 3, 3))


@njit(cache=True, error_model="numpy")
def _compute(x, species, system, n, offsets, indices, cutoff, table, field, forces, energy, virial, atom_energy, P, alpha, Z,
             want_energy, want_virial, want_atoms, want_P, want_alpha, want_Z):
    g, c = np.empty(3), np.empty(3)
    for i in range(n):
        E = field[system[i]]
        s = system[i]
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            t = table[species[i], species[j]]
            if t[6] == 0.0:
                continue
            dx, dy, dz = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1], x[j, 2] - x[i, 2]
            r2 = dx * dx + dy * dy + dz * dz
            if r2 >= cutoff * cutoff:
                continue
            r = math.sqrt(r2)
            d = (dx, dy, dz)
            c[0], c[1], c[2] = dx / r, dy / r, dz / r
            y = 1.0 - r2 / (cutoff * cutoff)
            decay = math.exp((t[4] - r) / t[5])
            f = decay * y * y * y
            f_r = -f / t[5] - decay * 6.0 * y * y * r / (cutoff * cutoff)
            u = c[0] * E[0] + c[1] * E[1] + c[2] * E[2]
            e2 = E[0] * E[0] + E[1] * E[1] + E[2] * E[2]
            q, across, along, fourth = t[0], t[2], t[1] - t[2], t[3]
            h = -q * r * u - 0.5 * across * e2 - 0.5 * along * u * u - fourth * u**4 / 24.0
            h_u = -q * r - along * u - fourth * u**3 / 6.0
            g_u, g_e = f * h_u, -0.5 * f * across
            g_r = f_r * h - f * q * u
            g_uu = f * (-along - 0.5 * fourth * u * u)
            for a in range(3):
                g[a] = g_r * c[a] + g_u * (E[a] - u * c[a]) / r
                forces[i, a] += g[a]
                forces[j, a] -= g[a]
            if want_energy:
                energy[s] += f * h
            if want_atoms:
                atom_energy[i] += 0.5 * f * h
                atom_energy[j] += 0.5 * f * h
            if want_P:
                for a in range(3):
                    P[s, a] -= g_u * c[a] + 2.0 * g_e * E[a]
            if want_virial:
                for a in range(3):
                    for b in range(3):
                        virial[s, a, b] += (g_u * c[a] + 2.0 * g_e * E[a]) * E[b] - d[a] * g[b]
            if want_alpha:
                for a in range(3):
                    alpha[s, a, a] -= 2.0 * g_e
                    for b in range(3):
                        alpha[s, a, b] -= g_uu * c[a] * c[b]
            if want_Z:
                g_ur = f_r * h_u - f * q
                g_er = -0.5 * f_r * across
                for a in range(3):
                    for b in range(3):
                        same = 1.0 if a == b else 0.0
                        z = -(
                            (g_ur * c[b] + g_uu * (E[b] - u * c[b]) / r) * c[a]
                            + g_u * (same - c[a] * c[b]) / r
                            + 2.0 * g_er * c[b] * E[a]
                        )
                        Z[j, a, b] += z
                        Z[i, a, b] -= z


@dataclass
class Bond:
    """One kind of bond: pair "A-B" of species, and its response at the length r₀ (before the cutoff's factor)."""

    pair: str
    charge: Charge = 0.0
    parallel: float = 0.0
    perpendicular: float = 0.0
    fourth: float = 0.0
    length: Length = 2.0
    decay: Length = 0.5


@dataclass
class PolarizableBonds(Potential):
    """bonds : a list of tables, see ``Bond``;  cutoff : Å"""

    bonds: list[Bond]
    cutoff: Length = 4.0

    itinerant = False

    def bind(self, species_names):
        self._table = np.zeros((len(species_names), len(species_names), 7))
        for bond in self.bonds:
            names = bond.pair.split("-")
            if len(names) != 2 or not bond.decay > 0:
                raise InputError(f"bonds: '{bond.pair}' must be two species as in 'Si-O', with a positive decay length")
            if any(name not in species_names for name in names):
                continue  # a table may serve systems without some of its species
            if names[0] == names[1] and bond.charge != 0:
                raise InputError(f"bonds: {bond.pair} joins equal atoms, so that its charge must be zero")
            a, b = map(species_names.index, names)
            for first, second, sign in ((a, b, 1.0), (b, a, -1.0)):
                self._table[first, second] = (sign * bond.charge, bond.parallel, bond.perpendicular, bond.fourth,
                                              bond.length, bond.decay, 1.0)
        if not self._table.any():
            raise InputError(f"bonds: none of {', '.join(bond.pair for bond in self.bonds) or 'no pairs'} is among the species "
                             f"{', '.join(species_names)}")

    def capabilities(self):
        return Capabilities(
            cutoff=float(self.cutoff), lists="half", takes=frozenset({"field"}),
            provides=frozenset({"energy", "forces", "virial", "atom_energy"}) | RESPONSES, heat_flux=False,
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        csr = neighbors.half(float(self.cutoff))
        wanted = [name in needs for name in ("energy", "virial", "atom_energy", "polarization", "polarizability", "born_charges")]
        _compute(
            atoms.positions, atoms.species, atoms.system, atoms.n, csr.offsets, csr.indices, float(self.cutoff), self._table,
            np.ascontiguousarray(field_of(atoms, inputs)), out.forces,
            out.energy if wanted[0] else NONE1, out.virial if wanted[1] else NONE3, out.atom_energy if wanted[2] else NONE1,
            out.polarization if wanted[3] else NONE2, out.polarizability if wanted[4] else NONE3,
            out.born_charges if wanted[5] else NONE3, *wanted,
        )
