"""Columns of the thermo table: a name, what it is in which unit, what it needs, how it is computed and shown."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine import units
from engine.errors import InputError, nearest

TIME = 1 / units.fs / 1000  # internal time to ps


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    value: Callable  # of a simulation: a number or (S,)
    width: int = 14
    format: str = ".6f"
    needs: frozenset = frozenset()
    periodic: bool = False  # has no meaning where a direction is open


COLUMNS: dict[str, Column] = {}


def column(name, unit, value, width=14, format=".6f", needs=(), periodic=False):
    """Make a column known by name; plugins may call this when they are imported."""
    COLUMNS[name] = Column(name, unit, value, width, format, frozenset(needs), periodic)


def _pressure(simulation):
    return np.trace(simulation.pressure_tensor(), axis1=1, axis2=2) / 3


column("step", "", lambda s: s.state.step, 9, "d")
column("time", "ps", lambda s: s.state.time * TIME, 11, ".4f")
column("temperature", "K", lambda s: s.temperature(), 11, ".2f")
column("potential", "eV", lambda s: s.potential_energy(), 16, ".6f", ["energy"])
column("kinetic", "eV", lambda s: s.kinetic_energy(), 14, ".6f")
column("total", "eV", lambda s: s.kinetic_energy() + s.potential_energy(), 16, ".6f", ["energy"])
column("conserved", "eV", lambda s: s.conserved(), 16, ".6f", ["energy"])
column("pressure", "GPa", _pressure, 11, ".5f", ["virial"], True)
column("volume", "Å³", lambda s: s.state.volume, 13, ".3f", periodic=True)
column("volume_per_atom", "Å³", lambda s: s.state.volume / s.atoms_per_system(), 16, ".5f", periodic=True)
column("density", "g/cm³", lambda s: 1.66053906660 * s.mass_per_system() / s.state.volume, 12, ".5f", periodic=True)
for _k, (_a, _b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    _name = "xyz"[_a] + "xyz"[_b]
    column(f"pressure_{_name}", "GPa", lambda s, a=_a, b=_b: s.pressure_tensor()[:, a, b], 13, ".5f", ["virial"], True)
for _k, _name in enumerate("abc"):
    column(f"cell_{_name}", "Å", lambda s, k=_k: np.linalg.norm(s.state.cells[:, k], axis=1), 11, ".5f")

BASIC = ["step", "time", "temperature", "potential", "kinetic", "conserved"]


def choose(names, simulation):
    """The columns called `names`, or the usual ones for this simulation."""
    if names is None:
        names = list(BASIC)
        if simulation.state.periodic.all():
            if "virial" in simulation.forces.provides:
                names.append("pressure")
            names.append("volume")
    for name in names:
        if name not in COLUMNS:
            raise InputError(f"output.columns: there is no column '{name}'{nearest(name, COLUMNS)}; "
                             f"there are: {', '.join(COLUMNS)}")
    return [COLUMNS[name] for name in dict.fromkeys(["step", *names])]
