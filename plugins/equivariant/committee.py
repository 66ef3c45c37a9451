"""Several models of the same physics as one potential: ``kind = "equivariant/committee"``.

Energy, forces and the rest are averages over members; where members disagree, none of them knows:

    variance = Σ_m (E_m − Ē)² / (M − 1)  in eV², one for each system; the same of every atom's energy,
    force_variance_i = Σ_m |F_m,i − F̄_i|² / (M − 1)  in (eV/Å)², one for each atom, for those who choose what to label.

Train members on the same data from different seeds (``seed`` of the stage), or on different halves of it. A run watches
them through ``uncertainty.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.config.quantities import InputFile
from engine.contracts import PER_ATOM, Capabilities, Output, Potential
from engine.errors import InputError
from engine.weighted import REACHES
from plugins.equivariant.potential import Equivariant

OF = {"variance": "energy", "atom_variance": "atom_energy", "force_variance": "forces"}  # what varies


@dataclass
class Committee(Potential):
    """models : folders of at least two members"""

    models: list[InputFile]
    _members: list = field(default_factory=list, init=False, repr=False)

    def __post_init__(self):
        if len(self.models) < 2:
            raise InputError("a committee needs at least two models")
        self._members = [Equivariant(model) for model in self.models]

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
        provides = frozenset.intersection(*(c.provides for c in each)) | set(OF)
        return Capabilities(max(c.cutoff for c in each), "full", widest, max(c.layers for c in each), provides=provides,
                            heat_flux=all(c.heat_flux for c in each))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        count, spread = len(self._members), sorted(set(OF) & needs)  # in the same order on all ranks
        wanted = (needs - set(OF)) | {OF[name] for name in spread} | {"forces"}
        each = {name: [] for name in spread}
        for member in self._members:
            own = Output()
            own.reset(wanted, atoms.n_all, atoms.n_systems)
            member.compute(atoms, neighbors, halo, inputs, frozenset(wanted), own)
            for name, value in own.items():
                if name in out:
                    getattr(out, name)[...] += value / count
            for name in spread:
                value = getattr(own, OF[name]).copy()
                if name in PER_ATOM:
                    halo.reverse(value)  # what members say of ghosts belongs to their owners
                    value = value[:atoms.n]
                each[name].append(value)
        if "variance" in spread:
            total = atoms.comm.sum(np.array(each["variance"]))  # of all ranks: the variance of a sum is no sum
            if atoms.comm.rank == 0:
                out.variance += total.var(0, ddof=1)
        if "atom_variance" in spread:
            out.atom_variance[:atoms.n] += np.var(each["atom_variance"], axis=0, ddof=1)
        if "force_variance" in spread:
            out.force_variance[:atoms.n] += np.var(each["force_variance"], axis=0, ddof=1).sum(1)
