"""The few protocols that everything hangs on: what a potential, an integrator, a field, an updater and a hook are.

Plugins are dataclasses whose fields are their keys in the input file. They are found through entry points
(``engine.registry``) and satisfy these classes; the contract tests in ``engine.testing`` hold them to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from engine.kernels.team import clear

ListKind = Literal["half", "full", "none"]
Reach = Literal["local", "exchanging", "message passing", "global"]


@dataclass(frozen=True)
class Capabilities:
    """What a potential needs and gives; frozen, and the same on all ranks.

    cutoff : Å, the largest distance between atoms that enter one term (0 for none)
    lists : kind of neighbor list that it reads; where everybody reads half lists, ghosts whose pairs are counted at the other
        end are left out
    reach : ``local`` (one shell of ghosts, nothing exchanged), ``exchanging`` (halo calls between passes),
        ``message passing`` (with `layers`), ``global`` (sees the whole system)
    takes : of {"charges", "field", "field_gradient", "time"};  provides : of {"energy", "forces", "virial", "atom_energy",
        "atom_virial", "charge_gradient", "polarization", "quadrupole", "born_charges", "polarizability", "variance",
        "atom_variance", "force_variance"}
    heat_flux : may the per-atom virials enter a heat flux?
    """

    cutoff: float
    lists: ListKind = "half"
    reach: Reach = "local"
    layers: int = 1
    takes: frozenset = frozenset()
    provides: frozenset = frozenset({"energy", "forces", "virial"})
    heat_flux: bool = True


SHAPES = {
    "energy": ("S",), "virial": ("S", 3, 3), "polarization": ("S", 3), "polarizability": ("S", 3, 3), "variance": ("S",),
    "forces": ("n", 3), "atom_energy": ("n",), "atom_virial": ("n", 3, 3), "charge_gradient": ("n",),
    "born_charges": ("n", 3, 3), "quadrupole": ("S", 3, 3), "atom_variance": ("n",), "force_variance": ("n",),
}
PER_ATOM = tuple(name for name, shape in SHAPES.items() if shape[0] == "n")
SQUARES = frozenset({"variance", "atom_variance", "force_variance"})  # a potential's weight enters squared
DERIVED = PER_ATOM + tuple(name for name in SHAPES if name not in PER_ATOM)


class Output:
    """Where potentials add their results; a quantity exists only when it was asked for.

    energy (S,) eV; forces (n_all, 3) eV/Å; virial (S, 3, 3) eV, W_ab = −∂E/∂ε_ab; atom_energy (n_all,);
    atom_virial (n_all, 3, 3); charge_gradient (n_all,) eV/e; polarization (S, 3) e·Å; born_charges (n_all, 3, 3) e,
    [atom, field axis, displacement axis]; polarizability (S, 3, 3) e·Å²/V; quadrupole (S, 3, 3) e·Å², Σ q r⊗r. Of models
    that know their uncertainty: variance (S,) of energies and atom_variance (n_all,) of atoms' energies, eV²;
    force_variance (n_all,) of force vectors, (eV/Å)².
    """

    def __init__(self):
        self._arrays: dict[str, np.ndarray] = {}

    def reset(self, needs, n_all, n_systems):
        sizes = {"n": n_all, "S": n_systems}
        kept = self._arrays
        self._arrays = {}
        for name in sorted(needs):  # the order of a set differs between ranks
            shape = tuple(sizes.get(s, s) for s in SHAPES[name])
            array = kept.get(name)
            if array is not None and array.shape == shape:
                clear(array)
            else:
                array = np.zeros(shape)
            self._arrays[name] = array

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._arrays[name]
        except KeyError:
            raise AttributeError(f"'{name}' was not asked for in this evaluation") from None

    def __setattr__(self, name, value):
        if name in SHAPES:  # out.energy += ...: into the array, not beside it
            getattr(self, name)[...] = value
        else:
            super().__setattr__(name, value)

    def __contains__(self, name):
        return name in self._arrays

    def items(self):
        return self._arrays.items()


@dataclass
class Inputs:
    """What a potential may be handed beside the atoms: the field (S, 3) in V/Å inside the material (at the origin, where it
    has a gradient ∂E_a/∂x_b (3, 3) in V/Å²), time in fs."""

    field: np.ndarray | None = None
    field_gradient: np.ndarray | None = None
    time: float = 0.0


class Stateful:
    """Run-time state that a checkpoint keeps; most parts have none."""

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, tree: dict):
        pass


class Potential(Stateful):
    """Energy and its derivatives of a configuration; a dataclass whose fields are its input keys.

    precision : of the run, set before `bind`; with "mixed" a potential may use single precision inside, never in sums
    alone : why it runs on one rank only, in words; None for those that run on any number
    """

    precision = "double"
    alone: ClassVar[str | None] = None

    def bind(self, species_names):
        """Look up parameters for these species once, before the first evaluation; refuse unknown ones by name."""

    def capabilities(self) -> Capabilities:
        raise TypeError(f"{type(self).__name__} does not say its capabilities")

    def compute(self, atoms, neighbors, halo, inputs: Inputs, needs: frozenset, out: Output):
        """Add energy, forces, ... of `atoms` (an ``engine.state.State`` with ghosts) into `out`.

        Forces (and per-atom sums) may be added to ghosts: the engine adds them to the owners afterwards. Energies
        and virials of a pair are added once over all ranks.
        """
        raise TypeError(f"{type(self).__name__} computes nothing")


class Field:
    """A macroscopic electric field inside the material as a function of time.

    steady : does it never change?  fixes : "E", or "D" where `value` is D/ε0;  stages : numbers of the stages in which
    it acts, from 0; None for all. Time is counted from the beginning of the first of them.
    """

    steady = False
    fixes = "E"
    stages = None

    def value(self, time) -> np.ndarray:
        """(3,) V/Å at `time` in fs; at the origin, where there is a gradient."""
        raise TypeError(f"{type(self).__name__} has no value")

    def gradient(self, time) -> np.ndarray | None:
        """(3, 3) ∂E_a/∂x_b in V/Å² at `time` in fs, symmetric; None where the field is uniform."""
        return None


class Hook(Stateful):
    """Reads the simulation every so many steps; `needs` are quantities that must be fresh when it acts."""

    every: int = 1
    needs: frozenset = frozenset()
    reach: float | None = 0.0  # Å, cutoff of the lists that it reads; None: those of the potentials

    def start(self, simulation):
        """Before the first step of a run (also of a resumed one)."""

    def act(self, simulation):
        """At a step divisible by `every`."""

    def finish(self, simulation):
        """After the last step, also after a stop."""


class Updater(Stateful):
    """Changes the state between steps; returns the energy (S,) that it added, which goes into the account."""

    every: int = 1
    touches: frozenset = frozenset({"velocities"})

    def act(self, simulation) -> np.ndarray | float:
        return 0.0


@dataclass
class Account:
    """Energies that integrators, updaters and fields have exchanged with the systems, (S,) eV each, by name."""

    entries: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name, value, n_systems):
        self.entries[name] = self.entries.get(name, np.zeros(n_systems)) + value

    def total(self):
        return sum(self.entries.values()) if self.entries else 0.0
