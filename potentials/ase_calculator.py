"""Any ASE calculator as a potential: a reference to compare with, or a code that knows forces and nothing of MD.

Systems are gathered on one rank, each with a calculator of its own, so that what a calculator keeps from call to call
(wave functions, lists) is kept for each. Stress becomes virial by W = −σV (ASE: tension positive).
"""

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from engine.build import COLUMNS, atoms_from_state
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, PhysicsError, one_line

OURS = {"energy": "energy", "forces": "forces", "stress": "virial", "energies": "atom_energy"}


@dataclass
class ASE(Potential):
    """calculator : ``"module:Class"`` such as ``"ase.calculators.emt:EMT"``, or in Python a function that makes one
    parameters : keyword arguments of the class
    """

    calculator: Any
    parameters: dict[str, Any] = field(default_factory=dict)
    label = "potential 'ase'"

    def __post_init__(self):
        self._calculators = []

    def bind(self, species_names):
        self._calculators = [self._make()]
        known = getattr(self._calculators[0], "implemented_properties", ())
        if "forces" not in known or "energy" not in known:
            raise InputError(f"{self.label}: {type(self._calculators[0]).__name__} does not give energies and forces")
        self._properties = {ours: theirs for theirs, ours in OURS.items() if theirs in known}

    def _make(self):
        maker = self.calculator
        if isinstance(maker, str):
            module, _, name = maker.partition(":")
            try:
                maker = getattr(import_module(module), name)
            except (ImportError, AttributeError, ValueError) as error:
                raise InputError(f"{self.label}: calculator = '{self.calculator}' must be 'module:Class': {error}") from None
        elif not callable(maker):
            raise InputError(f"{self.label}: calculator must be 'module:Class', or a function that makes one")
        try:
            return maker(**self.parameters)
        except Exception as error:
            reason = one_line(error)
            raise InputError(f"{self.label}: {self.calculator} cannot be made from {self.parameters}: {reason}") from error

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none", reach="global", provides=frozenset(self._properties), heat_flux=False)

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        rows = atoms.comm.gather_rows({name: np.ascontiguousarray(getattr(atoms, name)[: atoms.n]) for name in COLUMNS})
        results = self._on_one_rank(atoms, rows, needs) if atoms.comm.rank == 0 else None
        results = atoms.comm.bcast(results)
        if isinstance(results, Exception):
            raise results
        order = np.argsort(results["tags"])
        mine = order[np.searchsorted(results["tags"], atoms.tags[: atoms.n], sorter=order)]
        for name in needs & set(self._properties):
            if name in ("forces", "atom_energy"):
                getattr(out, name)[: atoms.n] += results[name][mine]
            elif atoms.comm.rank == 0:
                getattr(out, name)[...] += results[name]

    def _on_one_rank(self, atoms, rows, needs):
        """Everything asked for, of all systems: {quantity: array} in the order of `tags`, or what went wrong."""
        images = atoms_from_state(atoms, rows=rows)
        images = [images] if atoms.n_systems == 1 else images
        while len(self._calculators) < len(images):
            self._calculators.append(self._make())
        found = {name: [] for name in needs & set(self._properties)}
        try:
            for calculator, image in zip(self._calculators, images):
                image.calc = calculator
                for name, values in found.items():
                    values.append(self._one(image, name))
        except InputError as error:
            return error
        except Exception as error:
            reason = one_line(error)
            return PhysicsError(f"step {atoms.step}: {self.label} ({type(calculator).__name__}) failed: {reason}")
        results = {name: np.array(values) if name in ("energy", "virial") else np.concatenate(values)
                   for name, values in found.items()}
        order = np.lexsort((rows["tags"], rows["system"]))  # as the images hold their atoms
        return results | {"tags": rows["tags"][order]}

    def _one(self, image, name):
        if name == "virial":
            if not image.pbc.all():
                raise InputError(f"{self.label}: calculators give the stress, so a virial needs three periodic directions")
            return -image.get_stress(voigt=False) * image.get_volume()
        if name == "energy":
            return image.get_potential_energy()
        return image.get_forces(apply_constraint=False) if name == "forces" else image.get_potential_energies()
