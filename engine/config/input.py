"""The input file: its tables as pydantic models, read and checked before anything is allocated."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from engine.config.plugins import describe
from engine.config.quantities import Charge, InputFile, Length, Mass, Temperature, WallTime
from engine.config.ramp import ramped
from engine.errors import InputError, nearest


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given):
        """pydantic would take true for 1: a frame at every step from `trajectory = true`."""
        for key, value in given.items() if isinstance(given, dict) else ():
            field = cls.model_fields.get(key)
            if value is True and field is not None and int in _plain(field.annotation) and bool not in _plain(field.annotation):
                raise ValueError(f"{key} = true: must be a whole number")
        return given


def _plain(annotation):
    """The types that an annotation is made of, one level of unions and of Annotated down."""
    parts = get_args(annotation)
    return {annotation, *parts, *(t for part in parts for t in get_args(part) if isinstance(t, type))}


class Crystal(Table):
    """A crystal built by ASE: fcc, bcc, sc, hcp, diamond, zincblende, rocksalt, cesiumchloride, fluorite, wurtzite."""

    structure: Literal["fcc", "bcc", "sc", "hcp", "diamond", "zincblende", "rocksalt", "cesiumchloride", "fluorite", "wurtzite"]
    species: str = Field(description="chemical symbol, or formula such as NaCl for structures of two species")
    a: Length = Field(gt=0, description="lattice constant, Å")
    c: Length | None = Field(None, gt=0)
    cubic: bool = True


class Velocities(Table):
    temperature: ramped(Temperature)  # type: ignore[valid-type]
    exact: bool = Field(True, description="scale each system to have that temperature exactly")


class Group(Table):
    """Atoms by species, by index (of the structure as it is read, from 0; each replica and each system has the same) or by
    region; those named are intersected."""

    species: list[str] | str | None = None
    index: list[int] | None = None
    region: dict[Literal["x", "y", "z"], tuple[float, float]] | None = Field(
        None, description="Cartesian bounds in Å, such as { z = [0, 5] }"
    )

    @model_validator(mode="after")
    def _something(self):
        if self.species is None and self.index is None and not self.region:
            raise ValueError("names no atoms; it takes species, index and region")
        for axis, (low, high) in (self.region or {}).items():
            if not low < high:
                raise ValueError(f"region.{axis} = [{low:g}, {high:g}]: must be two numbers, the smaller one first")
        return self


class Fixed(Table):
    group: str
    components: Literal["x", "y", "z", "xy", "xz", "yz", "xyz"] = "xyz"


class Bonds(Table):
    """Which atoms are bonded: for molecules and exclusions only, nothing acts along a bond."""

    source: Literal["distance", "structure"] = Field("distance", description="by distance, or what the structure file names")
    scale: float = Field(1.2, gt=0, le=3, description="bonded if closer than this times the sum of the covalent radii")
    lengths: dict[str, Length] = Field({}, description='Å instead of that for pairs of species, as in { "O-H" = 1.2 }; 0: never')

    @model_validator(mode="after")
    def _of_the_structure(self):
        if self.source == "structure" and self.model_fields_set & {"scale", "lengths"}:
            raise ValueError("bonds with source = 'structure' are those of the file: leave out scale and lengths")
        return self


class Exclusions(Table):
    """Pairs that no list holds and no potential sees (Coulomb sums take them out); what several keys name adds up."""

    molecules: bool = Field(False, description="all pairs inside a molecule")
    bonds: int | None = Field(None, ge=1, le=12, description="pairs up to so many bonds apart: 3 is 1-2, 1-3 and 1-4 neighbors")
    pairs: list[tuple[int, int]] = Field([], description="numbers of atoms in the structure as it is read, from 0")
    file: InputFile | None = Field(None, description="such pairs in a text file, two numbers a line")

    @model_validator(mode="after")
    def _something(self):
        if not (self.molecules or self.bonds or self.pairs or self.file):
            raise ValueError("names no pairs; it takes molecules = true, bonds, pairs and file")
        return self


class System(Table):
    structure: InputFile | None = Field(None, description="any file that ASE reads")
    format: str | None = Field(None, description="ASE's name of its format, where the file does not tell, as for 'lammps-data'")
    format_options: dict[str, Any] = Field({}, description="what else ASE's reader takes, such as { units = 'real' }")
    frames: str = Field("-1", description="which frames of the file, as in ASE (':' for all, each one system)")
    crystal: Crystal | None = None
    replicate: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    copies: PositiveInt = Field(1, description="systems that start from the same structure")
    periodic: tuple[bool, bool, bool] | None = None
    velocities: Velocities | None = None
    masses: dict[str, Mass] = {}
    charges: dict[str, Charge] = {}
    groups: dict[str, Group] = {}
    fixed: list[Fixed] = []
    bonds: Bonds = Bonds()
    molecules: str | None = Field(None, description="\"bonds\", or the column of the structure file that numbers them")
    exclusions: Exclusions | None = None

    @field_validator("frames")
    @classmethod
    def _slice(cls, value):
        if not re.fullmatch(r"-?\d+|(-?\d+)?:(-?\d+)?(:(-?\d+)?)?", value):
            raise ValueError("must be an index or a slice, such as '-1', ':' or '0:10:2'")
        return value

    @model_validator(mode="after")
    def _one_source(self):
        if (self.structure is None) == (self.crystal is None):
            raise ValueError("needs exactly one of 'structure' and 'crystal'")
        if self.structure is None and (self.format or self.format_options):
            raise ValueError("has a format but no structure file")
        if self.exclusions is not None and self.exclusions.molecules and self.molecules is None:
            raise ValueError("exclusions.molecules needs molecules = \"bonds\" or the name of a column")
        return self


class OutputTable(Table):
    file: str = Field("run.h5md", description="the trajectory: .h5md, or .xyz/.extxyz for extended XYZ")
    thermo: PositiveInt = Field(100, description="steps between rows of the thermo table")
    trajectory: PositiveInt | Literal[False] = Field(1000, description="steps between frames; none with trajectory = false")
    checkpoint: PositiveInt = Field(5000, description="steps between checkpoints; the last two are kept")
    columns: list[str] | None = Field(None, description="columns of the thermo table")
    fields: list[Literal["velocities", "forces", "images"]] = ["velocities", "images"]

    @field_validator("file")
    @classmethod
    def _suffix(cls, value):
        if Path(value).suffix not in (".h5md", ".h5", ".xyz", ".extxyz"):
            raise ValueError("must end in .h5md, .h5, .xyz or .extxyz")
        return value


class RunTable(Table):
    seed: int = Field(0, ge=0, lt=2**63)
    threads: PositiveInt | None = Field(None, le=1024, description="threads of each rank; by default its share of the cores")
    precision: Literal["double", "mixed"] = "double"
    device: Literal["cpu"] = Field("cpu", description="of the engine's kernels; a learned potential names a GPU in its own table")
    max_time: WallTime | None = Field(None, description="hours:minutes:seconds")
    skin: Annotated[Length, Field(ge=0)] | Literal["auto"] | None = Field(
        None, description="Å beyond the cutoff that lists reach, or \"auto\": chosen while running, from counted work")
    tune: Literal["counted", "clock"] = "counted"


class Input(Table):
    """The whole file. `stage`, `potential`, `field`, `updater` and `hook` tables belong to plugins."""

    system: System | None = None
    potential: dict[str, Any] | None = None
    potentials: dict[str, dict[str, Any]] = {}
    stage: list[dict[str, Any]] = Field(min_length=1)
    field: list[dict[str, Any]] = []
    updater: list[dict[str, Any]] = []
    hook: list[dict[str, Any]] = []
    output: OutputTable = OutputTable()
    run: RunTable = RunTable()

    @model_validator(mode="after")
    def _potential_or_potentials(self):
        if self.potential is not None and self.potentials:
            raise ValueError("has both [potential] and [potentials.NAME]; give one of the two")
        return self

    def named_potentials(self):
        return {"potential": self.potential} if self.potential is not None else self.potentials


def read(path) -> tuple[Input, dict]:
    """The checked input and the raw tables. Raises InputError in one line for anything that is wrong."""
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a byte order mark
    except FileNotFoundError:
        raise InputError(f"input file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"input file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"input file {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise InputError(f"input file {path} nests arrays or tables too deeply to be read") from None
    return parse(raw, path.parent, str(path)), raw


def parse(raw, folder=".", name="input") -> Input:
    if "\\u0000" in json.dumps(raw, default=str):
        raise InputError(f"{name}: a name or a text holds the character NUL, which no file of a run can hold")
    try:
        return Input.model_validate(raw, context={"folder": str(folder)})
    except ValidationError as error:
        unknown = next((e for e in error.errors() if e["type"] == "extra_forbidden"), None)
        if unknown is not None:  # first, as a misspelt key is often a missing one too
            raise InputError(_unknown(unknown, name)) from None
        raise InputError(f"{name}: {describe(error, '')}") from None


def _unknown(problem, name):
    """Which key is unknown, in which table, and which one was probably meant."""
    *tables, key = problem["loc"]
    model: Any = Input
    for part in tables:
        field = model.model_fields.get(part) if isinstance(model, type) else None
        model = next((t for t in _models(field.annotation)), Table) if field is not None else model
    known = list(model.model_fields) if isinstance(model, type) else []
    table = ".".join(str(t) for t in tables)
    return f"{name}: [{table or 'top level'}] has no key '{key}'{nearest(key, known)}; it takes: {', '.join(known)}"


def _models(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
