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
    from rich.table import Table

    from engine.errors import InputError
    from engine.output.screen import console
    from engine.run import from_file

    job = from_file(input)
    if structure is not None:
        job.input.system = job.input.system.model_copy(
            update={"structure": structure, "crystal": None, "frames": ":", "replicate": (1, 1, 1), "velocities": None}
        ) if job.input.system else None
        if job.input.system is None:
            from engine.config.input import System

            job.input.system = System(structure=structure, frames=":")
    sim = job.build()
    wanted = frozenset({"energy", "virial"}) & sim.forces.provides
    sim.forces.all_levels(wanted)
    energy, forces = sim.forces.total("energy"), sim.forces.total("forces")
    table = Table(box=None, pad_edge=False)
    for title in ("system", "atoms", "energy [eV]", "largest force [eV/Å]", "virial xx yy zz yz xz xy [eV]"):
        table.add_column(title, justify="right")
    counts = sim.atoms_per_system().astype(int)
    largest = np.zeros(sim.state.n_systems)
    np.maximum.at(largest, sim.state.system[: sim.state.n], np.linalg.norm(forces, axis=1))
    for s in range(sim.state.n_systems):
        W = sim.forces.total("virial")[s] if "virial" in wanted else None
        virial = "-" if W is None else " ".join(f"{v:.6f}" for v in (W[0, 0], W[1, 1], W[2, 2], W[1, 2], W[0, 2], W[0, 1]))
        table.add_row(str(s), str(counts[s]), f"{energy[s]:.8f}", f"{largest[s]:.6f}", virial)
    console.print(table)
    if output is not None:
        if Path(output).exists():
            raise InputError(f"{output} exists; name another file")
        from engine.output.extxyz import ExtXYZWriter

        ExtXYZWriter(1, output).act(sim)
