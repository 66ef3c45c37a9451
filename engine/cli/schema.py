"""``engine schema``: the JSON schema of the input file, plugins included, for editors."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="a page for people: tables, plugins, keys, defaults")] = False,
):
    """Print the JSON schema of the input file."""
    from engine.cli import reference

    print(reference.markdown(build()) if markdown else json.dumps(build(), indent=2))


def build():
    from engine.config.input import Input

    out = Input.model_json_schema()
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    out["title"] = "engine input"
    places = {"potentials": "potential", "fields": "field", "updaters": "updater", "hooks": "hook"}
    for group, name in places.items():
        out["$defs"][name] = {"oneOf": [_of(group, kind) for kind in _loadable(group)] or [{"type": "object"}]}
    integrators = [_of("integrators", kind, key="integrator", extra={
        "steps": {"type": "integer", "minimum": 0}, "kind": {"const": "md"}, "levels": {"type": "array"},
        "barostat": {"$ref": "#/$defs/barostat"}}) for kind in _loadable("integrators")]
    out["$defs"]["barostat"] = {"oneOf": [_of("barostats", kind) for kind in _loadable("barostats")]}
    out["$defs"]["stage"] = {"oneOf": integrators + [_of("stages", kind) for kind in _loadable("stages")]}
    properties = out["properties"]
    properties["potential"] = {"$ref": "#/$defs/potential"}
    properties["potentials"] = {"type": "object", "additionalProperties": {"$ref": "#/$defs/potential"}}
    for name in ("stage", "field", "updater", "hook"):
        properties[name] = {"type": "array", "items": {"$ref": f"#/$defs/{name}"}}
    return _hoist(out)


def _hoist(schema):
    """Definitions inside a plugin's part go to the top, where references look for them, under the plugin's name."""
    for name in list(schema["$defs"]):
        for part in schema["$defs"][name].get("oneOf", []):
            owner = part.get("title", name).replace("/", "-").replace(" ", "-")
            inner = part.pop("$defs", {})
            moved = {f"#/$defs/{key}": f"#/$defs/{owner}-{key}" for key in inner}
            _rename(part, moved)
            for key, value in inner.items():
                _rename(value, moved)
                schema["$defs"][f"{owner}-{key}"] = value
    return schema


def _rename(node, moved):
    if isinstance(node, dict):
        if node.get("$ref") in moved:
            node["$ref"] = moved[node["$ref"]]
        for value in node.values():
            _rename(value, moved)
    elif isinstance(node, list):
        for value in node:
            _rename(value, moved)


def _loadable(group):
    from engine import registry
    from engine.errors import InputError

    names = []
    for name in registry.names(group):
        try:
            registry.get(group, name)
            names.append(name)
        except InputError:
            pass
    return names


def _of(group, kind, key="kind", extra=None):
    import dataclasses

    from pydantic.json_schema import GenerateJsonSchema

    from engine import registry
    from engine.config.plugins import adapter

    class Lenient(GenerateJsonSchema):
        def handle_invalid_for_json_schema(self, schema, error_info):
            return {}  # an array, or whatever else a plugin has that JSON cannot describe

    cls = registry.get(group, kind)
    table = adapter(cls).json_schema(schema_generator=Lenient)
    given = {f.name for f in dataclasses.fields(cls) if f.init}
    own = {name: value for name, value in table.get("properties", {}).items() if name in given}
    table["properties"] = {key: {"const": kind}, **own, **(extra or {})}
    table["required"] = [key, *table.get("required", [])]
    table["title"] = f"{group[:-1]} {kind}"
    text = (cls.__doc__ or "").strip()
    table["description"] = "" if text.startswith(f"{cls.__name__}(") else text  # what `dataclass` writes by itself
    return table
