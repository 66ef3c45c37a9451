"""``engine mts``, ``engine estimate``, ``engine advise``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def mts(
    input: Annotated[str, typer.Argument(help="an input file with a stage that has levels (TOML)")],
    every: Annotated[str, typer.Option("--every", help="outer steps to try, in innermost ones")] = "1,2,4,8",
    picoseconds: Annotated[float, typer.Option("--time", help="length of each run, ps")] = 5.0,
    equilibrate: Annotated[float, typer.Option("--equilibrate", help="ps before the first")] = 2.0,
    temperature: Annotated[float, typer.Option("--temperature", help="K; by default the stage's, or 300")] = 0.0,
    friction: Annotated[float, typer.Option("--friction", help="1/fs; 0 runs NVE")] = 0.0,
    save: Annotated[str, typer.Option("--save", help="a .json with all curves")] = "",
    plot: Annotated[str, typer.Option("--plot", help="a .png of speed and drift")] = "",
):
    """Map speed and accuracy of multiple time stepping against the outer step."""
    from engine.config.ramp import Ramp
    from engine.errors import InputError
    from engine.output.screen import console
    from engine.run import from_file
    from plugins.estimate import outer_steps

    try:
        steps = [int(k) for k in every.split(",")]
    except ValueError:
        raise InputError(f"--every {every}: must be whole numbers such as 1,2,4,8") from None
    if min(steps) < 1:
        raise InputError(f"--every {every}: the smallest outer step is 1")
    job = from_file(input)
    stage = next((s for s in job.stages if getattr(s, "levels", None) and len(s.levels) > 1), None)
    if stage is None:
        raise InputError(f"{input}: no stage has two levels or more, so there is no outer step to vary")
    levels = [dict(level["potentials"]) for level in stage.levels]
    wanted = temperature or float(Ramp.of(getattr(stage.integrator, "temperature", 300.0)).at(0.0))
    sim = job.build()
    found = outer_steps.measure(sim, levels, stage.integrator.timestep, wanted, steps, picoseconds, equilibrate, friction or None,
                                say=lambda text: console.print(text, markup=False))
    console.print(found.table(), markup=False)
    if save:
        Path(save).write_text(json.dumps(found.as_dict()))
    if plot:
        outer_steps.draw([found], plot)
