"""The embedded-atom method (Daw and Baskes, PRB 29, 6443 (1984)) from tables.

    E = Σ_i F(ρ_i) + Σ_{i<j} φ(r_ij),   ρ_i = Σ_j f(r_ij)

| equation | name here |
|---|---|
| F | ``Tables.embedding`` |
| f | ``Tables.density`` |
| r φ | ``Tables.rphi`` |
| ρ_i | ``rho`` |
| dF/dρ_i | ``slope`` |
"""

import numpy as np

from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest
from potentials.eam import kernels
from potentials.eam.kernels_driver import FastPasses
from potentials.eam.tables import Tables, hermite

NONE1, NONE3 = np.zeros(1), np.zeros((1, 3, 3))


class EmbeddedAtom(Potential):
    """Base of all embedded-atom potentials: subclasses say where the tables come from.

    precision : "double", or "mixed" for pairs in single and sums in double precision
    """

    precision = "double"

    def tables(self, species_names) -> Tables:
        raise TypeError(f"{type(self).__name__} gives no tables")

    def bind(self, species_names):
        tables = self.tables(species_names)
        for name in species_names:
            if name not in tables.species:
                known = ", ".join(tables.species)
                raise InputError(f"{self.label}: no parameters for '{name}'{nearest(name, tables.species)}; it has {known}")
        tables = tables.select(species_names)
        self._cutoff = tables.cutoff
        self._per_r, self._per_rho = 1.0 / tables.d_r, 1.0 / tables.d_rho
        self._F, self._f, self._rphi = (hermite(t) for t in (tables.embedding, tables.density, tables.rphi))
        self._fast = FastPasses(
            self._cutoff, self._per_r, self._per_rho, self._f, self._rphi, self._F, self.precision)

    @property
    def label(self):
        return "potential 'eam'"

    def capabilities(self):
        return Capabilities(
            cutoff=self._cutoff, lists="half", reach="exchanging",
            provides=frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"}),
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if not needs & {"atom_energy", "atom_virial"}:
            self._fast.compute(atoms, neighbors, halo, needs, out)
            return
        csr = neighbors.half(self._cutoff)
        x, species, system, n = atoms.positions, atoms.species, atoms.system, atoms.n
        cutoff2 = self._cutoff**2
        rho, slope = np.zeros(atoms.n_all), np.empty(atoms.n_all)
        energy, want_energy = (out.energy, True) if "energy" in needs else (NONE1, False)
        virial, want_virial = (out.virial, True) if "virial" in needs else (NONE3, False)
        atom_energy, want_atom = (out.atom_energy, True) if "atom_energy" in needs else (NONE1, False)
        atom_virial, want_atom_virial = (out.atom_virial, True) if "atom_virial" in needs else (NONE3, False)
        kernels.densities(x, species, n, csr.offsets, csr.indices, cutoff2, self._per_r, self._f, rho)
        halo.reverse(rho)
        kernels.embed(0, n, rho, species, system, self._per_rho, self._F, slope, atom_energy, want_energy, want_atom, energy)
        halo.forward(slope)
        kernels.forces(
            x, species, system, n, csr.offsets, csr.indices, cutoff2, self._per_r, self._f, self._rphi, slope,
            out.forces, energy, virial, atom_energy, atom_virial, want_energy, want_virial, want_atom, want_atom_virial,
        )
