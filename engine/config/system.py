"""The [system] table into a State."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from engine.build import state_from_atoms, thermalise
from engine.config.input import System
from engine.config.ramp import Ramp
from engine.errors import InputError, nearest


def build_state(system: System, seed: int):
    images = _read(system) if system.structure else [_crystal(system.crystal)]
    if system.periodic is not None:
        for atoms in images:
            atoms.pbc = system.periodic
    images = [atoms * system.replicate for atoms in images] * system.copies
    state = state_from_atoms(images)
    for table, name in ((system.masses, "masses"), (system.charges, "charges")):
        for species, value in table.items():
            _known(species, state, f"system.{name}")
            getattr(state, name)[: state.n][state.species[: state.n] == state.species_names.index(species)] = value
    if (state.masses <= 0).any():
        raise InputError("system.masses: masses must be positive")
    for name, group in system.groups.items():
        _add_group(state, name, group)
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


def _read(system):
    import ase.io

    path = Path(system.structure)
    if not path.exists():
        raise InputError(f"system.structure: the file {path} does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            images = ase.io.read(path, index=system.frames)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"system.structure: {path} cannot be read as a structure ({reason})") from None
    return images if isinstance(images, list) else [images]


def _crystal(crystal):
    from ase.build import bulk

    try:
        cubic = crystal.cubic and crystal.structure not in ("hcp", "wurtzite")
        return bulk(crystal.species, crystal.structure, a=crystal.a, c=crystal.c, cubic=cubic)
    except Exception as error:
        raise InputError(f"system.crystal cannot be built: {error}") from None


def _known(species, state, where):
    if species not in state.species_names:
        names = state.species_names
        raise InputError(f"{where}: no atom is '{species}'{nearest(species, names)}; there are: {', '.join(names)}")


def _add_group(state, name, group):
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
        bad = [k for k in group.index if not 0 <= k < state.n]
        if bad:
            raise InputError(f"system.groups.{name}.index: there is no atom {bad[0]}; indices run from 0 to {state.n - 1}")
        mask &= np.isin(np.arange(state.n), group.index)
    for axis, (low, high) in (group.region or {}).items():
        x = state.positions[: state.n, "xyz".index(axis)]
        mask &= (x >= low) & (x < high)
    state.groups[mask] |= np.uint32(1 << len(state.group_names))
    state.group_names.append(name)
