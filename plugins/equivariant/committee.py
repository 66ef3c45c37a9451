"""Several models of the same physics as one potential: ``kind = "equivariant/committee"``.

Energy, forces and the rest are averages over members; where members disagree, none of them knows:

    variance = Σ_m (E_m − Ē)² / (M − 1)  in eV², one for each system,
    spread_i = √( Σ_m |F_m,i − F̄_i|² / (M − 1) )  in eV/Å, one for each atom, for those who choose what to label.

Train members on the same data from different seeds (``seed`` of the stage), or on different halves of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Output, Potential
from engine.errors import InputError
from engine.weighted import REACHES
from plugins.equivariant.potential import Equivariant


@dataclass
class Committee(Potential):
    """models : folders of at least two members; spread : also keep every atom's spread of forces at each evaluation"""

    models: list[InputFile]
    spread: bool = False
    _members: list = field(default_factory=list, init=False, repr=False)

    def __post_init__(self):
        if len(self.models) < 2:
            raise InputError("a committee needs at least two models")
        self._members = [Equivariant(model) for model in self.models]
        self.force_spread = None

    def bind(self, species_names):
        for member in self._members:
            member.bind(species_names)

    def state_dict(self):
        return {str(k): member.state_dict() for k, member in enumerate(self._members)}

    def load_state_dict(self, tree):
        for k, member in enumerate(self._members):
            member.load_state_dict(tree.get(str(k), {}))

    def capabilities(self):
        each = [m.capabilities() for m in self._members]
        widest = max((c.reach for c in each), key=REACHES.index)
        provides = frozenset.intersection(*(c.provides for c in each)) | {"variance"}
        return Capabilities(max(c.cutoff for c in each), "full", widest, max(c.layers for c in each), provides=provides,
                            heat_flux=all(c.heat_flux for c in each))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        count = len(self._members)
        wanted = (set(needs) - {"variance"}) | ({"energy"} if "variance" in needs else set()) | {"forces"}
        energies, forces = [], []
        for member in self._members:
            own = Output()
            own.reset(wanted, atoms.n_all, atoms.n_systems)
            member.compute(atoms, neighbors, halo, inputs, frozenset(wanted), own)
            for name, value in own.items():
                if name in out:
                    getattr(out, name)[...] += value / count
            if "variance" in needs:
                energies.append(own.energy)
            if self.spread:
                halo.reverse(own.forces)
                forces.append(own.forces[:atoms.n])
        if "variance" in needs:
            total = atoms.comm.sum(np.array(energies))  # of all ranks: the variance of a sum is no sum
            if atoms.comm.rank == 0:
                out.variance += total.var(0, ddof=1)
        if self.spread:
            self.force_spread = np.sqrt(np.var(forces, axis=0, ddof=1).sum(1))
