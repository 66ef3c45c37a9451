"""Relaxing many structures at once: every frame of every file is one system of a batch, on one kernel call a step."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ase.calculators.calculator import all_properties

from engine.errors import EngineError, InputError, one_line
from engine.output.file import writing
from plugins.equivariant.data.frames import DIALECTS

ATOMS = 20000  # in one batch
LABELS = {*all_properties, *(name for names in DIALECTS.values() for name in names)}


def _read(files):
    import ase.io

    out = []
    for path in files:
        if not Path(path).is_file():
            raise InputError(f"relax: the file {path} does not exist")
        try:
            images = ase.io.read(path, index=":")
        except Exception as error:
            raise InputError(f"relax: {path} cannot be read ({one_line(error)})") from None
        if not images:
            raise InputError(f"relax: {path} holds no structures")
        out += [(f"{path}:{k}", atoms) for k, atoms in enumerate(images)]
    return out


def _batches(structures):
    """Structures that may share a batch: the same open directions, and not too many atoms together."""
    groups = {}
    for structure in structures:
        groups.setdefault(tuple(structure[1].pbc), []).append(structure)
    for group in groups.values():
        batch, count = [], 0
        for structure in group:
            if batch and count + len(structure[1]) > ATOMS:
                yield batch
                batch, count = [], 0
            batch.append(structure)
            count += len(structure[1])
        yield batch


def relax_files(files, model, output, force=0.01, cell=None, steps=500, overwrite=False):
    """Relax all frames of `files` with a model folder; yields a line for each structure as its batch ends.

    Batches go into a file beside `output`, in the order in which they end, which is renamed at the end. A structure that
    cannot be relaxed has a line that says why; the others go on, and an InputError at the end counts such structures.
    """
    from ase.io import write

    from plugins.equivariant.potential import Equivariant

    output = Path(output)
    part = output.with_name(f"{output.stem}.part{output.suffix}")
    for path in (output, part):
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists; name another file with --output, or say --overwrite")
    if cell not in (None, "isotropic", "anisotropic", "flexible"):
        raise InputError(f"relax: cell = '{cell}'; allowed: isotropic, anisotropic, flexible")
    if not force > 0:
        raise InputError(f"relax: force = {force} must be positive (eV/Å)")
    structures = _read(files)
    potential = Equivariant(model)
    potential.bind(potential.description.species)  # what is wrong with the model is no structure's fault
    try:
        part.write_bytes(b"")
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from None
    failed = 0
    for batch in _batches(structures):
        found = _relaxed(batch, potential, force, cell, steps)
        images = [atoms for atoms, _ in found if atoms is not None]
        failed += len(found) - len(images)
        if images:
            with writing(part):
                write(part, images, format="extxyz", append=True)
        yield from (line for _, line in found)
    if failed == len(structures):
        part.unlink()
        raise InputError(f"relax: all structures failed, as their lines say; {output} is not written")
    os.replace(part, output)
    if failed:
        raise InputError(f"relax: {failed} of {len(structures)} structures failed, as their lines say; the others are in "
                         f"{output}")


def _relaxed(structures, potential, force, cell, steps):
    """[(Atoms, line), ...] of a batch. Where it fails, its halves do, until what made it fail is alone: (None, line)."""
    try:
        return _batch(structures, potential, force, cell, steps)
    except EngineError as error:
        if len(structures) == 1:
            return [(None, f"{structures[0][0]}: failed: {error}")]
        half = len(structures) // 2
        return [x for part in (structures[:half], structures[half:]) for x in _relaxed(part, potential, force, cell, steps)]


def _batch(structures, potential, force, cell, steps):
    from ase.calculators.singlepoint import SinglePointCalculator

    from engine.simulation import Simulation
    from integrators.lbfgs import LBFGS

    sim = Simulation.from_atoms([atoms for _, atoms in structures], potential, LBFGS(force, cell))
    with np.errstate(invalid="ignore"):  # forces that are no numbers are an error below
        taken = sim.run(steps)
    left, stress = sim.integrator.residuals(sim)
    images = sim.atoms(forces=False)
    images = images if isinstance(images, list) else [images]
    total = sim.potential_energy()
    virial = sim.quantity("virial") if cell else None
    forces, state = sim.forces.total("forces"), sim.state
    order, out = np.argsort(state.tags[:state.n]), []
    for s, ((name, given), found) in enumerate(zip(structures, images, strict=True)):
        mine = order[state.system[:state.n][order] == s]
        atoms = given.copy()  # with its constraints, tags and whatever else it carries, but labels of where it was
        for held in (atoms.info, atoms.arrays):
            for label in LABELS & set(held):
                del held[label]
        atoms.set_cell(np.where(given.cell.any(1)[:, None], found.cell[:], 0.0))
        atoms.set_positions(found.positions, apply_constraint=False)
        more = {} if cell is None else {"stress": -virial[s] / atoms.get_volume()}
        atoms.calc = SinglePointCalculator(atoms, energy=float(total[s]), forces=forces[mine], **more)
        done = left[s] < force and (cell is None or stress[s] < sim.integrator.stress)
        atoms.info.update(source=name, converged=bool(done))
        out.append((atoms, f"{name}: {len(atoms)} atoms, {total[s]:.6f} eV, largest force {left[s]:.2g} eV/Å, "
                    + (f"converged in at most {taken} steps" if done else f"not converged in {taken} steps")))
    return out
