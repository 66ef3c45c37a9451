"""What adapters of graph models share: our neighbor list as their graph, their results added to ours.

A model that passes messages between atoms needs, on one rank, no ghosts of its own: an edge to a ghost is an edge to
its owner with an integer shift of cells. On several ranks messages would have to travel inside the model, which these
packages do not let us do, so more than one rank is refused. (The engine's own models, ``equivariant``, do travel.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest, one_line

PROVIDES = frozenset({"energy", "forces", "virial"})


@dataclass
class Graph:
    """n atoms of S systems and m directed edges, both directions of every pair.

    numbers (n,) rows of the model's own species; positions (n, 3) Å; system (n,); cells (S, 3, 3) rows are vectors
    centre, neighbor (m,) rows of atoms; shifts (m, 3) integers: r = x[neighbor] + shifts @ cell − x[centre] = vectors (m, 3)
    """

    numbers: np.ndarray
    positions: np.ndarray
    system: np.ndarray
    cells: np.ndarray
    periodic: np.ndarray
    centre: np.ndarray
    neighbor: np.ndarray
    shifts: np.ndarray
    vectors: np.ndarray

    def one(self, s):
        """The graph of one system."""
        rows = np.flatnonzero(self.system == s)
        new = np.full(len(self.system), -1)
        new[rows] = np.arange(len(rows))
        mine = self.system[self.centre] == s
        return Graph(
            self.numbers[rows],
            self.positions[rows],
            np.zeros(len(rows), self.system.dtype),
            self.cells[s : s + 1],
            self.periodic,
            new[self.centre[mine]],
            new[self.neighbor[mine]],
            self.shifts[mine],
            self.vectors[mine],
        ), rows


class GraphModel(Potential):
    """Base of adapters. A subclass sets `cutoff` (Å) and `species` (names, in the model's order) in `load()` and gives
    `evaluate(graph, virial)` → energy (S,) eV, forces (n, 3), virial (S, 3, 3) or None.

    seconds_inside : spent in the model;  seconds : in the adapter and the model together
    """

    package = ""
    install = ""
    label = "potential"

    def __post_init__(self):
        self.seconds = self.seconds_inside = 0.0
        self._rows = None
        try:
            self.load()
        except ImportError as error:
            raise InputError(f"{self.label} needs the package {self.package} ({error}): pip install {self.install}") from None
        except InputError:
            raise
        except Exception as error:
            reason = one_line(error)
            raise InputError(f"{self.label}: {getattr(self, 'model', '')} could not be loaded: {reason}") from error

    def bind(self, species_names):
        for name in species_names:
            if name not in self.species:
                raise InputError(
                    f"{self.label}: the model knows no {name}{nearest(name, self.species)}; it knows: {', '.join(self.species)}"
                )
        self._rows = np.array([self.species.index(name) for name in species_names])

    def capabilities(self):
        return Capabilities(self.cutoff, "full", "global", provides=PROVIDES, heat_flux=False)

    @property
    def alone(self):
        return (f"({self.label}): models of {self.package} see all atoms at once and cannot be spread over ranks, unless "
                "`engine convert` reads them")

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        begin = time.perf_counter()
        graph = self.graph(atoms, neighbors, halo)
        before = time.perf_counter()
        energy, forces, virial = self.evaluate(graph, "virial" in needs)
        self.seconds_inside += time.perf_counter() - before
        out.forces[: atoms.n] += forces
        if "energy" in needs:
            out.energy[:] += energy
        if "virial" in needs:
            out.virial[:] += virial
        self.seconds += time.perf_counter() - begin

    def graph(self, atoms, neighbors, halo):
        n = atoms.n
        edges = neighbors.edges(self.cutoff)
        owner = np.concatenate([np.arange(n), np.asarray(halo.owner)])
        shift = np.concatenate([np.zeros((n, 3), np.int64), np.asarray(halo.shift, np.int64)])
        return Graph(
            self._rows[atoms.species[:n]],
            atoms.positions[:n].copy(),
            atoms.system[:n].astype(np.int64),
            atoms.cells.copy(),
            atoms.periodic,
            edges.centre.astype(np.int64),
            owner[edges.neighbor],
            shift[edges.neighbor],
            edges.vectors,
        )


def symbols(numbers):
    """Chemical symbols of atomic numbers."""
    from ase.data import chemical_symbols

    return [chemical_symbols[int(z)] for z in numbers]
