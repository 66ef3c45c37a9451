"""Parameters of pair potentials: numbers for all pairs, numbers for each species that are mixed, or for each pair.

    epsilon = 0.0104                                        # the same for every pair
    epsilon = { Ar = 0.0104, Kr = 0.0140 }                  # for each species, mixed by the potential's rule
    pairs = { Ar-Kr = { epsilon = 0.0120, sigma = 3.5 } }   # for a pair, before everything else
    none = ["Si-Si"]                                        # pairs that do not interact
"""

import inspect
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import WithJsonSchema

from engine.config.quantities import convert
from engine.errors import InputError, nearest
from engine.kernels.pair import PairPotential

PerSpecies = dict[str, float | str]
PerPair = dict[str, dict[str, float | str]]
Truncation = Literal["cut", "shifted", "force-shifted"]


def parameter(unit, description):
    """Type of a parameter: a number in `unit` or a string with one, or such for each species, or nothing at all."""
    schema = {"description": f"{description}, in {unit}; for all pairs, or {{ species = value }}", "unit": unit}
    return Annotated[float | str | PerSpecies | None, WithJsonSchema(schema)]


EnergyParameter = parameter("eV", "energy")
LengthParameter = parameter("angstrom", "length")

def _number(value, unit, where):
    try:
        number = convert(value, unit)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if not np.isfinite(number):
        raise InputError(f"{where} = {number}: must be a finite number")
    return float(number)


def _keys(label, pairs):
    """{(a, b) sorted: table}, every key checked to be two names joined by a hyphen."""
    out = {}
    for key, table in pairs.items():
        names = tuple(sorted(key.split("-")))
        if len(names) != 2 or not all(names):
            raise InputError(f"{label}: pair '{key}' must be two species joined by a hyphen, as in 'Si-O'")
        if names in out:
            raise InputError(f"{label}: pair '{key}' is given twice")
        out[names] = table
    return out


def resolve(potential, species_names, units, rules):
    """Tables {parameter: (T, T)} and the mask (T, T) of pairs that interact.

    potential : has an attribute for each parameter, and `pairs` and `none`
    units : {parameter: unit};  rules : {parameter: function (value a, value b, species a, species b) that mixes them}
    """
    label = potential.label
    pairs = _keys(label, potential.pairs)
    for names, table in pairs.items():
        for name in table:
            if name not in units:
                raise InputError(f"{label}: pair '{'-'.join(names)}' has no parameter '{name}'{nearest(name, units)}; "
                                 f"it takes: {', '.join(units)}")
            _number(table[name], units[name], f"{label}, pair '{'-'.join(names)}', '{name}'")
    for name, unit in units.items():
        value = getattr(potential, name)
        for species in value if isinstance(value, dict) else ():
            _number(value[species], unit, f"{label}, '{name}' of {species}")
    silent = set(_keys(label, {key: None for key in potential.none}))
    both = silent & set(pairs)
    if both:
        raise InputError(f"{label}: pair '{'-'.join(min(both))}' is among `pairs` and among `none`")
    size = len(species_names)
    tables = {name: np.zeros((size, size)) for name in units}
    present = np.zeros((size, size), bool)
    for a, first in enumerate(species_names):
        for b, second in enumerate(species_names[: a + 1]):
            names = tuple(sorted((first, second)))
            if names in silent:
                continue
            present[a, b] = present[b, a] = True
            for name, unit in units.items():
                value = pairs.get(names, {}).get(name)
                where = f"{label}, pair '{first}-{second}', '{name}'"
                if value is None:
                    value = _general(potential, name, first, second, rules.get(name), unit, label)
                tables[name][a, b] = tables[name][b, a] = _number(value, unit, where)
    return tables, present


def _general(potential, name, first, second, mix, unit, label):
    value = getattr(potential, name)
    if isinstance(value, dict):
        missing = next((s for s in (first, second) if s not in value), None)
        if missing is not None:
            raise InputError(f"{label}: '{name}' has no value for species '{missing}'{nearest(missing, value)}; "
                             f"it has: {', '.join(value)}")
        ours, theirs = (_number(value[s], unit, f"{label}, '{name}' of {s}") for s in (first, second))
        if first == second:
            return ours
        if mix is None:
            raise InputError(f"{label}: '{name}' cannot be mixed: give it for the pair '{first}-{second}' under `pairs`")
        return mix(ours, theirs, first, second)
    if value is None:
        raise InputError(f"{label}: no '{name}' for the pair '{first}-{second}': give `{name}`, or the pair under `pairs`, "
                         "or name it in `none` if it does not interact")
    return value


@dataclass(kw_only=True)
class SpeciesPairs(PairPotential):
    """Base of pair potentials with parameters by species or pair.

    cutoff : Å
    truncation : what happens at the cutoff: ``cut`` nothing; ``shifted`` the energy is moved to be zero there;
        ``force-shifted`` a linear term makes the force vanish too
    pairs, none : see ``potentials.pair.parameters``

    A subclass names its parameters and their `UNITS`, its mixing `rules` if it has any, and a `function` whose last two
    parameters are `shift` (eV) and `slope` (eV/Å): E = u(r) − shift − slope·r, to be set here.
    """

    UNITS: ClassVar[dict] = {}

    cutoff: LengthParameter = None
    truncation: Truncation = "cut"
    pairs: PerPair = field(default_factory=dict)
    none: list[str] = field(default_factory=list)

    @property
    def label(self):
        return f"potential '{type(self).__name__}'"

    def rules(self):
        """{parameter: function (value a, value b, species a, species b)} of those that can be mixed."""
        return {}

    def tables(self, species_names):
        units = {**self.UNITS, "cutoff": "angstrom"}
        rules = {"cutoff": lambda a, b, *_: max(a, b), **self.rules()}
        tables, present = resolve(self, species_names, units, rules)
        cutoffs = np.where(present, tables.pop("cutoff"), 0.0)
        self.check(tables, present, cutoffs)
        return cutoffs, self.derived(tables, present, cutoffs)

    def check(self, tables, present, cutoffs):
        """Refuse what has no meaning; called with the resolved tables."""
        if (cutoffs[present] <= 0).any():
            raise InputError(f"{self.label}: the cutoff is {cutoffs[present].min()} Å; it must be positive")

    def derived(self, tables, present, cutoffs):
        """Add what the function needs beside the given parameters: here `shift` and `slope`."""
        tables = {**tables, "shift": np.zeros_like(cutoffs), "slope": np.zeros_like(cutoffs)}
        if self.truncation == "cut":
            return tables
        for a, b in np.argwhere(present):
            rc = cutoffs[a, b]
            energy, force = self.function(rc * rc, **{k: v[a, b] for k, v in tables.items() if k in self._arguments})
            slope = -force * rc if self.truncation == "force-shifted" else 0.0
            tables["slope"][a, b] = slope
            tables["shift"][a, b] = energy - slope * rc
        return tables

    @property
    def _arguments(self):
        return inspect.signature(self.function).parameters
