"""Coulomb's energy of point charges in periodic space by exact Ewald summation, with conducting (tin-foil) boundary.

    E = C [Σ_{i<j} q_i q_j erfc(αr)/r + (4π/V) Σ_k∈half g |S|² − (α/√π) Σ q_i² − π Q²/(2Vα²)],   C = e²/4πε₀

Allen and Tildesley, Computer Simulation of Liquids (2nd ed.), section 6.2. The last term is the neutralising
background of a net charge Q. The splitting α changes nothing but the work in either sum. The cost grows as n^{3/2} at
best: meant for some thousands of charges, and as the reference of faster sums.
"""

from dataclasses import dataclass

import numpy as np

from engine import units
from engine.config.quantities import Length, quantity
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from potentials.coulomb import background, excluded, reciprocal
from potentials.coulomb.pairs import ScreenedPairs

InverseLength = quantity("1/angstrom", "inverse length")
ROOT_PI = np.sqrt(np.pi)


@dataclass
class Ewald(Potential):
    """Charges come with the atoms.

    accuracy : what is left out of either sum, relative to what its first terms give
    cutoff : Å, of the real-space sum
    alpha : 1/Å, splitting; by default √(−ln accuracy) / cutoff
    reciprocal_cutoff : 1/Å, largest |k|; by default 2α √(−ln accuracy)
    """

    accuracy: float = 1e-7
    cutoff: Length = 9.0
    alpha: InverseLength | None = None
    reciprocal_cutoff: InverseLength | None = None
    label = "potential 'ewald'"
    precision = "double"  # or "mixed": of the sum over pairs

    def bind(self, species_names):
        if not 0 < self.accuracy < 1:
            raise InputError(f"{self.label}: accuracy = {self.accuracy} must be between 0 and 1")
        if not self.cutoff > 0:
            raise InputError(f"{self.label}: cutoff = {self.cutoff} must be positive")
        reach = np.sqrt(-np.log(self.accuracy))
        self._alpha = float(self.alpha) if self.alpha is not None else reach / self.cutoff
        self._limit = float(self.reciprocal_cutoff) if self.reciprocal_cutoff is not None else 2.0 * self._alpha * reach
        if not (self._alpha > 0 and self._limit > 0):
            raise InputError(f"{self.label}: alpha and reciprocal_cutoff must be positive")
        self._real = ScreenedPairs(alpha=self._alpha, cutoff=self.cutoff)
        self._real.precision = self.precision
        self._real.bind(species_names)
        self._told = False

    def capabilities(self):
        return Capabilities(
            cutoff=float(self.cutoff), lists="half", reach="global", takes=frozenset({"charges"}), heat_flux=False,
            provides=frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial", "charge_gradient"}),
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if not atoms.periodic.all():
            raise InputError(f"{self.label}: Ewald sums need three periodic directions; use 'dsf' where one is open")
        if not self._told:
            self._told = True
            background.tell(self.label, atoms.comm, atoms.sum_by_system(atoms.charges[: atoms.n]))
        self._real.compute(atoms, neighbors, halo, inputs, needs - {"charge_gradient"}, out)
        if "charge_gradient" in needs:
            self._real.charge_gradient(atoms, neighbors, out.charge_gradient)
        excluded.correct(atoms, neighbors, needs, out, units.coulomb, self._alpha)
        x, charges, system = atoms.fractional(), atoms.charges[: atoms.n], atoms.system[: atoms.n]
        for s in range(atoms.n_systems):
            rows = slice(0, atoms.n) if atoms.n_systems == 1 else np.flatnonzero(system == s)
            self._system(s, rows, x[rows], charges[rows], atoms.cells[s], atoms.comm, needs, out)

    def _system(self, s, rows, fractional, q, cell, comm, needs, out):
        """The reciprocal sum, self energy and background of one system, of which `rows` are here."""
        C, alpha, volume = units.coulomb, self._alpha, abs(np.linalg.det(cell))
        integers, k = reciprocal.half_space(cell, self._limit)
        k2 = (k * k).sum(1)
        weights = 4.0 * np.pi * C / volume * np.exp(-k2 / (4.0 * alpha * alpha)) / k2
        cosines, sines = reciprocal.phases(np.ascontiguousarray(fractional), int(np.abs(integers).max(initial=0)))
        factors = np.zeros((len(k), 2))
        reciprocal.structure_factors(integers, cosines, sines, np.ascontiguousarray(q), factors)
        factors = comm.sum(factors)
        total = comm.sum(np.array([q.sum()]))[0]
        potential, field = np.zeros(len(q)), np.zeros((len(q), 3))
        reciprocal.back(integers, k, cosines, sines, weights, factors, potential, field)
        uniform = -np.pi * C / (2.0 * volume * alpha * alpha) * total  # energy of the background, for each charge
        out.forces[rows] += q[:, None] * field
        if "energy" in needs:  # each rank its own charges' share
            out.energy[s] += q @ (0.5 * potential - alpha / ROOT_PI * C * q + uniform)
        if "atom_energy" in needs:
            out.atom_energy[rows] += q * (0.5 * potential - alpha / ROOT_PI * C * q + uniform)
        if "charge_gradient" in needs:
            out.charge_gradient[rows] += potential - 2.0 * alpha / ROOT_PI * C * q + 2.0 * uniform
        if not needs & {"virial", "atom_virial"}:
            return
        shapes = np.eye(3) - 2.0 * (1.0 / k2 + 0.25 / alpha**2)[:, None, None] * k[:, :, None] * k[:, None, :]
        if "virial" in needs and comm.rank == 0:
            out.virial[s] += np.einsum("k,kab->ab", weights * (factors**2).sum(1), shapes)
            out.virial[s] += uniform * total * np.eye(3)
        if "atom_virial" in needs:
            part = np.zeros((len(q), 3, 3))
            reciprocal.atom_virials(integers, cosines, sines, weights, factors, shapes, np.ascontiguousarray(q), part)
            out.atom_virial[rows] += part + uniform * q[:, None, None] * np.eye(3)
