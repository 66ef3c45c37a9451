"""What a learned model is, apart from its numbers: read from TOML, checked, written beside the weights.

A trained model is a folder with ``model.toml`` (this description) and ``weights.safetensors`` (its numbers).
Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np

from engine.errors import InputError, nearest
from engine.output.file import replace_text

FORMAT = 1
DIGESTS = "weights", "description"  # in [about]: of the file of weights, and of model.toml
CHARGE = 0.25  # e, of a unit of the readout of latent charges


@dataclass
class Description:
    """Hyper-parameters of an equivariant model.

    species : chemical symbols, in the order of the species index; cutoff : Å; cutoffs : "O-H" = Å for pairs (centre-
    neighbour, both orders unless both are given) that see less; l_max, parity : harmonics, and whether irreps of the
    other parity are kept between layers; layers; channels : multiplicity of tensors; features : width of the scalar
    track; *_depth, *_width : hidden layers of the two-body embedding, of each layer's network, of the readout;
    bessel : radial functions; envelope : power p of the polynomial cutoff; neighbors : average number inside the
    cutoff, normalises sums; zbl : add the Ziegler-Biersack-Littmark core, which ends at `cores` ("O-H" = Å, by default
    just inside the shortest distances in the data); charges : latent charges of the atoms, which act on each other over any
    distance (``charges.py``), each of them a cloud of `smearing` Å; neutral : their sum in a system is shifted to zero;
    dtype : of weights and of edge quantities.
    """

    species: list[str] = field(default_factory=list)
    cutoff: float = 5.0
    architecture: Literal["local", "message-passing"] = "local"
    cutoffs: dict[str, float] = field(default_factory=dict)
    l_max: int = 2
    parity: bool = True
    layers: int = 2
    channels: int = 16
    features: int = 32
    embedding_depth: int = 1
    embedding_width: int = 32
    latent_depth: int = 1
    latent_width: int = 32
    readout_depth: int = 1
    readout_width: int = 32
    bessel: int = 8
    envelope: int = 6
    neighbors: float = 30.0
    zbl: bool = False
    cores: dict[str, float] = field(default_factory=dict)
    charges: bool = False
    smearing: float = 1.0
    neutral: bool = True
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self):
        if not isinstance(self.species, list | tuple) or not all(isinstance(name, str) for name in self.species) \
                or len(set(self.species)) < len(self.species):
            raise InputError(f"model: species = {self.species!r} must be chemical symbols, each once, such as ['H', 'O']")
        self.species = list(self.species)
        least = dict(l_max=0, layers=1, channels=1, features=2, bessel=1, envelope=2, embedding_depth=0, latent_depth=0,
                     readout_depth=0, embedding_width=1, latent_width=1, readout_width=1)
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise InputError(f"model: {name} = {value!r} must be a whole number of at least {low}")
        for name in ("parity", "zbl", "charges", "neutral"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"model: {name} = {getattr(self, name)!r} must be true or false")
        for name in ("cutoff", "neighbors", "smearing"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"model: {name} = {value!r} must be a number")
        for name in ("cutoffs", "cores"):
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(isinstance(x, int | float) for x in value.values()):
                raise InputError(f"model: {name} = {value!r} must be a table such as {{ \"O-H\" = 3.0 }}")
        if self.l_max > 6:
            raise InputError(f"model: l_max = {self.l_max} is above 6; two or three is usual")
        if self.features % 2:
            raise InputError(f"model: features = {self.features} must be even (half embeds the centre, half the neighbour)")
        if not self.cutoff > 0 or not self.neighbors > 0:
            raise InputError("model: cutoff and neighbors must be positive")
        if not 0.2 <= self.smearing <= 5.0:
            raise InputError(f"model: smearing = {self.smearing} Å must be between 0.2 and 5; 1 is usual")
        for name, allowed in (("architecture", ("local", "message-passing")), ("dtype", ("float32", "float64"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"model: {name} = {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        self.pair_cutoffs()
        for pair, radius in self.cores.items():
            self._indices("cores", pair)
            if not 0 < radius <= self.cutoff:
                raise InputError(f"model: cores '{pair}' = {radius} must be positive and at most cutoff = {self.cutoff}")

    def _indices(self, table, pair):
        """Species of a key 'A-B' of `cutoffs` or `cores`."""
        names = pair.split("-")
        if len(names) != 2 or any(n not in self.species for n in names):
            raise InputError(f"model: {table} has the key '{pair}'; write it as 'A-B' with species of {self.species}")
        return map(self.species.index, names)

    def pair_cutoffs(self) -> np.ndarray:
        """(species, species) Å, [centre, neighbour]."""
        table = np.full((len(self.species), len(self.species)), float(self.cutoff))
        for pair, value in self.cutoffs.items():
            i, j = self._indices("cutoffs", pair)
            if not 0 < value <= self.cutoff:
                raise InputError(f"model: cutoffs '{pair}' = {value} must be positive and at most cutoff = {self.cutoff}")
            table[i, j] = value
            if f"{self.species[j]}-{self.species[i]}" not in self.cutoffs:
                table[j, i] = value
        return table

    def identity(self) -> str:
        """Hash of everything that fixes the shape of the computation."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def from_dict(table: dict, where: str = "model") -> Description:
    """A description from a TOML table; unknown keys are refused by name."""
    known = [f.name for f in fields(Description)]
    if not isinstance(table, dict):
        raise InputError(f"{where}: model = {table!r} must be a table of {', '.join(known)}")
    for key in table:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{nearest(key, known)}; known: {', '.join(known)}")
    return Description(**table)


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {_toml(v)}' for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)


def write(folder: Path, description: Description, about: dict):
    """model.toml: format, description, and `about` (units, versions, where from), with a digest of them all."""
    lines = [f"format = {FORMAT}", "", "[model]"]
    lines += [f"{key} = {_toml(value)}" for key, value in asdict(description).items()]
    lines += ["", "[about]"] + [f"{key} = {_toml(value)}" for key, value in about.items()]
    text = "\n".join(lines) + "\n"
    replace_text(Path(folder, "model.toml"), f'{text}description = "{_digest(tomllib.loads(text))}"\n')


def _digest(table: dict) -> str:
    """Of what model.toml says, whatever its layout; without the digests themselves."""
    about = {key: value for key, value in table.get("about", {}).items() if key not in DIGESTS}
    return digest(json.dumps({**table, "about": about}, sort_keys=True, default=str).encode())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def read(folder: Path) -> tuple[Description, dict]:
    """The description, and what the folder says about itself."""
    path = Path(folder, "model.toml")
    if not path.is_file():
        raise InputError(f"{folder} is no trained model: it has no model.toml")
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: {error}") from None
    if table.get("format") != FORMAT:
        raise InputError(f"{path}: format {table.get('format')!r}, this version reads {FORMAT}")
    d, about = from_dict(table.get("model", {}), str(path)), table.get("about", {})
    if not isinstance(about, dict):
        raise InputError(f"{path}: about = {about!r} must be a table")
    if about.get("description", _digest(table)) != _digest(table):
        raise InputError(f"{path} was edited after the model was made; undo that, or, if it was meant, take the line "
                         "`description = ...` out of [about]")
    return d, about


def read_weights(folder: Path, expected: str | None = None) -> dict[str, np.ndarray]:
    """name -> array; a truncated or foreign file, or one of another digest than `expected`, is one clear line."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(folder, "weights.safetensors")
    if not path.is_file():
        raise InputError(f"{folder} has no weights.safetensors")
    try:
        content = path.read_bytes()
        weights = load(content)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); was it truncated?") from None
    if expected not in (None, digest(content)):
        raise InputError(f"{path} is not the file that model.toml was written with: it is another model's, or was changed; put "
                         "the right one there, or, if it was meant, take the line `weights = ...` out of [about] in model.toml")
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: '{name}' contains NaN or infinity")
    return weights
