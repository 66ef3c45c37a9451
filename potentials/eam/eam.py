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
from engine.kernels.pair import targets
from engine.kernels.team import team_for
from potentials.eam import kernels
from potentials.eam.kernels_driver import FastPasses
from potentials.eam.tables import Tables, hermite


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
        rho, slope = np.zeros(atoms.n_all), np.empty(atoms.n_all)
        _, energy, _, atom_energy, _ = into = targets(out, needs)
        wanted = want_energy, _, want_atom, _ = [name in needs for name in ("energy", "virial", "atom_energy", "atom_virial")]
        team = team_for(n)
        cuts, pairs = team.balanced(csr.offsets[:-1], csr.offsets[1:]), (csr.offsets, csr.indices, self._cutoff**2, self._per_r)
        team.add_up(kernels.densities, cuts, x, species, *pairs, self._f, into=rho)
        halo.reverse(rho)
        team.add_up(kernels.embed, team.cuts(n), rho, species, system, self._per_rho, self._F, slope, atom_energy, want_energy,
                    want_atom, into=energy)
        halo.forward(slope)
        team.add_up(kernels.forces, cuts, x, species, system, *pairs, self._f, self._rphi, slope, *wanted, into=into)
