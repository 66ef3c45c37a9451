"""What a run needs of memory: the arrays that its parts hold, counted, and the process that they are in, measured."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np

from engine import cell as cells_
from engine.errors import InputError
from engine.neighbors.lists import Neighbors

KINDS = ("state", "lists", "kernels", "output", "hooks")


@dataclass
class Memory:
    """Bytes. code : the process without arrays: Python, libraries, compiled kernels;  arrays : by kind, see `KINDS`;
    passing : held for a moment while a frame or a checkpoint is written, atoms are sorted, or the structure is read"""

    code: int
    passing: int
    arrays: dict[str, int] = field(default_factory=dict)

    @property
    def total(self):
        return self.code + self.passing + sum(self.arrays.values())

    def share(self, atoms, rows):
        """Of a rank that has these fractions of the atoms, and of the rows with ghosts; every rank reads the structure whole."""
        of = {"state": rows, "lists": atoms, "kernels": rows, "output": rows, "hooks": atoms}
        parts = {kind: int(size * of[kind]) for kind, size in self.arrays.items()}
        beyond = max(0, self.passing - sum(parts.values()))  # the structure is let go before the lists are made
        return Memory(self.code, max(int(self.passing * rows), beyond), parts)

    def __str__(self):
        parts = [f"{size / 1e6:.3g} {kind}" for kind, size in {**self.arrays, "for a moment": self.passing}.items() if size > 5e4]
        return f"{self.total / 1e6:.0f} MB: {self.code / 1e6:.0f} Python and compiled code, " + ", ".join(parts)


ROW = 200  # bytes that a row of the state holds at the least, ghosts included, with its place in the halo


def refuse_what_cannot_fit(simulation):
    """An InputError before ghosts and lists are made that this machine cannot hold, however patient one is."""
    state, domain = simulation.state, simulation.domain
    reach = domain.cutoff + domain.skin
    heights = np.where(state.periodic, cells_.heights(state.cells), np.inf)  # (S, 3) Å; no images along open directions
    images = np.prod(1.0 + 2.0 * reach / heights, axis=-1)
    rows = state.comm.sum(float(state.n)) * float(images.mean()) * state.comm.node_ranks / state.comm.size  # of a node
    if rows * ROW > installed():
        raise InputError(f"a cutoff of {domain.cutoff:g} Å and a skin of {domain.skin:g} Å around a cell whose faces are "
                         f"{heights.min():.3g} Å apart need {rows:.2g} copies of atoms, {rows * ROW / 1e9:.2g} GB; this machine "
                         f"has {installed() / 1e9:.0f} GB")


def refuse_atoms(atoms):
    """The same for a number of atoms, before they are made."""
    if atoms >= 2**31 or atoms * ROW > installed():
        raise InputError(f"{atoms:.3g} atoms need {atoms * ROW / 1e9:.2g} GB at the least; this machine has "
                         f"{installed() / 1e9:.0f} GB")


def forecast(simulation) -> Memory:
    """Of a simulation that has evaluated its forces once, in this process."""
    sim = simulation
    seen: set[int] = set()
    counted = {
        "state": held(sim.state, seen),
        "lists": held([sim.domain, Neighbors._builder], seen),
        "output": held([sim.forces.outputs, sim.forces._scratch], seen),
        "kernels": held(sim.potentials, seen),
        "hooks": held([sim.hooks, sim.updaters, sim.fields, sim.integrator], seen),
    }
    arrays = {kind: counted[kind] for kind in KINDS}
    rows = sum(a.nbytes for a in (getattr(sim.state, name)[: sim.state.n] for name in sim.state.table))
    return Memory(max(present() - sum(arrays.values()), 0), 2 * rows, arrays)


def held(thing, seen) -> int:
    """Bytes of the arrays and tensors that can be reached from `thing` by attributes, lists and dictionaries, each buffer
    once; what is in `seen` (ids) is counted already."""
    total, stack = 0, [thing]
    while stack:
        item = stack.pop()
        if isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
        if id(item) in seen or isinstance(item, str | bytes | int | float | type) or item is None:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            total += item.nbytes
        elif hasattr(item, "untyped_storage"):  # a torch tensor
            total += item.untyped_storage().nbytes()
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list | tuple | set):
            stack += item
        elif hasattr(item, "__dict__") and not callable(getattr(item, "py_func", None)) and type(item).__name__ != "module":
            stack += vars(item).values()
    return total


def installed() -> float:
    """Bytes of memory that the machine has; without end where that cannot be asked."""
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def present() -> int:
    """Bytes that the process holds now; where that cannot be asked, the most that it held."""
    if sys.platform.startswith("linux"):
        import os

        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak()


def peak() -> int:
    """Bytes that the process has held at most, since it is this program: what a system calls its largest resident set may be
    that of the process that started it."""
    if sys.platform.startswith("linux"):
        with open("/proc/self/status") as file:
            return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
