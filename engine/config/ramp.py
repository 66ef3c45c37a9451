"""Values that change over a stage or differ between systems: 300, { from = 300, to = 600 }, { systems = [300, 350] }."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, get_args

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema

from engine.config.quantities import number
from engine.errors import InputError


@dataclass(frozen=True)
class Ramp:
    """Linear in the progress of a stage, 0 … 1; `first` and `last` are numbers or one number for each system."""

    first: Any
    last: Any

    @classmethod
    def of(cls, value):
        return value if isinstance(value, Ramp) else cls(value, value)

    def at(self, progress):
        first, last = np.asarray(self.first, float), np.asarray(self.last, float)
        return first + (last - first) * progress


def _parse(value, unit, least=None):
    if isinstance(value, Ramp):
        return value
    if isinstance(value, dict):
        if set(value) == {"from", "to"}:
            return Ramp(*(number(value[k], unit, least) for k in ("from", "to")))
        if set(value) == {"systems"} and isinstance(value["systems"], list):
            numbers = [number(v, unit, least) for v in value["systems"]]
            return Ramp(numbers, numbers)
    elif isinstance(value, Real | str) and not isinstance(value, bool):
        return number(value, unit, least)
    raise ValueError("must be a number, { from = .., to = .. } or { systems = [..] }")


def check_systems(parts, n_systems):
    """Refuse values given for another number of systems than there are, in any field of these parts."""
    for part in parts:
        for name, value in vars(part).items():
            for end in (value.first, value.last) if isinstance(value, Ramp) else ():
                if np.ndim(end) and len(end) != n_systems:
                    raise InputError(f"{name} = {{ systems = {list(end)} }}: is for {len(end)} systems; there are {n_systems}")


def ramped(quantity_type) -> Any:
    """The ramp-able form of a quantity type of ``engine.config.quantities``."""
    schema = dict(get_args(quantity_type)[2].json_schema)
    unit, least = schema["unit"], schema["anyOf"][0].get("minimum")
    schema["anyOf"] = schema["anyOf"] + [
        {"type": "object", "properties": {"from": {}, "to": {}}, "required": ["from", "to"]},
        {"type": "object", "properties": {"systems": {"type": "array"}}, "required": ["systems"]},
    ]
    return Annotated[Any, BeforeValidator(lambda value: _parse(value, unit, least)), WithJsonSchema(schema)]
