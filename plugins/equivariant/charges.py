"""Latent charges: a long-range term whose charges the network reads off each atom's surroundings.

    E = ½ C Σ'_{i≠j} q_i q_j erf(r_ij/√2σ)/r_ij,   q_i = q̂_i − Σ_j q̂_j/N  where they are neutral,   C = e²/4πε₀

over all pairs and periodic images: charges that are Gaussian clouds, so smooth where atoms are near, where the network knows
better, and Coulomb's 1/r where they are far. It is the latent Ewald summation of B. Cheng, npj Comput. Mater. 11, 80 (2025),
eqs. 4–6, in units of charge as D. S. King et al., Nat. Commun. 16, 8763 (2025), and without the clouds' own energy. What
Ewald's method divides Coulomb's energy into is just this sum, α = 1/√2σ, and a short-ranged rest: so here it is the engine's
particle mesh, alone.

The charges' gradient goes back through the network: with φ_i = ∂E/∂q_i (less its mean where charges are neutral),

    −F = ∂E/∂r at fixed q + Σ_i φ_i ∂q̂_i/∂r.

| symbol | name |
|---|---|
| σ | ``Description.smearing``, Å |
| q̂_i | second column of the models' readout, e |
| φ_i | what ``respond`` returns, eV/e |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from engine.contracts import Output
from engine.errors import InputError
from potentials.coulomb.pme import CoulombPME

FINE, ORDER = 0.4, 8  # mesh and splines: 1e-6 of the forces, whatever the charges are
OPEN = "latent charges are summed over a periodic lattice, and {} is open in at least one direction; give it a cell with " \
       "vacuum there"


@dataclass(kw_only=True)
class Clouds(CoulombPME):
    """The mesh alone, for charges (n,) of owned atoms that are given before each evaluation."""

    part: str = "mesh"
    charges: np.ndarray = field(default=None, repr=False)
    label = "latent charges"
    takes = frozenset()

    def sources(self, atoms):
        return self.charges

    def excluded(self, atoms, neighbors, needs, out):
        """Exclusions are no matter of a learned model."""


class LatentCharges:
    """The long-range term of a model; spacing : Å of the mesh, or None for FINE of the smearing.

    charges : (n,) e of owned atoms, at the last evaluation
    """

    def __init__(self, d, spacing=None):
        if spacing is not None and not 0 < spacing <= d.smearing:
            raise InputError(f"potential 'equivariant': spacing = {spacing} Å must be positive and no larger than the latent "
                             f"charges' smearing, {d.smearing} Å")
        self.neutral, self.charges = d.neutral, None
        self.clouds = Clouds(alpha=1.0 / (math.sqrt(2.0) * d.smearing), spacing=spacing or FINE * d.smearing, order=ORDER)
        self._out = Output()

    def respond(self, atoms, neighbors, halo, inputs, found, needs, out):
        """Add the term of the network's charges `found` (n,); returns what it tells the network, ∂E/∂q̂ (n,) eV/e."""
        if not atoms.periodic.all():
            raise InputError(OPEN.format("this structure"))
        n, system = atoms.n, atoms.system[:atoms.n]
        if self.neutral:
            count = np.maximum(atoms.sum_by_system(np.ones(n)), 1.0)
            found = found - (atoms.sum_by_system(found) / count)[system]
        self.charges = self.clouds.charges = found
        wanted = (needs & CoulombPME.atomwise) | {"forces", "charge_gradient"}
        self._out.reset(wanted, atoms.n_all, atoms.n_systems)
        self.clouds.compute(atoms, neighbors, halo, inputs, wanted, self._out)
        for name, value in self._out.items():
            if name in out and name != "charge_gradient":
                getattr(out, name)[...] += value
        gradient = self._out.charge_gradient[:n]
        if self.neutral:
            gradient = gradient - (atoms.sum_by_system(gradient) / count)[system]
        return np.ascontiguousarray(gradient)
