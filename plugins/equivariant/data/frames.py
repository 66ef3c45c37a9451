"""Labelled frames from extended XYZ and everything else that ASE reads, whatever their authors called the labels.

Inside: positions and cell in Å, energy in eV, forces in eV/Å, stress in eV/Å³, tension positive (ASE's sign).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from engine.config.quantities import InputFile
from engine.errors import InputError

DIALECTS = {  # names that people give to labels, the commonest first
    "energy": ("energy", "REF_energy", "total_energy", "dft_energy", "DFT_energy", "Energy", "energy_ref", "E"),
    "forces": ("forces", "REF_forces", "force", "dft_forces", "dft_force", "DFT_forces", "Forces", "F"),
    "stress": ("stress", "REF_stress", "dft_stress", "DFT_stress", "virial_stress"),
    "virial": ("virial", "virials", "REF_virial", "REF_virials", "dft_virial"),
}
WEIGHTS = "config_weight", "REF_weight"  # names of a frame's
VOIGT = "xx yy zz yz xz xy"


@dataclass
class Frame:
    """One configuration; labels that the file does not have are None. `info` is what else the file says of it; `weights`
    of its squared errors by label, 1 where none is given."""

    symbols: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    source: str
    info: dict = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def volume(self):
        return float(abs(np.linalg.det(self.cell))) if self.periodic.all() else 0.0

    def place(self) -> bytes:
        """What the labels follow from, to 1e-6 Å."""
        return np.round(self.positions, 6).tobytes() + "".join(self.symbols).encode() + np.round(self.cell, 6).tobytes()


@dataclass
class Source:
    """Which files, what their labels are called, and in what units.

    files : paths (anything that ASE reads); frames : an ASE slice such as ":" or "::10"; energy, forces, stress, virial :
    names of the labels, found from the common ones if not given ("" for none); energy_unit : "eV", "kcal/mol",
    "kJ/mol", "Hartree", "Ry", "meV"; length_unit : "Å", "Bohr", "nm"; stress_unit : "eV/Å³", "GPa", "kbar", "bar";
    stress_sign : 1 where tension is positive in a stress (ASE) and pressure in a virial (−dE/dε), −1 where both are the other
    way round; stress_order : of six components as a file has them (not of those that ASE has put in its own order, as it
    does with 'stress'); of a stress and a virial that differ one must be named; weight : name of a frame's weight in the loss
    (found as config_weight if not given, times config_energy_weight and so on; "" for none)
    """

    files: list[InputFile]
    frames: str = ":"
    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    energy_unit: Literal["eV", "meV", "kcal/mol", "kJ/mol", "Hartree", "Ry"] = "eV"
    length_unit: Literal["Å", "Angstrom", "Bohr", "nm"] = "Å"
    stress_unit: Literal["eV/Å³", "eV/A^3", "GPa", "kbar", "bar"] = "eV/Å³"
    stress_sign: Literal[1, -1] = 1
    stress_order: str = VOIGT
    weight: str | None = None


def _factors(source):
    from ase import units

    energy = {"eV": 1.0, "meV": 1e-3, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol,
              "Hartree": units.Hartree, "Ry": units.Rydberg}[source.energy_unit]
    length = {"Å": 1.0, "Angstrom": 1.0, "Bohr": units.Bohr, "nm": 10.0}[source.length_unit]
    stress = {"eV/Å³": 1.0, "eV/A^3": 1.0, "GPa": units.GPa, "kbar": 0.1 * units.GPa, "bar": 1e-4 * units.GPa}
    return energy, length, stress[source.stress_unit]


def carried(atoms):
    """Everything that a frame carries by name: its info, arrays, and a calculator's results."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    return {**results, **atoms.info, **{k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}}


def _choose(label, given, found, where):
    """The name under which a label is stored: the given one, or the only known one that is there."""
    if given is not None:
        if given and given not in found:
            names = ", ".join(sorted(map(str, found))) or "nothing"
            raise InputError(f"{where}: no '{given}' for {label}; the frame has: {names}")
        return given or None
    present = [name for name in DIALECTS[label] if name in found and (name != "E" or np.size(found[name]) == 1)]  # or a field
    distinct = [n for k, n in enumerate(present) if not any(_same(found[n], found[m]) for m in present[:k])]
    if len(distinct) > 1:
        raise InputError(f"{where}: {label} may be any of {', '.join(distinct)}, which differ; name one with {label} = ...")
    return distinct[0] if distinct else None


def _weights(source, found, where, labels):
    """{label: weight} of a frame, from what it says of itself."""
    def value(names):
        name = next((n for n in names if n in found), None)
        if name is None:
            return 1.0
        try:
            weight = float(found[name])
        except (TypeError, ValueError):
            weight = float("nan")
        if not 0 <= weight < float("inf"):
            raise InputError(f"{where}: '{name}' = {found[name]} must be a weight: a number, 0 or more")
        return weight

    if source.weight == "":
        return {}
    if source.weight is not None and source.weight not in found:
        raise InputError(f"{where}: no '{source.weight}' for its weight; the frame has: {', '.join(sorted(map(str, found)))}")
    whole = value((source.weight,) if source.weight is not None else WEIGHTS)
    weights = {label: whole * value((f"config_{label}_weight", f"{label}_weight")) for label in labels}
    return {label: w for label, w in weights.items() if w != 1.0}


def _same(a, b):
    return np.shape(a) == np.shape(b) and np.array_equal(np.asarray(a), np.asarray(b))


def numbers(value, name, shape, where):
    """A label as an array of floats of that shape."""
    try:
        value = np.asarray(value, float)
    except (TypeError, ValueError):
        raise InputError(f"{where}: '{name}' = {str(value)[:30]!r} is not made of numbers; "
                         "leave such a label out of the frame") from None
    if value.shape != shape:
        raise InputError(f"{where}: '{name}' has shape {value.shape}, it must be {shape or 'one number'}")
    return value


def _tensor(value, order, where, name="stress"):
    value = numbers(value, name, np.shape(value), where)
    if value.size == 9:
        return value.reshape(3, 3)
    names = order.split()
    if value.size != 6 or sorted("".join(sorted(n)) for n in names) != sorted(VOIGT.split()):
        raise InputError(f"{where}: a stress of {value.size} numbers with stress_order = '{order}' cannot be understood")
    out = np.zeros((3, 3))
    for name, component in zip(names, value.ravel()):
        a, b = ("xyz".index(c) for c in name)
        out[a, b] = out[b, a] = component
    return out


def read(source: Source) -> list[Frame]:
    """All frames of a source, converted; labels are looked for in every frame by itself."""
    return list(stream(source))


def stream(source: Source) -> Iterator[Frame]:
    """The same one by one; a file is held in memory only where ASE knows no other way to read its format."""
    return (frame(source, atoms, where) for atoms, where in images(source))


def images(source: Source):
    """ASE Atoms as the files have them, one by one, and where each stands."""
    nothing = True
    for path in source.files:
        if not Path(path).is_file():
            raise InputError(f"data: the file {path} does not exist")
        for number, atoms in zip(_numbers(path, source.frames), _images(path, source.frames)):
            nothing = False
            yield atoms, f"{Path(path).name}, frame {number}"
    if nothing:
        raise InputError(f"data: no frames in {', '.join(source.files)}")


def _numbers(path, index) -> Iterable[int]:
    """Where the frames that ASE gives for `index` stand in their file."""
    try:
        parts = [int(part) if part else None for part in index.split(":")]
        wanted = slice(*parts) if len(parts) > 1 else slice(parts[0], parts[0] + 1 or None)
        if wanted.step == 0:
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"data: frames = '{index}' must be a number or a slice such as ':' or '::10'") from None
    start, step = wanted.start or 0, wanted.step or 1
    if min(start, wanted.stop or 0, step) >= 0:
        return count(start, step)
    return range(sum(1 for _ in _images(path, ":")))[wanted]  # counted from the end


def _images(path, index):
    import ase.io

    images = ase.io.iread(path, index=index, parallel=False)
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                atoms = next(images, None)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise InputError(f"data: {path} cannot be read ({type(error).__name__}: {reason})") from None
        if atoms is None:
            return
        yield atoms


def frame(source: Source, atoms, where: str, weighed=("energy", "forces", "stress")) -> Frame:
    """Atoms with their labels converted; weighed : labels that a frame may have weights for."""
    energy_factor, length, _ = _factors(source)
    found = carried(atoms)
    name = {label: _choose(label, getattr(source, label), found, where) for label in DIALECTS}
    made = Frame(np.array(atoms.get_chemical_symbols()), atoms.positions * length, np.array(atoms.cell) * length,
                  np.array(atoms.pbc, bool), None, None, None, where,
                 {k: v for k, v in found.items() if np.ndim(v) == 0}, _weights(source, found, where, weighed))
    if name["energy"]:
        made.energy = float(numbers(np.squeeze(found[name["energy"]]), name["energy"], (), where)) * energy_factor
    if name["forces"]:
        made.forces = numbers(found[name["forces"]], name["forces"], (len(atoms), 3), where) * (energy_factor / length)
    if made.periodic.all():
        made.stress = _stress(source, atoms, found, name, made.volume, where)
    return made


def _stress(source, atoms, found, name, volume, where):
    """(3, 3) eV/Å³ from the stress, or from the virial W = −dE/dε = −V × stress."""
    energy_factor, _, stress_factor = _factors(source)

    def tensor(label):
        ordered = atoms.calc is not None and name[label] in atoms.calc.results  # by ASE
        return source.stress_sign * _tensor(found[name[label]], VOIGT if ordered else source.stress_order, where, name[label])

    both = {}
    if name["stress"]:
        both["stress"] = tensor("stress") * stress_factor
    if name["virial"]:
        if not volume > 0:
            raise InputError(f"{where}: a virial needs a cell with a volume")
        both["virial"] = -tensor("virial") * energy_factor / volume
    named = [label for label in both if getattr(source, label)]
    if len(both) == 2 and len(named) != 1:
        a, b = both.values()
        if not np.allclose(a, b, rtol=0, atol=1e-3 * np.abs(a).max() + 1e-5):
            raise InputError(f"{where}: '{name['stress']}' and '{name['virial']}' are not the same stress (largest component "
                             f"{np.abs(a).max():.4g} and {np.abs(b).max():.4g} eV/Å³); set units or stress_sign, or name one "
                             "alone with stress = ... or virial = ...")
    return next((both[label] for label in (*named, "virial", "stress") if label in both), None)
