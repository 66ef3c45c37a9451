"""Labelled frames from extended XYZ and everything else that ASE reads, whatever their authors called the labels.

Inside: positions and cell in Å, energy in eV, forces in eV/Å, stress in eV/Å³, tension positive (ASE's sign).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
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
WEIGHTS = {"frame": ("config_weight", "REF_weight"), **{label: (f"config_{label}_weight", f"{label}_weight")
                                                        for label in ("energy", "forces", "stress")}}
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


@dataclass
class Source:
    """Which files, what their labels are called, and in what units.

    files : paths (anything that ASE reads); frames : an ASE slice such as ":" or "::10"; energy, forces, stress, virial :
    names of the labels, found from the common ones if not given ("" for none); energy_unit : "eV", "kcal/mol",
    "kJ/mol", "Hartree", "Ry", "meV"; length_unit : "Å", "Bohr", "nm"; stress_sign : 1 where tension is positive (ASE),
    −1 where pressure is; stress_unit : "eV/Å³", "GPa", "kbar", "bar"; stress_order : of six components; weight : name
    of a frame's weight in the loss (found as config_weight if not given, times config_energy_weight and so on; "" for none)
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
    return energy, length, stress[source.stress_unit] * source.stress_sign


def _found(atoms):
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
    present = [name for name in DIALECTS[label] if name in found]
    distinct = [n for k, n in enumerate(present) if not any(_same(found[n], found[m]) for m in present[:k])]
    if len(distinct) > 1:
        raise InputError(f"{where}: {label} may be any of {', '.join(distinct)}, which differ; name one with {label} = ...")
    return distinct[0] if distinct else None


def _weights(source, found, where):
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
    whole = value((source.weight,) if source.weight is not None else WEIGHTS["frame"])
    weights = {label: whole * value(WEIGHTS[label]) for label in ("energy", "forces", "stress")}
    return {label: w for label, w in weights.items() if w != 1.0}


def _same(a, b):
    return np.shape(a) == np.shape(b) and np.array_equal(np.asarray(a), np.asarray(b))


def _tensor(value, order, where):
    value = np.asarray(value, float)
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
    nothing = True
    for path in source.files:
        if not Path(path).is_file():
            raise InputError(f"data: the file {path} does not exist")
        for number, atoms in enumerate(_images(path, source.frames)):
            nothing = False
            yield _frame(source, atoms, f"{Path(path).name}, frame {number}")
    if nothing:
        raise InputError(f"data: no frames in {', '.join(source.files)}")


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


def _frame(source, atoms, where):
    energy_factor, length, stress_factor = _factors(source)
    found = _found(atoms)
    name = {label: _choose(label, getattr(source, label), found, where) for label in DIALECTS}
    forces = None
    if name["forces"]:
        forces = np.asarray(found[name["forces"]], float)
        if forces.shape != (len(atoms), 3):
            raise InputError(f"{where}: '{name['forces']}' has shape {forces.shape}, forces of {len(atoms)} atoms "
                             f"are ({len(atoms)}, 3)")
        forces = forces * (energy_factor / length)
    cell = np.array(atoms.cell) * length
    frame = Frame(np.array(atoms.get_chemical_symbols()), atoms.positions * length, cell,
                  np.array(atoms.pbc, bool), None, forces, None, where,
                  {k: v for k, v in found.items() if np.ndim(v) == 0}, _weights(source, found, where))
    if name["energy"]:
        frame.energy = float(found[name["energy"]]) * energy_factor
    if name["virial"] and not source.stress and frame.periodic.all():  # W = −dE/dε, stress = −W/V
        virial = _tensor(found[name["virial"]], source.stress_order, where)  # ASE derives a stress from it, too
        frame.stress = -virial * energy_factor / frame.volume
    elif name["stress"] and frame.periodic.all():
        frame.stress = _tensor(found[name["stress"]], source.stress_order, where) * stress_factor
    return frame
