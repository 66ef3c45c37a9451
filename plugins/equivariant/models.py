"""The torch model of a description."""

from __future__ import annotations

from plugins.equivariant.description import Description


def build(d: Description):
    from plugins.equivariant.local import LocalModel
    from plugins.equivariant.message_passing import MessagePassingModel

    return {"local": LocalModel, "message-passing": MessagePassingModel}[d.architecture](d)
