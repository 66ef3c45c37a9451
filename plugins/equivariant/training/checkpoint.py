"""Checkpoints of a training: arrays as safetensors with everything else as JSON in its header; written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from engine.errors import InputError


def write(path, groups: dict[str, list[torch.Tensor]], state: dict):
    """groups: {"parameters": [...], "average": [...], ...}; state: numbers and strings."""
    from safetensors.torch import save_file

    arrays = {f"{name}.{k}": t.detach().clone().contiguous() for name, group in groups.items() for k, t in enumerate(group)}
    temporary = Path(path).with_suffix(".tmp")
    save_file(arrays, temporary, metadata={"state": json.dumps(state)})
    os.replace(temporary, path)


def read(path) -> tuple[dict[str, list[torch.Tensor]], dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the checkpoint {path} cannot be read ({error})") from None
    groups: dict[str, list] = {}
    for name in sorted(arrays, key=lambda n: (n.rsplit(".", 1)[0], int(n.rsplit(".", 1)[1]))):
        groups.setdefault(name.rsplit(".", 1)[0], []).append(arrays[name])
    return groups, state
