"""The torch model of a description."""

from __future__ import annotations

from plugins.equivariant.description import Description


def build(d: Description):
    from plugins.equivariant.local import LocalModel

    return LocalModel(d)
