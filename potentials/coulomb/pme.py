"""Coulomb's energy of point charges in periodic space by smooth particle-mesh Ewald, with conducting (tin-foil) boundary.

    E = C [Σ_{i<j} q_i q_j erfc(αr)/r + ½ Σ_k (4π/V) B e^{−k²/4α²}/k² |S|² − (α/√π) Σ q_i² − π Q²/(2Vα²)],   C = e²/4πε₀

The last term is the neutralising background of a net charge Q. The cost grows as n log n. ``potentials/mesh`` has the method.
"""

from dataclasses import dataclass

from engine import units
from potentials.coulomb import background, excluded
from potentials.coulomb.ewald import ROOT_PI
from potentials.coulomb.pairs import ScreenedPairs
from potentials.mesh.influence import COULOMB
from potentials.mesh.particle_mesh import ParticleMesh


@dataclass(kw_only=True)
class CoulombPME(ParticleMesh):
    """Charges come with the atoms; accuracy in eV/Å, cutoff and spacing in Å; see ``potentials/mesh/particle_mesh.py``."""

    kind = COULOMB
    label = "potential 'coulomb/pme'"
    strength = units.coulomb
    takes = frozenset({"charges"})
    atomwise = ParticleMesh.atomwise | {"charge_gradient"}

    def sources(self, atoms):
        return atoms.charges

    def _choose(self, atoms):
        background.tell(self.label, atoms.comm, atoms.sum_by_system(self.sources(atoms)[: atoms.n]))
        super()._choose(atoms)

    def pairs(self, alpha):
        return ScreenedPairs(alpha=alpha, cutoff=self.cutoff)

    def self_energy(self):
        return -self._alpha / ROOT_PI * units.coulomb

    def real(self, atoms, neighbors, halo, inputs, needs, out):
        self._pairs.compute(atoms, neighbors, halo, inputs, needs - {"charge_gradient"}, out)
        if "charge_gradient" in needs:
            self._pairs.charge_gradient(atoms, neighbors, out.charge_gradient)

    def excluded(self, atoms, neighbors, needs, out):
        excluded.correct(atoms, neighbors, needs, out, units.coulomb, self._alpha)
