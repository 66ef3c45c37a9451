"""Outside pressure and the strains that a cell may make, shared by barostats and relaxations."""

from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BeforeValidator, WithJsonSchema

from engine.config.quantities import Pressure, convert
from engine.config.ramp import ramped
from engine.errors import InputError

VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]  # xx, yy, zz, yz, xz, xy

_parse = next(part for part in get_args(ramped(Pressure)) if isinstance(part, BeforeValidator)).func
_schema = next(part for part in get_args(ramped(Pressure)) if isinstance(part, WithJsonSchema)).json_schema
_schema = {**_schema, "anyOf": [*_schema["anyOf"], {"type": "array", "minItems": 3, "maxItems": 6}]}


def _components(value):
    if isinstance(value, list | tuple):
        if len(value) not in (3, 6):
            raise ValueError("a list of pressures must be [xx, yy, zz] or [xx, yy, zz, yz, xz, xy]")
        return [float(convert(v, "GPa")) for v in value]
    return _parse(value)


#: a number, a ramp, or components [xx, yy, zz] or [xx, yy, zz, yz, xz, xy], in GPa
PressureTensor = Annotated[Any, BeforeValidator(_components), WithJsonSchema(_schema)]

#: one factor for all directions; a factor for each Cartesian direction; any symmetric strain
Coupling = Literal["isotropic", "anisotropic", "flexible"]


def components(value):
    """(3, 3) from a list of three or six components."""
    tensor = np.zeros((3, 3))
    for component, (a, b) in zip(value, VOIGT, strict=False):
        tensor[a, b] = tensor[b, a] = component
    return tensor


def pressure_at(value, integrator, simulation):
    """(S, 3, 3) GPa at the middle of this step."""
    if isinstance(value, list | tuple):
        return np.broadcast_to(components(value), (simulation.state.n_systems, 3, 3))
    return integrator.at(simulation, value)[:, None, None] * np.eye(3)


def project(strain, coupling):
    """The part of `strain` (S, 3, 3) that `coupling` lets the cell make."""
    if coupling == "isotropic":
        return np.trace(strain, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    if coupling == "anisotropic":
        return strain * np.eye(3)
    return 0.5 * (strain + strain.transpose(0, 2, 1))


def exponential(strain):
    """e^ε of symmetric strains (S, 3, 3)."""
    values, vectors = np.linalg.eigh(strain)
    return np.einsum("sak,sk,sbk->sab", vectors, np.exp(values), vectors)


def refuse_impossible(simulation, who):
    """A cell can move only if it has a volume and no atom is fixed."""
    if not simulation.state.periodic.all():
        raise InputError(f"{who} needs all three directions periodic: the pressure is undefined otherwise")
    if simulation.state.constrained:
        raise InputError(f"{who} cannot go with fixed atoms, which it would move; free them, or keep the cell")
