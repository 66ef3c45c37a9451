"""Tables of the input file into plugin objects: the fields of a plugin's dataclass are its keys."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from engine import registry
from engine.errors import InputError, nearest

NESTED = {"barostat": "barostats"}  # keys whose table is itself a plugin


def make(group, table, where, folder=None, default=None):
    """The plugin object that `table` describes; `where` is its place in the input, for messages."""
    table = dict(table)
    kind = table.pop("kind", default)
    if kind is None:
        raise InputError(f"{where} has no 'kind'; there are: {', '.join(registry.names(group))}")
    if not isinstance(kind, str):
        raise InputError(f"{where}.kind is {kind!r}; it must be a name, one of: {', '.join(registry.names(group))}")
    try:
        cls = registry.get(group, kind)
    except InputError as error:
        raise InputError(f"{where}.kind: {error}") from error
    for key, nested in NESTED.items():
        if key in table and isinstance(table[key], str | int | float | list):
            raise InputError(f"{where}.{key} = {table[key]!r}: must be a table such as {{ kind = .., ... }}; "
                             f"kinds: {', '.join(registry.names(nested))}")
        if isinstance(table.get(key), dict):
            table[key] = make(nested, table[key], f"{where}.{key}", folder)
    return instantiate(cls, table, where, folder)


def keys(cls):
    """Names of the keys that a plugin takes."""
    return [f.name for f in dataclasses.fields(cls) if f.init]


def instantiate(cls, table, where, folder=None):
    """`cls(**table)` with every value checked and converted; one line of InputError for what cannot be."""
    if not dataclasses.is_dataclass(cls):
        raise InputError(f"{where}: {cls.__module__}.{cls.__qualname__} is not a dataclass, which a plugin must be")
    allowed = keys(cls)
    for key in table:
        if key not in allowed:
            raise InputError(
                f"{where} has no key '{key}'{nearest(key, allowed)}; it takes: {', '.join(allowed) or 'nothing'}"
            )
    try:
        return adapter(cls).validate_python(table, context={"folder": folder})
    except ValidationError as error:
        raise InputError(describe(error, where)) from error


def check(part):
    """Check and convert, in place, the fields of a plugin that was made in Python, as those of an input file are.

    Values left at their defaults are trusted. Returns the part.
    """
    if not dataclasses.is_dataclass(part):
        return part
    hints = get_type_hints(type(part), include_extras=True)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name, None)
        if not field.init or value is None or value is field.default:
            continue
        hint = hints[field.name]
        if field.name in NESTED or dataclasses.is_dataclass(hint):
            check(value)
            continue
        try:
            converted = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            raise InputError(describe(error, f"{type(part).__name__}.{field.name}")) from None
        object.__setattr__(part, field.name, converted)
    return part


def adapter(cls):
    if "__pydantic_config__" not in cls.__dict__:
        with_config(ConfigDict(arbitrary_types_allowed=True, extra="forbid"))(cls)
    return TypeAdapter(cls)


def describe(error: ValidationError, where: str) -> str:
    """The first problem of a pydantic error in one line: the key, what was given, what is allowed."""
    first = error.errors()[0]
    if first["type"] == "list_type" and isinstance(first["input"], dict) and len(first["loc"]) == 1:
        key = first["loc"][0]
        return f"{key}: must be a list of tables: write [[{key}]], not [{key}]"
    place = ".".join([where, *(str(p) for p in first["loc"] if p != "function-before" and not str(p).startswith("function"))])
    place = place.strip(".")
    if first["type"] in ("missing", "missing_argument"):
        return f"{place} is missing"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    given = repr(first["input"])
    given = given if len(given) < 60 else given[:57] + "..."
    if first["type"] == "value_error":
        return f"{place} = {given}: {message}"
    return f"{place} = {given}: must be {message}" if not message.startswith("must") else f"{place} = {given}: {message}"
