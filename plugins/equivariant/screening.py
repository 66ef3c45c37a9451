"""Relaxing many structures at once: every frame of every file is one system of a batch, on one kernel call a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.errors import InputError

ATOMS = 20000  # in one batch


def _read(files):
    import ase.io

    out = []
    for path in files:
        if not Path(path).is_file():
            raise InputError(f"relax: the file {path} does not exist")
        try:
            images = ase.io.read(path, index=":")
        except Exception as error:
            raise InputError(f"relax: {path} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})") from None
        out += [(f"{Path(path).name}:{k}", atoms) for k, atoms in enumerate(images)]
    return out


def _batches(structures):
    """Structures that may share a batch: the same open directions, and not too many atoms together."""
    groups = {}
    for row, (_, atoms) in enumerate(structures):
        groups.setdefault(tuple(atoms.pbc), []).append(row)
    for rows in groups.values():
        batch, count = [], 0
        for row in rows:
            if batch and count + len(structures[row][1]) > ATOMS:
                yield batch
                batch, count = [], 0
            batch.append(row)
            count += len(structures[row][1])
        yield batch


def relax_files(files, model, output, force=0.01, cell=None, steps=500, overwrite=False):
    """Relax all frames of `files` with a model folder; writes `output`, yields a line for each structure."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from engine.simulation import Simulation
    from integrators.lbfgs import LBFGS
    from plugins.equivariant.potential import Equivariant

    if Path(output).exists() and not overwrite:
        raise InputError(f"{output} exists; name another file with --output, or say --overwrite")
    if cell not in (None, "isotropic", "anisotropic", "flexible"):
        raise InputError(f"relax: cell = '{cell}'; allowed: isotropic, anisotropic, flexible")
    structures = _read(files)
    results, lines = [None] * len(structures), [None] * len(structures)
    for rows in _batches(structures):
        sim = Simulation.from_atoms([structures[r][1] for r in rows], Equivariant(model), LBFGS(force, cell))
        taken = sim.run(steps)
        left, stress = sim.integrator.residuals(sim)
        images = sim.atoms(forces=False)
        images = images if isinstance(images, list) else [images]
        total = sim.potential_energy()
        forces, state = sim.forces.total("forces"), sim.state
        order = np.argsort(state.tags[:state.n])
        for s, (row, atoms) in enumerate(zip(rows, images)):
            mine = order[state.system[:state.n][order] == s]
            atoms.calc = SinglePointCalculator(atoms, energy=float(total[s]), forces=forces[mine])
            done = left[s] < force and (cell is None or stress[s] < sim.integrator.stress)
            atoms.info.update(source=structures[row][0], converged=bool(done))
            results[row] = atoms
            lines[row] = (f"{structures[row][0]}: {len(atoms)} atoms, {total[s]:.6f} eV, largest force {left[s]:.2g} eV/Å, "
                          + (f"converged in at most {taken} steps" if done else f"not converged in {taken} steps"))
    write(output, results, format="extxyz")
    return lines
