"""``engine mts``, ``engine estimate``, ``engine advise``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer


def mts(
    input: Annotated[str, typer.Argument(help="an input file with a stage that has levels (TOML)")],
    every: Annotated[str, typer.Option("--every", help="outer steps to try, in innermost ones")] = "1,2,4,8",
    picoseconds: Annotated[float, typer.Option("--time", help="length of each run, ps")] = 5.0,
    single: Annotated[str, typer.Option("--single", help="single steps to try, in innermost ones: 1,1.5,2")] = "1",
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

    steps, singles = _numbers(every, "--every"), _numbers(single, "--single", float)
    job = from_file(input)
    stage = next((s for s in job.stages if getattr(s, "levels", None) and len(s.levels) > 1), None)
    if stage is None:
        raise InputError(f"{input}: no stage has two levels or more, so there is no outer step to vary")
    levels = [dict(level["potentials"]) for level in stage.levels]
    wanted = temperature or float(Ramp.of(getattr(stage.integrator, "temperature", 300.0)).at(0.0))
    sim = job.build()
    found = outer_steps.measure(
        sim,
        levels,
        stage.integrator.timestep,
        wanted,
        steps,
        picoseconds,
        equilibrate,
        friction or None,
        singles=singles,
        say=lambda text: console.print(text, markup=False),
    )
    console.print(found.table(), markup=False)
    if save:
        Path(save).write_text(json.dumps(found.as_dict()))
    if plot:
        outer_steps.draw([found], plot)


def estimate(
    input: Annotated[str, typer.Argument(help="an input file: its potential and matter are what is measured (TOML)")],
    atoms: Annotated[str, typer.Option("--atoms", help="numbers of atoms; by default the input's own")] = "",
    ranks: Annotated[str, typer.Option("--ranks", help="numbers of ranks")] = "1",
    again: Annotated[bool, typer.Option("--again", help="measure again even if this was measured before")] = False,
):
    """Predict ns/day and memory from a short calibration, and say what limits them."""
    from engine.output.screen import console
    from engine.run import from_file
    from plugins.estimate import calibration

    job = from_file(input)
    found, timestep = calibration.for_input(job, again)
    sizes = _numbers(atoms, "--atoms") or [job.build().state.n]
    console.print(
        f"measured: {', '.join(f'{n} atoms {1e3 * s:.3g} ms' for n, s in zip(found.sizes, found.seconds, strict=True))}; "
        f"{1e6 * found.a:.0f} µs a step, {1e6 * found.b:.3g} µs an atom",
        markup=False,
    )
    console.print(f"{'atoms':>10} {'ranks':>6} {'ms/step':>9} {'ns/day':>9} {'GB':>7}  limited by")
    for n in sizes:
        for r in _numbers(ranks, "--ranks"):
            seconds = found.step(n, r)
            note = found.limit(n, r, calibration.available_memory())
            if r > (os.cpu_count() or 1):
                note = f"cores: this machine has {os.cpu_count()}; the line is for one with {r}"
            console.print(
                f"{n:10d} {r:6d} {1e3 * seconds:9.3g} {timestep / seconds * 86400e-6:9.3g} "
                f"{found.memory(n, r) / 1e9:7.2f}  {note}",
                markup=False,
            )


def advise(
    inputs: Annotated[list[str], typer.Argument(help="input files that differ in their potential")],
    atoms: Annotated[int, typer.Option("--atoms", help="number of atoms; by default each input's own")] = 0,
    ranks: Annotated[int, typer.Option("--ranks")] = 1,
):
    """Compare models at hand for a system: speed, memory, stated accuracy, domain, licence; the fastest first."""
    from engine.output.screen import console
    from engine.run import from_file
    from plugins.estimate import calibration, cards

    rows = []
    for path in inputs:
        job = from_file(path)
        found, timestep = calibration.for_input(job)
        n = atoms or job.build().state.n
        card = cards.of(job)
        rows.append((timestep / found.step(n, ranks) * 86400e-6, found.memory(n, ranks) / 1e9, path, card))
    console.print(f"{'ns/day':>9} {'GB':>6}  model")
    for speed, memory, path, card in sorted(rows, key=lambda row: -row[0]):
        console.print(f"{speed:9.3g} {memory:6.2f}  {path}", markup=False)
        for name in cards.KEYS:
            console.print(f"{'':18}{name}: {card.get(name, 'not stated')}", markup=False)
    console.print(
        "Not considered: magnetism, excited states, and whatever a model's own authors say that it cannot do.", markup=False
    )


def _numbers(text, option, kind=int):
    from engine.errors import InputError

    try:
        numbers = [kind(float(part)) for part in text.split(",") if part.strip()]
    except (ValueError, OverflowError):
        what = "whole numbers such as 1000,10000" if kind is int else "numbers such as 1,1.5,2"
        raise InputError(f"{option} {text}: must be {what}") from None
    if any(not 1 <= n < float("inf") for n in numbers):
        raise InputError(f"{option} {text}: must be 1 or more")
    return numbers
