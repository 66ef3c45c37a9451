"""The outside pressure of a barostat or a relaxation: a number, a ramp, or components of a tensor (GPa)."""

from typing import Annotated, Any, get_args

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema

from engine.config.quantities import Pressure, convert
from engine.config.ramp import ramped

VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]  # xx, yy, zz, yz, xz, xy

_parse = next(part for part in get_args(ramped(Pressure)) if isinstance(part, BeforeValidator)).func
_schema = dict(get_args(ramped(Pressure))[2].json_schema)
_schema["anyOf"] = [*_schema["anyOf"], {"type": "array", "minItems": 3, "maxItems": 6}]


def _components(value):
    if isinstance(value, list | tuple):
        if len(value) not in (3, 6):
            raise ValueError("a list of pressures must be [xx, yy, zz] or [xx, yy, zz, yz, xz, xy]")
        return [float(convert(v, "GPa")) for v in value]
    return _parse(value)


PressureTensor = Annotated[Any, BeforeValidator(_components), WithJsonSchema(_schema)]


def pressure_at(value, integrator, simulation):
    """(S, 3, 3) GPa at the middle of this step."""
    if isinstance(value, list | tuple):
        tensor = np.zeros((3, 3))
        for component, (a, b) in zip(value, VOIGT, strict=False):
            tensor[a, b] = tensor[b, a] = component
        return np.broadcast_to(tensor, (simulation.state.n_systems, 3, 3))
    return integrator.at(simulation, value)[:, None, None] * np.eye(3)
