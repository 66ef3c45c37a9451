"""The input reference is made from the schema, and names every plugin and every key."""

import dataclasses

from engine import registry
from engine.cli import reference, schema
from engine.config.input import Input, RunTable, System


def test_the_reference_names_every_plugin_and_every_key():
    page = reference.markdown(schema.build())
    for model in (System, RunTable):
        assert all(f"| `{key}` |" in page for key in model.model_fields)
    assert {"[system]", "[output]", "[run]"} <= {f"[{key}]" for key in Input.model_fields}
    for group in ("potentials", "integrators", "barostats", "fields", "updaters", "hooks", "stages"):
        for name in schema._loadable(group):
            assert f"### `{name}`\n" in page, name
            cls = registry.get(group, name)
            part = page.split(f"### `{name}`\n")
            wanted = [f"| `{f.name}` |" for f in dataclasses.fields(cls) if f.init]
            assert any(all(w in text.split("\n##")[0] for w in wanted) for text in part[1:]), name
    assert "| `_" not in page and "| `device` | any |" not in page and " at 0x" not in page
    assert "| `temperature` | ramp, K |" in page and "| `seed` | whole number | `0` |" in page
