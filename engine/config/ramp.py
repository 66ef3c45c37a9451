"""Values that change over a stage or differ between systems: 300, { from = 300, to = 600 }, { systems = [300, 350] }."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema

from engine.config.quantities import convert


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


def _parse(value, unit):
    if isinstance(value, Ramp):
        return value
    if isinstance(value, dict):
        if set(value) == {"from", "to"}:
            return Ramp(*(float(convert(value[k], unit)) for k in ("from", "to")))
        if set(value) == {"systems"}:
            numbers = [float(convert(v, unit)) for v in value["systems"]]
            return Ramp(numbers, numbers)
        raise ValueError("must be a number, { from = .., to = .. } or { systems = [..] }")
    value = convert(value, unit)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be a number, { from = .., to = .. } or { systems = [..] }")
    return float(value)


def ramped(quantity_type):
    """The ramp-able form of a quantity type of ``engine.config.quantities``."""
    schema = dict(get_args(quantity_type)[2].json_schema)
    unit = schema["unit"]
    schema["anyOf"] = schema["anyOf"] + [
        {"type": "object", "properties": {"from": {}, "to": {}}, "required": ["from", "to"]},
        {"type": "object", "properties": {"systems": {"type": "array"}}, "required": ["systems"]},
    ]
    return Annotated[Any, BeforeValidator(lambda value: _parse(value, unit)), WithJsonSchema(schema)]
