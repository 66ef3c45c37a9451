"""Embedded-atom potentials from files: setfl (``eam/alloy``), Finnis–Sinclair (``eam/fs``) and funcfl (``eam/funcfl``)."""

from dataclasses import dataclass

from ase.data import atomic_numbers

from engine.config.quantities import InputFile
from engine.errors import InputError, nearest
from potentials.eam.eam import EmbeddedAtom
from potentials.eam.files import mix_funcfl, read_funcfl, read_setfl


@dataclass
class SetflEAM(EmbeddedAtom):
    """file : a setfl file (LAMMPS's eam/alloy), which names its elements."""

    file: InputFile
    label = "potential 'eam/alloy'"

    def tables(self, species_names):
        return read_setfl(self.file, self.label)


@dataclass
class FinnisSinclairEAM(EmbeddedAtom):
    """file : a setfl file whose densities depend on both elements (LAMMPS's eam/fs)."""

    file: InputFile
    label = "potential 'eam/fs'"

    def tables(self, species_names):
        return read_setfl(self.file, self.label, finnis_sinclair=True)


@dataclass
class FuncflEAM(EmbeddedAtom):
    """file : a funcfl file of one element, or { element = file } to be mixed."""

    file: InputFile | dict[str, InputFile]
    label = "potential 'eam/funcfl'"

    def tables(self, species_names):
        if not isinstance(self.file, dict):
            if len(species_names) > 1:
                raise InputError(f"{self.label}: {self.file} holds one element, but there are {', '.join(species_names)}; "
                                 "give file = { element = file, ... }")
            files = {species_names[0]: self.file}
        else:
            files = self.file
        for name in species_names:
            if name not in files:
                raise InputError(f"{self.label}: no file for '{name}'{nearest(name, files)}; there are: {', '.join(files)}")
        read = [read_funcfl(files[name], self.label) for name in species_names]
        for name, one in zip(species_names, read):
            if atomic_numbers.get(name) != one.atomic_number:
                raise InputError(f"{self.label}: {files[name]} is of atomic number {one.atomic_number}, which is not '{name}'")
        return mix_funcfl(species_names, read)
