"""``engine plugins``: everything registered, where it is from, or why it did not load."""

from __future__ import annotations


def plugins():
    """List plugins by kind."""
    from rich.table import Table

    from engine import registry
    from engine.output.screen import console

    table = Table(box=None, pad_edge=False)
    for title in ("kind", "name", "package", "version", "state"):
        table.add_column(title)
    for entry, problem in registry.listing():
        table.add_row(entry.kind.rstrip("s"), entry.name, entry.package, entry.version, problem or "ok")
    console.print(table)
