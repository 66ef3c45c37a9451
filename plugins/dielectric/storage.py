"""A dielectric model as a folder."""

from __future__ import annotations

from plugins.dielectric.model import DielectricModel
from plugins.dielectric.potential import about
from plugins.equivariant import folder


def write(path, model: DielectricModel, more=None):
    """The model as a folder; `more` : what else is said about it."""
    folder.save(path, model.description, folder.from_model(model),
                {"form": model.form, "field_scale": float(model.field_scale), **(more or {})})


def load(path) -> DielectricModel:
    """The torch model of a folder."""
    description, arrays = folder.load(path)
    found = about(path)
    return folder.fill(DielectricModel(description, found["form"], found["field_scale"]), arrays, path)
