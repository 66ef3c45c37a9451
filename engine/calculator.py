"""Any of our potentials as an ASE calculator, for everything that ASE and its friends do with one.

>>> from engine.calculator import EngineCalculator
>>> atoms.calc = EngineCalculator(ZhouEAM())
>>> atoms.get_potential_energy()

Lists are kept between calls and rebuilt when atoms have moved too far, as in a run.
"""

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.errors import EngineError
from engine.forces import Forces

NEEDED = {"energy": "energy", "free_energy": "energy", "forces": "forces", "stress": "virial", "energies": "atom_energy"}


class EngineCalculator(Calculator):
    """potentials : one, or {name: potential};  weights : {name: weight}, all 1 by default;  skin : Å

    Properties: energy, forces, stress; energies where potentials provide per-atom ones. Stress is refused by name for
    structures with an open direction.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress", "energies"]
    discard_results_on_any_change = True

    def __init__(self, potentials, weights=None, skin=1.0, **keywords):
        super().__init__(**keywords)
        self.potentials = potentials if isinstance(potentials, dict) else {"potential": potentials}
        self.weights, self.skin = weights or {name: 1.0 for name in self.potentials}, skin
        self._kept = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        forces = self._forces(atoms)
        needs = frozenset({"energy"} | {NEEDED[name] for name in properties})
        missing = needs - forces.provides
        if missing:
            raise PropertyNotImplementedError(f"these potentials do not provide {', '.join(sorted(missing))}")
        if "virial" in needs and not atoms.pbc.all():
            raise PropertyNotImplementedError("stress is undefined where a direction is open")
        out = forces(needs)
        state = forces.state
        order = np.argsort(state.tags[: state.n])
        energy = float(out.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": out.forces[: state.n][order]}
        if "virial" in needs:
            self.results["stress"] = full_3x3_to_voigt_6_stress(-out.virial[0] / state.volume[0])
        if "atom_energy" in needs:
            self.results["energies"] = out.atom_energy[: state.n][order]

    def _forces(self, atoms):
        """The evaluation for these atoms: the one kept from the last call if only places and cell have changed."""
        kept = self._kept
        if kept is None or not _same_matter(kept[0], atoms):
            try:
                state = state_from_atoms(atoms)
            except EngineError as error:
                raise ValueError(str(error)) from None
            for potential in self.potentials.values():
                potential.bind(state.species_names)
            cutoff = max(p.capabilities().cutoff for p in self.potentials.values())
            kept = atoms.copy(), Forces(state, Domain(state, cutoff, self.skin), self.potentials, [self.weights])
            self._kept = kept
            return kept[1]
        state = kept[1].state
        tags = state.tags[: state.n]
        if not state.open_vectors.any():
            state.cells[0] = atoms.cell[:]
        state.positions[: state.n] = atoms.positions[tags] - state.images @ state.cells[0]
        return kept[1]


def _same_matter(before, now):
    return (len(before) == len(now) and np.array_equal(before.numbers, now.numbers) and np.array_equal(before.pbc, now.pbc)
            and np.array_equal(before.get_initial_charges(), now.get_initial_charges())
            and (now.pbc.all() or np.array_equal(before.cell[:], now.cell[:])))
