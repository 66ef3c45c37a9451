"""The JSON schema of the input file as a page of Markdown: a table of keys for each table of the file and each plugin."""

from __future__ import annotations

import inspect

OPENING = """# Input reference

Generated from what is installed, by `engine schema --markdown`: it lists the plugins of other packages too.

Quantities are numbers in the unit named, or strings with a unit of their own (`"2.5 MV/cm"`). A key without a default must
be given. A *ramp* is a number, `{ from = .., to = .. }` over a stage, or `{ systems = [..] }` with one for each system.
"""
PARTS = (  # heading, definition of the plugins' alternatives, how they are written
    ("Stages", "stage", "[[stage]]"), ("Barostats", "barostat", "barostat = { kind = .. } in a stage"),
    ("Potentials", "potential", "[potential] or [potentials.NAME]"), ("Fields", "field", "[[field]]"),
    ("Updaters", "updater", "[[updater]]"), ("Hooks", "hook", "[[hook]]"),
)


def markdown(schema):
    """The page for a schema as ``engine.cli.schema.build`` gives it."""
    named = {part for _, part, _ in PARTS}
    lines = [OPENING, "## Tables of the file\n"]
    for key, value in schema["properties"].items():
        target = _target(value)
        if target in named or key in ("potentials", *(f"{part}s" for part in named)) or not target:
            continue
        lines += _tables(schema, f"[{key}]", schema["$defs"][target], set())
    for heading, part, place in PARTS:
        lines.append(f"## {heading}: `{place}`\n")
        for plugin in schema["$defs"][part]["oneOf"]:
            if "title" in plugin:
                lines += _plugin(schema, plugin)
    return "\n".join(lines) + "\n"


def _tables(schema, name, table, seen):
    """A table of the file and, after it, those that its keys refer to."""
    lines = [f"### `{name}`\n", *_prose(table), *_keys(schema, table)]
    for key, value in table.get("properties", {}).items():
        target = _target(value)
        if target and target not in seen and "properties" in schema["$defs"].get(target, {}):
            seen.add(target)
            inner = f"{name.strip('[]')}.{key}{'.NAME' if 'additionalProperties' in str(value) else ''}"
            lines += _tables(schema, f"[{inner}]", schema["$defs"][target], seen)
    return lines


def _plugin(schema, plugin):
    kind = plugin["title"].partition(" ")[2]
    return [f"### `{kind}`\n", *_prose(plugin), *_keys(schema, plugin)]


def _prose(table):
    """What a docstring says, if there is one; docstrings write ``code`` as reStructuredText does."""
    text = inspect.cleandoc(table.get("description") or "").replace("``", "`")
    return [text + "\n"] if text else []


def _keys(schema, table):
    lines = ["| key | value | default | |", "|---|---|---|---|"]
    required = table.get("required", [])
    for key, value in table.get("properties", {}).items():
        default = "" if key in required else "–" if value.get("default") is None else f"`{_toml(value['default'])}`"
        meaning = " ".join((value.get("description") or "").split()).replace("|", "\\|")
        lines.append(f"| `{key}` | {_type(schema, value)} | {default} | {meaning} |")
    return [*lines, ""]


def _toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }" if value else "{ }"
    return str(value)


def _type(schema, value):
    """What may be given, in words."""
    if "const" in value:
        return f"`{_toml(value['const'])}`"
    if "enum" in value:
        return " ".join(f"`{_toml(v)}`" for v in value["enum"])
    if "$ref" in value:
        target = schema["$defs"].get(_target(value), {})
        return _type(schema, target) if "properties" not in target and "oneOf" not in target else "table"
    for union in ("anyOf", "oneOf"):
        if union in value:
            properties = [set(part.get("properties", ())) for part in value[union]]
            if {"from", "to"} in properties:
                return f"ramp, {value['unit']}" if "unit" in value else "ramp"
            if "unit" in value:
                return f"quantity, {value['unit']}"
            return " or ".join(dict.fromkeys(_type(schema, part) for part in value[union] if part.get("type") != "null"))
    kind = value.get("type", "any")
    if kind == "array":
        inner = [_type(schema, part) for part in value.get("prefixItems", [value.get("items", {})])]
        return f"[{', '.join(inner)}{'' if 'prefixItems' in value else ', ..'}]"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"{{ NAME = {_type(schema, inner)} }}" if isinstance(inner, dict) else "table"
    return {"integer": "whole number", "boolean": "true or false"}.get(kind, kind)


def _target(value):
    """The definition that a value, the values of its table or the items of its list refer to."""
    for part in (value, value.get("additionalProperties"), value.get("items"), *value.get("anyOf", ()), *value.get("allOf", ())):
        if isinstance(part, dict) and "$ref" in part:
            return part["$ref"].rsplit("/", 1)[1]
    return None
