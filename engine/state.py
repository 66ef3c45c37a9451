"""The state of S ≥ 1 systems: a structure of arrays with one table of per-atom attributes.

Atoms of all systems lie in one set of arrays. Owned atoms come first (rows ``0 … n-1``), ghosts (periodic images and
other ranks' atoms) after them (rows ``n … n_all-1``); an attribute declared with ``ghosts=True`` has rows for both.
The table drives sorting, migration, ghosts, checkpoint and replication, so that a plugin that declares a per-atom
attribute gets all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine import cell as cells_
from engine import units
from engine.errors import InputError
from engine.parallel import Serial


@dataclass(frozen=True)
class Attribute:
    """One per-atom quantity: `shape` of one atom's value; `ghosts`: are there rows for ghosts, filled at a rebuild?"""

    name: str
    dtype: type
    shape: tuple[int, ...] = ()
    ghosts: bool = False
    default: float = 0.0


STANDARD = (
    Attribute("positions", np.float64, (3,), ghosts=True),
    Attribute("velocities", np.float64, (3,)),
    Attribute("masses", np.float64, default=1.0),
    Attribute("charges", np.float64, ghosts=True),
    Attribute("species", np.int32, ghosts=True),
    Attribute("tags", np.int64, ghosts=True),
    Attribute("system", np.int32, ghosts=True),
    Attribute("images", np.int32, (3,)),
    Attribute("groups", np.uint32),
    Attribute("free", np.int8, (3,), default=1),  # 0 where a component is fixed
)


class State:
    """Positions, velocities and everything else that belongs to atoms or cells; what a checkpoint stores.

    Attributes
    ----------
    cells : (S, 3, 3) Å, rows are lattice vectors;  periodic : (3,) bool;  origin : (S, 3) Å (open directions)
    species_names : element or type names; ``species`` holds indices into it
    n, n_ghost, n_all : owned atoms, ghosts, both
    step : int, the run's one counter;  time : float, internal units since step 0
    group_names : names of the bits of ``groups``, ``"all"`` being bit 0
    exclusions : (m, 2) tags of pairs that are in no list (bonded neighbors)
    comm : ranks that the atoms are spread over; every sum over atoms below is over all of them
    positions, velocities, ... : views into the attribute table, (n_all, ...) where it has ghosts, else (n, ...)
    """

    def __init__(self, n, cells, periodic, species_names, attributes=STANDARD):
        self.comm = Serial()
        self.cells = np.array(cells, float).reshape(-1, 3, 3)
        self.periodic = np.array(periodic, bool)
        self.origin = np.zeros((len(self.cells), 3))
        self.open_vectors = np.zeros(3, bool)  # directions whose vector only spans the atoms
        self.species_names = list(species_names)
        self.group_names = ["all"]
        self.step = 0
        self.time = 0.0
        self.constrained = False  # is any component fixed?
        self.exclusions = np.zeros((0, 2), np.int64)  # pairs of tags that no list holds
        self.n = int(n)
        self.n_ghost = 0
        self.table: dict[str, Attribute] = {}
        self._arrays: dict[str, np.ndarray] = {}
        for attribute in attributes:
            self.declare(attribute)

    # -- the table ---------------------------------------------------------------------------------------------
    def declare(self, attribute: Attribute):
        """Add a per-atom attribute; declaring the same one twice is harmless."""
        known = self.table.get(attribute.name)
        if known is not None:
            if known != attribute:
                raise InputError(f"per-atom attribute '{attribute.name}' is declared twice, differently")
            return
        self.table[attribute.name] = attribute
        rows = self.n_all if attribute.ghosts else self.n
        self._arrays[attribute.name] = np.full((rows, *attribute.shape), attribute.default, attribute.dtype)

    def __getattr__(self, name):
        if name.startswith("_") or name not in self.__dict__.get("table", {}):
            raise AttributeError(name)
        attribute = self.table[name]
        view = self.__dict__[name] = self._arrays[name][: self.n_all if attribute.ghosts else self.n]
        return view

    def _forget_views(self):
        """Before arrays or numbers of rows change: what `__getattr__` keeps, so that the next look is an ordinary one."""
        for name in self.table:
            self.__dict__.pop(name, None)

    def set(self, name, values):
        """Replace the owned rows of an attribute, keeping its dtype."""
        getattr(self, name)[: self.n] = values

    def permute(self, order):
        """Reorder (or select) owned atoms; ghosts are dropped. `order` may be shorter or longer than n."""
        self._forget_views()
        order, n = np.asarray(order, np.intp), len(order)
        for name, attribute in self.table.items():  # one after the other: two copies of all would be the peak of memory
            old = self._arrays[name]
            new = np.empty((n + len(old) - self.n, *attribute.shape), attribute.dtype)  # room for ghosts stays
            np.take(old[: self.n], order, axis=0, out=new[:n], mode="clip")  # the other modes make another copy
            self._arrays[name] = new
        self.n, self.n_ghost = n, 0

    def replace(self, arrays):
        """Take new owned rows for every attribute, dropping ghosts."""
        self._forget_views()
        for name, attribute in self.table.items():
            self._arrays[name] = np.ascontiguousarray(arrays[name], attribute.dtype)
        self.n = len(self._arrays["tags"])
        self.n_ghost = 0

    def columns(self, room=0):
        """The arrays of all attributes, in the order of the table, each with `room` rows at least for whoever fills
        them and then says how many rows there are."""
        self._forget_views()
        for name, attribute in self.table.items():
            old = self._arrays[name]
            if len(old) < room:
                self._arrays[name] = np.empty((room + room // 16, *attribute.shape), attribute.dtype)
                self._arrays[name][: self.n] = old[: self.n]
        return [self._arrays[name] for name in self.table]

    def resize_ghosts(self, count):
        """Make room for `count` ghosts; owned rows stay, ghost rows are to be filled."""
        self._forget_views()
        self.n_ghost = int(count)
        for name, attribute in self.table.items():
            if attribute.ghosts and len(self._arrays[name]) < self.n_all:
                grown = np.empty((self.n_all + self.n_all // 16, *attribute.shape), attribute.dtype)
                grown[: self.n] = self._arrays[name][: self.n]
                self._arrays[name] = grown

    # -- derived -----------------------------------------------------------------------------------------------
    @property
    def n_all(self):
        return self.n + self.n_ghost

    @property
    def n_systems(self):
        return len(self.cells)

    @property
    def volume(self):
        """(S,) Å³; refused where a direction is open."""
        if not self.periodic.all():
            raise InputError("the volume, and so the pressure, is undefined where a direction is open")
        return cells_.volume(self.cells)

    def fractional(self, positions=None):
        """Fractional coordinates (n, 3) of owned atoms (each in its own system's cell)."""
        x = self.positions[: self.n] if positions is None else positions
        system = self.system[: self.n]
        inverse = cells_.inverse(self.cells)
        if self.n_systems == 1:
            return (x - self.origin[0] if self.origin.any() else x) @ inverse[0]
        return np.einsum("ni,nij->nj", x - self.origin[system], inverse[system])

    def unwrapped(self):
        """Positions (n, 3) of owned atoms followed through the boundaries."""
        system = self.system[: self.n]
        return self.positions[: self.n] + np.einsum("ni,nij->nj", self.images, self.cells[system])

    def sum_by_system(self, values):
        """Sum owned rows (n, ...) of all ranks into (S, ...); collective."""
        values = np.asarray(values)
        if self.n_systems == 1:
            return self.comm.sum(values.sum(0)[None])
        out = np.zeros((self.n_systems, *values.shape[1:]))
        np.add.at(out, self.system[: self.n], values)
        return self.comm.sum(out)

    def group(self, name):
        """Boolean mask (n,) of a named group."""
        if name not in self.group_names:
            raise InputError(f"no group is called '{name}'; there are: {', '.join(self.group_names)}")
        return (self.groups >> self.group_names.index(name)) & 1 == 1

    def kinetic_tensor(self):
        """Σ m v⊗v over atoms of all ranks, (S, 3, 3) eV; the kinetic energy is half its trace. Collective."""
        if self.n_systems == 1:
            return self.comm.sum(((self.velocities * self.masses[:, None]).T @ self.velocities)[None])
        return self.sum_by_system(self.masses[:, None, None] * self.velocities[:, :, None] * self.velocities[:, None, :])

    # -- persistence -------------------------------------------------------------------------------------------
    def state_dict(self):
        return {
            "cells": self.cells, "periodic": self.periodic, "origin": self.origin, "open_vectors": self.open_vectors,
            "species_names": self.species_names, "group_names": self.group_names,
            "step": self.step, "time": self.time, "constrained": self.constrained,
            "exclusions": self.exclusions,
            "atoms": {name: self._arrays[name][: self.n] for name in self.table},
        }

    def load_state_dict(self, tree):
        for name in ("cells", "periodic", "origin", "open_vectors", "exclusions"):
            setattr(self, name, np.array(tree[name]))
        self.species_names = list(tree["species_names"])
        self.group_names = list(tree["group_names"])
        self.step, self.time, self.constrained = int(tree["step"]), float(tree["time"]), bool(tree["constrained"])
        for name, values in tree["atoms"].items():
            if name not in self.table:
                self.declare(Attribute(name, values.dtype.type, values.shape[1:]))
        n = len(tree["atoms"]["tags"])  # attributes declared since the tree was made begin at their defaults
        missing = [a for name, a in self.table.items() if name not in tree["atoms"]]
        default = {a.name: np.full((n, *a.shape), a.default, a.dtype) for a in missing}
        self.replace({**tree["atoms"], **default})


def temperature(kinetic_energy, degrees_of_freedom):
    """2K / (f kB) in K, element by element."""
    return 2.0 * kinetic_energy / (np.maximum(degrees_of_freedom, 1) * units.kB)
