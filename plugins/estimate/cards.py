"""What a model's makers say of it: a file ``card.toml`` beside the model, or in its folder.

    accuracy = "force MAE 12 meV/Å on held-out frames"
    domain = "liquid water, 280–350 K, up to 1 GPa"
    licence = "CC-BY-4.0"
"""

import tomllib
from pathlib import Path

from engine.errors import InputError

KEYS = ("accuracy", "domain", "licence")


def of(job):
    """The card of an input's potential(s): {key: text}; classical potentials with published forms have none."""
    card = {}
    for name, table in job.input.named_potentials().items():
        for value in table.values():
            if not isinstance(value, str):
                continue
            place = Path(job.folder) / value
            for path in (place / "card.toml", place.with_name("card.toml") if place.is_file() else None):
                if path is not None and path.is_file():
                    for key, text in _read(path).items():
                        card[key] = f"{card[key]}; {name}: {text}" if key in card else text
    return card


def _read(path):
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    return {key: str(table[key]) for key in KEYS if key in table}
