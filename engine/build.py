"""A State from ASE Atoms or from the [system] table, and back."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine import cell as cells_
from engine import random, units
from engine.errors import InputError
from engine.state import State

FAR = 1e9  # Å; images are counted in 32 bits, and positions would lose their digits


def state_from_atoms(atoms, species_names=None):
    """State of one ASE Atoms, or of a list of them (one system each).

    Species are chemical symbols, masses and initial charges ASE's; velocities are taken over; constraints
    ``FixAtoms`` and ``FixCartesian`` become fixed components. Open directions without a cell vector get one that
    spans the atoms. Raises InputError for an empty structure, atoms of different periodicity, and other constraints.
    """
    images = [atoms] if hasattr(atoms, "get_positions") else list(atoms)
    if not images or any(len(a) == 0 for a in images):
        raise InputError("the structure has no atoms")
    periodic = np.array(images[0].pbc, bool)
    if any((a.pbc != periodic).any() for a in images):
        raise InputError("the systems differ in which directions are periodic; they must agree")
    symbols = [s for a in images for s in a.get_chemical_symbols()]
    names = list(species_names) if species_names else sorted(set(symbols))
    unknown = set(symbols) - set(names)
    if unknown:
        raise InputError(f"species {', '.join(sorted(unknown))} are not among {', '.join(names)}")
    state = State(len(symbols), np.zeros((len(images), 3, 3)), periodic, names)
    first = 0
    for s, a in enumerate(images):
        rows = slice(first, first + len(a))
        check_cell(a)
        missing = ~periodic & (np.linalg.norm(a.cell[:], axis=1) < 1e-8)
        state.open_vectors |= missing
        state.cells[s], state.origin[s] = cells_.complete(np.where(missing[:, None], 0, a.cell[:]), periodic, a.positions) \
            if missing.any() else (a.cell[:], np.zeros(3))
        state.positions[rows] = a.positions
        state.masses[rows] = a.get_masses()
        state.charges[rows] = a.get_initial_charges()
        if a.has("momenta"):
            state.velocities[rows] = a.get_velocities()
        state.system[rows] = s
        state.free[rows] = _free_components(a)
        first += len(a)
    state.species[:] = [names.index(s) for s in symbols]
    state.tags[:] = np.arange(len(symbols))
    state.groups[:] = 1
    state.constrained = bool((state.free == 0).any())
    state.velocities[:] *= state.free
    if not np.isfinite(state.positions).all():
        bad = int(np.flatnonzero(~np.isfinite(state.positions).all(1))[0])
        raise InputError(f"the position of atom {bad} of the structure is not a number")
    if np.abs(state.positions).max(initial=0.0) > FAR:
        bad = int(np.abs(state.positions).max(1).argmax())
        raise InputError(f"the position of atom {bad} of the structure is {state.positions[bad]} Å; {FAR:g} Å is the farthest")
    if (state.masses <= 0).any():
        raise InputError(f"atom {int(np.argmin(state.masses))} has mass {state.masses.min()}; masses must be positive")
    return state


def check_cell(atoms):
    """Refuse a periodic direction without a cell vector, and vectors that span no volume."""
    if not np.isfinite(atoms.cell[:]).all():
        raise InputError("the cell has a vector that is not a number")
    if np.abs(atoms.cell[:]).max() > FAR:
        raise InputError(f"the cell has a vector of {np.abs(atoms.cell[:]).max():.3g} Å; {FAR:g} Å is the longest")
    lengths = np.linalg.norm(atoms.cell[:], axis=1)
    for name, length in zip("abc", lengths * np.asarray(atoms.pbc), strict=True):
        if atoms.pbc["abc".index(name)] and length < 1e-8:
            raise InputError(f"the structure says that direction {name} is periodic but gives no cell vector for it")
    given = atoms.cell[:][lengths >= 1e-8]
    unit = given / np.linalg.norm(given, axis=1)[:, None]
    if len(given) and np.linalg.svd(unit, compute_uv=False).min() < 1e-6:
        raise InputError("the cell vectors lie in a plane or on a line: they span no volume")


def _free_components(atoms):
    free = np.ones((len(atoms), 3))
    if not atoms.constraints:
        return free
    from ase.constraints import FixAtoms, FixCartesian  # only where there are some: it brings SciPy along

    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = 0.0
        elif isinstance(constraint, FixCartesian):
            free[np.ix_(np.atleast_1d(constraint.index), np.flatnonzero(constraint.mask))] = 0.0
        else:
            raise InputError(f"the structure's constraint {type(constraint).__name__} is not supported (FixAtoms and "
                             "FixCartesian are)")
    return free


COLUMNS = ("tags", "system", "species", "positions", "velocities", "masses", "charges")


def atoms_from_state(state, unwrapped=False, rows=None, extra=()):
    """ASE Atoms in the order of tags (a list of them where S > 1); `unwrapped` follows atoms through boundaries.

    `rows` are the attributes of all atoms where they are spread over ranks; arrays of it named in `extra` are attached.
    """
    from ase import Atoms

    rows = rows or {name: getattr(state, name)[: state.n] for name in COLUMNS}
    if unwrapped:
        rows = {**rows, "positions": state.unwrapped()}
    order = np.argsort(rows["tags"], kind="stable")
    out = []
    for s in range(state.n_systems):
        mine = {name: values[order][rows["system"][order] == s] for name, values in rows.items()}
        cell = np.where(state.open_vectors[:, None], 0.0, state.cells[s])
        atoms = Atoms([state.species_names[k] for k in mine["species"]], positions=mine["positions"], cell=cell,
                      pbc=state.periodic, masses=mine["masses"], velocities=mine["velocities"])
        if mine["charges"].any():
            atoms.set_initial_charges(mine["charges"])
        for name in extra:
            atoms.set_array(name, mine[name])
        out.append(atoms)
    return out[0] if state.n_systems == 1 else out


@njit(cache=True)
def _gaussian(tags, system, masses, seed, kT, out):
    for i in range(out.shape[0]):
        g = random.normal4(seed, random.VELOCITIES, system[i], 0, 0, tags[i])
        width = np.sqrt(kT[system[i]] / masses[i])
        for d in range(3):
            out[i, d] = width * g[d]


def thermalise(state, temperature, seed, exact=True):
    """Maxwell–Boltzmann velocities at `temperature` K, (S,) or a number, without net momentum.

    With `exact` each system is scaled to have that temperature now. Draws hang on tags, so neither order nor ranks
    matter.
    """
    kT = np.broadcast_to(np.asarray(temperature, float) * units.kB, (state.n_systems,)).copy()
    v = np.empty((state.n, 3))
    _gaussian(state.tags[: state.n], state.system[: state.n], state.masses, int(seed), kT, v)
    v *= state.free
    if not state.constrained:
        momentum = state.sum_by_system(state.masses[:, None] * v)
        mass = state.sum_by_system(state.masses)
        v -= (momentum / mass[:, None])[state.system[: state.n]]
    if exact:
        kinetic = 0.5 * state.sum_by_system(state.masses * (v * v).sum(1))
        free = state.sum_by_system(state.free).sum(1) - (0 if state.constrained else 3)
        factor = np.sqrt(np.maximum(free, 1) * kT / np.where(kinetic > 0, 2 * kinetic, 1.0))
        v *= factor[state.system[: state.n]][:, None]
    state.velocities[:] = v
