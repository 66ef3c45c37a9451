"""``engine evaluate input.toml``: energies, forces and virials of any structure, with no step taken."""

from __future__ import annotations

from typing import Annotated

import typer


def evaluate(
    input: Annotated[str, typer.Argument(help="input file with the potential (and, without --structure, the system)")],
    structure: Annotated[str | None, typer.Option(help="structure file, all its frames, instead of the input's system")] = None,
    output: Annotated[str | None, typer.Option(help="extended XYZ file to write energies, forces and stresses to")] = None,
):
    """Energies, forces and virials of a structure file."""
    from pathlib import Path

    import numpy as np

    from engine.errors import InputError
    from engine.output.screen import console
    from engine.run import from_file

    job = from_file(input)
    if structure is not None:
        job.input.system = job.input.system.model_copy(
            update={"structure": structure, "crystal": None, "frames": ":", "replicate": (1, 1, 1), "velocities": None,
                    "format": None, "format_options": {}}
        ) if job.input.system else None
        if job.input.system is None:
            from engine.config.input import System

            job.input.system = System(structure=structure, frames=":")
    sim = job.build()
    wanted = frozenset({"energy", "virial"}) & sim.forces.provides
    sim.forces.all_levels(wanted)
    energy, forces = sim.forces.total("energy"), sim.forces.total("forces")
    titles = f"{'system':>6} {'atoms':>8} {'energy [eV]':>20} {'largest force [eV/Å]':>21}   virial xx yy zz yz xz xy [eV]"
    console.print(titles, markup=False)
    counts = sim.atoms_per_system().astype(int)
    largest = np.zeros(sim.state.n_systems)
    np.maximum.at(largest, sim.state.system[: sim.state.n], np.linalg.norm(forces, axis=1))
    for s in range(sim.state.n_systems):
        W = sim.forces.total("virial")[s] if "virial" in wanted else None
        virial = "-" if W is None else " ".join(f"{v:.6f}" for v in (W[0, 0], W[1, 1], W[2, 2], W[1, 2], W[0, 2], W[0, 1]))
        console.print(f"{s:>6} {counts[s]:>8} {energy[s]:>20.8f} {largest[s]:>21.6f}   {virial}", markup=False)
    if output is not None:
        if Path(output).exists():
            raise InputError(f"{output} exists; name another file")
        _write(sim, output, "virial" in wanted and sim.state.periodic.all())


def _write(sim, output, stress):
    """Frames with energy, forces and, in matter periodic everywhere, the stress −W/V as ASE has it."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write
    from ase.stress import full_3x3_to_voigt_6_stress

    from engine.output.file import writing

    frames = sim.atoms(forces=True)
    frames = frames if isinstance(frames, list) else [frames]
    for s, atoms in enumerate(frames):
        results = {"energy": float(sim.forces.total("energy")[s]), "forces": atoms.arrays.pop("forces")}
        if stress:
            results["stress"] = full_3x3_to_voigt_6_stress(-sim.forces.total("virial")[s] / atoms.get_volume())
        atoms.calc = SinglePointCalculator(atoms, **results)
    with writing(output):
        write(output, frames, format="extxyz")
