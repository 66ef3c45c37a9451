"""A trained model on disk: ``model.toml`` and ``weights.safetensors``, written whole, never a pickle."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

import engine
from engine.errors import InputError
from plugins.equivariant import description as descriptions
from plugins.equivariant.description import Description


def save(folder, d: Description, arrays: dict[str, np.ndarray], about: dict | None = None):
    """Both files, each under a temporary name first."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "weights.safetensors.tmp"
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, temporary)
    os.replace(temporary, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    about = {"engine": engine.__version__, "units": "eV, Å", "weights": digest[:16], **(about or {})}
    descriptions.write(folder, d, about)


def load(folder) -> tuple[Description, dict[str, np.ndarray]]:
    """Description and arrays, their shapes checked against the description."""
    d = descriptions.read(folder)
    arrays = descriptions.read_weights(folder)
    for name in ("scales", "shifts"):
        if name not in arrays or arrays[name].shape != (len(d.species),):
            raise InputError(f"{folder}: '{name}' does not fit {len(d.species)} species; the two files do not belong together")
    return d, arrays


def from_model(model) -> dict[str, np.ndarray]:
    """Arrays of a torch model's state."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def to_model(folder):
    """The torch model of a folder."""
    from plugins.equivariant.models import build

    d, arrays = load(folder)
    return fill(build(d), arrays, folder)


def fill(model, arrays, folder):
    """A torch model with the arrays of `folder` as its state."""
    import torch

    try:
        model.load_state_dict({name: torch.tensor(a) for name, a in arrays.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{folder}: weights.safetensors does not fit model.toml: {reason}") from None
    return model
