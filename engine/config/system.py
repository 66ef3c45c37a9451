"""The [system] table into a State."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.symbols import string2symbols

from engine.build import check_cell, state_from_atoms, thermalise
from engine.config.input import System
from engine.config.ramp import Ramp
from engine.config.topology import add_topology
from engine.errors import InputError, nearest, shown
from engine.memory import refuse_atoms


def build_state(system: System, seed: int):
    images = _read(system) if system.structure else [_crystal(system.crystal)]
    try:
        state = _state(system, images)
    except InputError as error:
        raise InputError(f"{f'system.structure: {shown(system.structure)}' if system.structure else 'system'}: {error}") from None
    for table, name in ((system.masses, "masses"), (system.charges, "charges")):
        for species, value in table.items():
            _known(species, state, f"system.{name}")
            if name == "masses" and value <= 0:
                raise InputError(f"system.masses.{species} = {value}: masses must be positive")
            getattr(state, name)[: state.n][state.species[: state.n] == state.species_names.index(species)] = value
    numbers = np.concatenate([np.tile(np.arange(len(atoms)), int(np.prod(system.replicate))) for atoms in images * system.copies])
    for name, group in system.groups.items():
        _add_group(state, name, group, numbers)
    for fixed in system.fixed:
        rows = state.group(fixed.group)
        state.free[np.ix_(rows, ["xyz".index(c) for c in fixed.components])] = 0.0
        state.constrained = True
    if system.velocities is not None:
        target = np.asarray(Ramp.of(system.velocities.temperature).at(0.0), float)
        if (target < 0).any():
            raise InputError(f"system.velocities.temperature = {target}: must not be negative")
        if target.ndim and len(target) != state.n_systems:
            raise InputError(f"system.velocities.temperature has {len(target)} systems; there are {state.n_systems}")
        thermalise(state, target, seed, system.velocities.exact)
    return state


def _state(system, images):
    for atoms in images:
        if system.periodic is not None:
            atoms.pbc = system.periodic
        if max(system.replicate) > 1 and len(atoms):
            check_cell(atoms)
            for d in range(3):
                if system.replicate[d] > 1 and not atoms.cell[d].any():
                    raise InputError(f"system.replicate = {list(system.replicate)}: direction {'abc'[d]} has no cell vector")
    refuse_atoms(sum(len(atoms) for atoms in images) * int(np.prod(system.replicate, dtype=object)) * system.copies)
    repeated = [atoms.repeat(system.replicate) if len(atoms) else atoms for atoms in images]
    state = state_from_atoms(repeated * system.copies)
    add_topology(system, images, state)
    return state


def _read(system):
    import ase.io
    from ase.io.formats import UnknownFileTypeError, ioformats

    path = Path(system.structure)
    where = f"system.structure: {shown(path)}"
    if not path.exists():
        raise InputError(f"{where} does not exist")
    if path.is_dir():
        raise InputError(f"{where} is a folder; name a file that ASE reads")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = ase.io.read(path, index=system.frames, format=system.format, **system.format_options)
    except UnknownFileTypeError:
        if system.format is not None:
            raise InputError(f"system.format = '{system.format}': ASE has no such format"
                             f"{nearest(system.format, ioformats)}") from None
        raise InputError(f"{where} is empty or of no format that ASE knows") from None
    except (StopIteration, IndexError):
        raise InputError(f"{where} has no frame {system.frames}, or none at all") from None
    except KeyError as error:
        raise InputError(f"{where} cannot be read as a structure: it has no {error}, or that is no element") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} cannot be read as a structure: {reason[:200]}") from None
    images = images if isinstance(images, list) else [images]
    if not images:
        raise InputError(f"{where} has no frame {system.frames}, or none at all")
    return images


# Where the atoms of a cubic cell stand: the corners of its Bravais lattice, and the basis at each of them (one species each,
# the same one where the formula has one).
CORNERS = {
    "sc": [(0, 0, 0)],
    "bcc": [(0, 0, 0), (0.5, 0.5, 0.5)],
    "fcc": [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
}
CUBIC = {
    **{lattice: (lattice, 1, [(0, 0, 0)]) for lattice in CORNERS},
    "diamond": ("fcc", 1, [(0, 0, 0), (0.25, 0.25, 0.25)]),
    "zincblende": ("fcc", 2, [(0, 0, 0), (0.25, 0.25, 0.25)]),
    "rocksalt": ("fcc", 2, [(0, 0, 0), (0.5, 0, 0)]),
    "cesiumchloride": ("sc", 2, [(0, 0, 0), (0.5, 0.5, 0.5)]),
    "fluorite": ("fcc", 3, [(0, 0, 0), (0.25, 0.25, 0.25), (0.75, 0.75, 0.75)]),
}


def _crystal(crystal):
    """ASE Atoms as ``ase.build.bulk`` makes them. Cubic cells are put together here, because importing ``ase.build``,
    and with it half of SciPy, would take a third of the time from `engine run` to step 1."""
    try:
        symbols = string2symbols(crystal.species)
    except (ValueError, KeyError):
        raise InputError(f"system.crystal.species = '{crystal.species}': must be a chemical symbol or formula, such as "
                         "'Cu' or 'NaCl'") from None
    try:
        if crystal.cubic and len(symbols) == CUBIC.get(crystal.structure, (None, 0))[1]:
            lattice, species, basis = CUBIC[crystal.structure]
            corners = np.array(CORNERS[lattice])
            places = (corners[:, None] + np.array(basis)).reshape(-1, 3) % 1.0
            symbols = (symbols * (len(basis) // species)) * len(corners)
            return Atoms(symbols, scaled_positions=places, cell=[crystal.a] * 3, pbc=True)
        from ase.build import bulk

        cubic = crystal.cubic and crystal.structure in CUBIC
        return bulk(crystal.species, crystal.structure, a=crystal.a, c=crystal.c, cubic=cubic)
    except Exception as error:
        reason = f"'{error.args[0]}' is no element" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise InputError(f"system.crystal cannot be built: {reason}") from None


def _known(species, state, where):
    if species not in state.species_names:
        names = state.species_names
        raise InputError(f"{where}: no atom is '{species}'{nearest(species, names)}; there are: {', '.join(names)}")


def _add_group(state, name, group, numbers):
    """numbers (n,): the number of each atom in the structure as it was read"""
    if name in state.group_names:
        raise InputError(f"system.groups: '{name}' is given twice or reserved")
    if len(state.group_names) == 32:
        raise InputError("system.groups: there can be 31 groups at most")
    mask = np.ones(state.n, bool)
    if group.species is not None:
        wanted = [group.species] if isinstance(group.species, str) else group.species
        for species in wanted:
            _known(species, state, f"system.groups.{name}.species")
        mask &= np.isin(state.species[: state.n], [state.species_names.index(s) for s in wanted])
    if group.index is not None:
        bad = [k for k in group.index if not 0 <= k <= numbers.max()]
        if bad:
            raise InputError(f"system.groups.{name}.index: there is no atom {bad[0]}; indices run from 0 to {numbers.max()}")
        mask &= np.isin(numbers, group.index)
    for axis, (low, high) in (group.region or {}).items():
        x = state.positions[: state.n, "xyz".index(axis)]
        mask &= (x >= low) & (x < high)
    if not mask.any():
        raise InputError(f"system.groups.{name}: no atom belongs to it")
    state.groups[mask] |= np.uint32(1 << len(state.group_names))
    state.group_names.append(name)
