"""``engine run input.toml`` and ``engine resume run.h5md``."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.parallel import on_ranks


@on_ranks
def run(
    input: Annotated[str, typer.Argument(help="the input file (TOML)")],
    force: Annotated[bool, typer.Option("--force", help="start over, replacing existing output")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
):
    """Run an input file."""
    from engine.output.lock import locked
    from engine.run import from_file

    job = from_file(input)
    with locked(job.base, job.comm):
        _report(job, job.execute(quiet, force), quiet)


@on_ranks
def resume(
    output: Annotated[str, typer.Argument(help="the output file of the run that goes on")],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
):
    """Go on with a run from its last checkpoint, bit for bit."""
    from engine.output.lock import locked
    from engine.output.screen import console
    from engine.run import from_checkpoint

    job, tree = from_checkpoint(output)
    if tree["finished"]:
        if job.comm.rank == 0:
            console.print(f"{output}: the run is finished (step {tree['step']}); there is nothing to go on with")
        return
    with locked(job.base, job.comm):
        _report(job, job.execute(quiet, tree=tree), quiet)


def _report(job, reason, quiet):
    from engine.output.screen import console

    if reason and not quiet and job.comm.rank == 0:
        console.print(
            f"stopped at step {job.simulation.state.step} by {reason}; `engine resume {job.base}` goes on", markup=False
        )
