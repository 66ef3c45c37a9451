"""Quantities with units: numbers are in the documented unit, strings carry their own (``"2.5 MV/cm"``)."""

import math
import re
from functools import lru_cache
from numbers import Real
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema


@lru_cache
def _registry():
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)  # "27 degC" is 300.15 K


def convert(value: Any, unit: str) -> Any:
    """A number as it is; a string such as ``"1 /ps"`` converted to `unit`. Raises ValueError in words."""
    if not isinstance(value, str):
        return value
    import pint

    text = value.strip()
    if not text:
        raise ValueError(f"'{value}' is no number")
    if len(text) > 100 or len(re.findall(r"[\d.)]\s*(?:\*\*|\^)", text)) > 1 or re.search(r"(\*\*|\^)[-+\s(]*[\d_]{3}", text):
        raise ValueError(f"'{text[:40]}' is no number with a unit")  # powers of powers would be worked out to their last digit
    try:
        quantity = _registry().parse_expression(text.replace(" /", " 1/", 1) if " /" in text else text)
    except Exception as error:
        raise ValueError(f"'{value}' cannot be read as a number with a unit") from error
    if not hasattr(quantity, "to"):
        return float(quantity)
    if quantity.dimensionality.get("[substance]") == -1:  # "1 kJ/mol": of a mole of particles, so of one of them
        quantity = quantity / _registry().avogadro_constant
    if quantity.dimensionless and not text.rstrip("0123456789.eE+- "):
        return float(quantity.magnitude)
    try:
        return float(f"{quantity.to(unit).magnitude:.15g}")
    except pint.DimensionalityError:
        pass
    try:  # energies named as temperatures and the like are not guessed: only per-particle factors are allowed
        return float(quantity.to(unit, "boltzmann").magnitude)
    except Exception as error:
        raise ValueError(f"'{value}' is not in a unit that converts to {unit}") from error


def number(value: Any, unit: str, least: float | None = None) -> Any:
    """`value` converted to `unit` if it is a finite number, not below `least`; ValueError in words if not."""
    value = convert(value, unit)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"must be a number in {unit}, or a string with a unit")
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    if least is not None and value < least:
        raise ValueError(f"must not be less than {least:g} {unit}")
    return float(value)


def quantity(unit: str, description: str, least: float | None = None):
    """An annotated float: accepts a finite number in `unit`, from `least` up, or a string with a unit."""
    schema = {
        "anyOf": [{"type": "number", **({} if least is None else {"minimum": least})}, {"type": "string"}],
        "description": f"{description}; a number in {unit}, or a string with a unit",
        "unit": unit,
    }
    return Annotated[float, BeforeValidator(lambda value: number(value, unit, least)), WithJsonSchema(schema)]


Time = quantity("fs", "time", least=0)
Frequency = quantity("1/fs", "rate")
Friction = Frequency
Temperature = quantity("K", "temperature", least=0)
Pressure = quantity("GPa", "pressure")
Length = quantity("angstrom", "length", least=0)
Energy = quantity("eV", "energy")
Mass = quantity("u", "mass")
Charge = quantity("e", "charge")
ElectricField = quantity("V/angstrom", "electric field")


def _clock(text):
    if not re.fullmatch(r"\d+:[0-5]\d(:[0-5]\d)?", text):
        raise ValueError("must be hours:minutes or hours:minutes:seconds, such as '23:50:00'")
    return text


WallTime = Annotated[str, AfterValidator(_clock)]


def _resolve(path, info):
    """Input paths are relative to the input file."""
    from pathlib import Path

    folder = (info.context or {}).get("folder")
    return str(Path(folder) / path) if folder and not Path(path).is_absolute() else path


InputFile = Annotated[str, AfterValidator(_resolve)]
