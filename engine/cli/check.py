"""``engine check input.toml``: build everything, evaluate a few times, take no step, and say what the run will be."""

from __future__ import annotations

import time
from typing import Annotated

import typer


def check(input: Annotated[str, typer.Argument(help="the input file (TOML)")]):
    """Check an input file: resolved input, degrees of freedom, memory, predicted time."""
    import json
    import resource

    from engine.output.screen import console, duration, rate
    from engine.run import from_file

    job = from_file(input)
    sim = job.build()
    state = sim.state
    console.print(json.dumps(job.input.model_dump(exclude_none=True), indent=2, default=str, ensure_ascii=False), markup=False)
    sim.forces.all_levels(frozenset({"energy"}))
    repeats, start = 0, time.perf_counter()
    while repeats < 3 or (time.perf_counter() - start < 1.0 and repeats < 50):
        sim.forces.all_levels()
        repeats += 1
    seconds = (time.perf_counter() - start) / repeats
    free = sim.degrees_of_freedom()
    less = "" if not sim.integrator or not sim.integrator.conserves_momentum or state.constrained else \
        ", less 3 because the integrator conserves momentum"
    pairs = {f"{kind} list of {cutoff:g} Å": len(csr.indices) for (kind, cutoff), csr in sim.domain.neighbors._lists.items()}
    steps = sum(stage.steps for stage in job.stages)
    console.print(f"atoms                {state.n} ({', '.join(state.species_names)}), {state.n_ghost} ghosts, {state.n_systems} system(s)")
    console.print(f"degrees of freedom   {free[0]:.0f} a system: free components of its atoms{less}")
    console.print(f"neighbors            {pairs or 'no lists'}", markup=False)
    console.print(f"memory               {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    console.print(f"forces               {1e3 * seconds:.3f} ms an evaluation")
    console.print(f"predicted            about {duration(seconds * 1.15 * steps)} for {steps} steps "
                  f"({rate(1, seconds * 1.15, state.n, getattr(sim.integrator, 'step_length', None))})")
