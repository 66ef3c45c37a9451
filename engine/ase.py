"""An ASE calculator over any of our potentials.

>>> from ase.build import bulk
>>> from engine.ase import EngineCalculator
>>> from potentials.eam.zhou import ZhouEAM
>>> copper = bulk("Cu", cubic=True)
>>> copper.calc = EngineCalculator(ZhouEAM())
>>> energy = copper.get_potential_energy()  # eV

Lists and ghosts are kept from one call to the next, and made again only when atoms have moved too far, so that ASE's own
dynamics and relaxations go through the same fast path as the engine's.
"""

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from engine.build import state_from_atoms
from engine.config import plugins
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces
from engine.molecules import unique

SOURCES = {"energy": "energy", "free_energy": "energy", "forces": "forces", "stress": "virial", "energies": "atom_energy",
           "stresses": "atom_virial", "dipole": "polarization"}


class EngineCalculator(Calculator):
    """potentials : one potential of ours, or {name: potential};  weights : {name: weight}, all 1 by default;  skin : Å
    exclusions : (m, 2) numbers of atoms whose pairs no list holds (``engine.molecules``)

    Energies in eV, forces in eV/Å, stress −W/V in eV/Å³ (Voigt: xx, yy, zz, yz, xz, xy; tension positive), dipole in e·Å.
    """

    def __init__(self, potentials, weights=None, skin=1.0, exclusions=(), **keywords):
        super().__init__(**keywords)
        self.potentials = potentials if isinstance(potentials, dict) else {"potential": potentials}
        for potential in self.potentials.values():
            plugins.check(potential)
        self.weights, self.skin = weights or {name: 1.0 for name in self.potentials}, skin
        self.exclusions = unique(exclusions)
        self._forces = None

    @property
    def implemented_properties(self):
        """What the potentials provide, known for good once they have seen a species."""
        if self._forces is None:
            return list(SOURCES)
        return [name for name, source in SOURCES.items() if source in self._forces.provides]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = self._current(self.atoms, system_changes)
        wanted = {"energy", "forces", *properties}
        needs = frozenset(SOURCES[name] for name in wanted) | ({"virial"} & forces.provides)
        forces(needs)
        state = forces.state
        order = np.argsort(state.tags[: state.n])
        self.results = {"energy": float(forces.total("energy")[0]), "forces": forces.total("forces")[order]}
        self.results["free_energy"] = self.results["energy"]
        if "virial" in needs and state.periodic.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(-forces.total("virial")[0] / state.volume[0])
        elif "stress" in properties:
            raise PropertyNotImplementedError("the stress is undefined where a direction is open")
        if "energies" in properties:
            self.results["energies"] = forces.total("atom_energy")[order]
        if "stresses" in properties:
            virials = forces.total("atom_virial")[order]
            self.results["stresses"] = -np.array([full_3x3_to_voigt_6_stress(0.5 * (w + w.T)) for w in virials]) / state.volume[0]
        if "polarization" in needs:
            self.results["dipole"] = forces.total("polarization")[0]

    def _current(self, atoms, changes):
        """Forces for these atoms: what there is, moved, or all anew where atoms were exchanged."""
        if self._forces is None or set(changes) - {"positions", "cell"}:
            return self._anew(atoms)
        forces, state = self._forces, self._forces.state
        if state.open_vectors.any() and "cell" in changes:
            return self._anew(atoms)
        if not state.open_vectors.any():
            state.cells[0] = atoms.cell[:]
        tags = state.tags[: state.n]
        shift = np.einsum("ni,ij->nj", state.images[: state.n].astype(float), state.cells[0])
        state.set("positions", atoms.positions[tags] - shift)
        return forces

    def _anew(self, atoms):
        bare = atoms.copy()
        bare.set_constraint()  # ASE applies constraints itself
        state = state_from_atoms(bare)
        if self.exclusions.max(initial=-1) >= state.n:
            raise InputError(f"exclusions name atom {self.exclusions.max()}; atoms run from 0 to {state.n - 1}")
        state.exclusions = self.exclusions
        for potential in self.potentials.values():
            potential.bind(state.species_names)
        cutoff = max(potential.capabilities().cutoff for potential in self.potentials.values())
        domain = Domain(state, cutoff, self.skin)
        self._forces = Forces(state, domain, self.potentials, [self.weights])
        return self._forces
