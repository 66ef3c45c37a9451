"""A trained model on disk: ``model.toml`` and ``weights.safetensors``, written whole, never a pickle.

``model.toml`` has a digest of the weights and one of itself, so that files of two models, or changed ones, are noticed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import engine
from engine.errors import InputError
from engine.output.file import replace_bytes, writing
from plugins.equivariant import description as descriptions
from plugins.equivariant.description import Description
from plugins.equivariant.shapes import shapes


def save(folder, d: Description, arrays: dict[str, np.ndarray], about: dict | None = None):
    """Both files, each under a temporary name first."""
    from safetensors.numpy import save as as_bytes

    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    content = as_bytes({name: np.ascontiguousarray(a) for name, a in arrays.items()})
    replace_bytes(folder / "weights.safetensors", content)
    descriptions.write(folder, d, {"engine": engine.__version__, "units": "eV, Å", "weights": descriptions.digest(content),
                                   **(about or {})})


def load(folder) -> tuple[Description, dict[str, np.ndarray]]:
    """Description and arrays, of a local model all of them of the shapes that the description asks for."""
    d, about = descriptions.read(folder)
    arrays = descriptions.read_weights(folder, about.get("weights"))
    local, each = d.architecture == "local", (len(d.species),)
    wanted = shapes(d, about.get("form")) if local else {"scales": each, "shifts": each}
    for name, shape in wanted.items():
        if name not in arrays or arrays[name].shape != shape:
            found = f"of shape {arrays[name].shape}" if name in arrays else "not there"
            raise InputError(f"{folder}: weights.safetensors does not fit model.toml: '{name}' is {found}, and should be of "
                             f"shape {shape}")
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
