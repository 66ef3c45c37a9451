"""Plugins by entry point: nothing above the ground floor is imported by name.

A plugin that cannot be imported is reported where it is asked for and by ``engine plugins``; it never stops a run
that does not use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

from engine.errors import InputError, nearest, one_line

KINDS = ("potentials", "integrators", "barostats", "fields", "updaters", "hooks", "stages", "references", "commands", "forecasts")

_added: dict[tuple[str, str], object] = {}


@dataclass(frozen=True)
class Entry:
    kind: str
    name: str
    package: str
    version: str
    target: str


@lru_cache
def _installed():
    """Of every group; kept, because looking through all installed packages takes 10 ms and more."""
    return metadata.entry_points()


def entry_points(group: str):
    """What installed packages register in `group`."""
    return _installed().select(group=group)


@lru_cache
def entries(kind: str) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in entry_points(f"engine.{kind}")}


def names(kind: str):
    return sorted({*entries(kind), *(n for k, n in _added if k == kind)})


def add(kind: str, name: str, thing):
    """Register something for this process only (notebooks, tests)."""
    _added[kind, name] = thing


def get(kind: str, name: str):
    """The class or function registered as `name`; an InputError names the nearest one, or says why it did not load."""
    if (kind, name) in _added:
        return _added[kind, name]
    points = entries(kind)
    singular = kind.rstrip("s")
    if name not in points:
        known = names(kind)
        raise InputError(f"no {singular} is called '{name}'{nearest(name, known)}; there are: {', '.join(known) or 'none'}")
    try:
        return points[name].load()
    except Exception as error:
        reason = one_line(error)
        raise InputError(f"{singular} '{name}' ({points[name].value}) could not be loaded: {reason}") from error


def listing():
    """(Entry, reason it failed or None) of everything registered."""
    out = []
    for kind in KINDS:
        for name in sorted(entries(kind)):
            point = entries(kind)[name]
            dist = point.dist
            entry = Entry(kind, name, dist.name if dist else "?", dist.version if dist else "?", point.value)
            try:
                point.load()
                out.append((entry, None))
            except Exception as error:
                out.append((entry, one_line(error)))
    return out
