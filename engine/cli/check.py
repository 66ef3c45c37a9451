"""``engine check input.toml``: build everything, evaluate a few times, take no step, and say what the run will be."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer


def check(
    input: Annotated[str, typer.Argument(help="the input file (TOML)")],
    ranks: Annotated[int, typer.Option("--ranks", help="plan the run on so many ranks as well")] = 1,
    network: Annotated[str, typer.Option("--network", help="what connects them (see docs/ranks.md)")] = "shared-memory",
):
    """Check an input file: resolved input, degrees of freedom, memory, predicted time; with --ranks a plan."""
    import json
    import resource

    from engine.output.screen import console, duration, rate
    from engine.run import from_file

    job = from_file(input)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sim = job.build()
    state = sim.state
    console.print(json.dumps(job.described(), indent=2, default=str, ensure_ascii=False), markup=False)
    job.rehearse()
    seconds = _seconds_of_a_step(sim)
    pairs = {f"{kind} list of {cutoff:g} Å": len(csr.indices) for (kind, cutoff), csr in sim.domain.neighbors._lists.items()}
    steps = sum(stage.steps for stage in job.stages)
    console.print(f"atoms                {state.n} ({', '.join(state.species_names)}), {state.n_ghost} ghosts, "
                  f"{state.n_systems} system(s)")
    console.print(f"degrees of freedom   {_freedom(sim)}")
    if "molecules" in state.table or len(state.exclusions):
        console.print(f"molecules            {_molecules(state)}")
    console.print(f"neighbors            {pairs or 'no lists'}", markup=False)
    console.print(f"memory               {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    console.print(f"forces               {1e3 * seconds:.3f} ms a step")
    console.print(f"predicted            about {duration(seconds * 1.15 * steps)} for {steps} steps "
                  f"({rate(1, seconds * 1.15, state.n, getattr(sim.integrator, 'step_length', None))})")
    if ranks > 1:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _plan(sim, ranks, network, seconds, before / 1024, (used - before) / 1024 / state.n_all, console)


def _seconds_of_a_step(sim):
    """Mean time of the forces of an outermost step; a level is evaluated as often in it as its `every` says."""
    forces, total = sim.forces, 0.0
    for level, every in enumerate(forces.every):
        repeats, start = 0, time.perf_counter()
        while repeats < 3 or (time.perf_counter() - start < 1.0 and repeats < 50):
            forces(frozenset(), level)
            repeats += 1
        total += (time.perf_counter() - start) / repeats * (forces.every[-1] // every)
    return total


def _freedom(sim):
    """How many degrees of freedom the temperature is of, and how they were counted."""
    state = sim.state
    counted = sim.degrees_of_freedom().astype(int)
    atoms, free = sim.atoms_per_system().astype(int), state.sum_by_system(state.free).sum(1).astype(int)
    parts = [f"3 × {atoms[0]} atoms"]
    if free[0] < 3 * atoms[0]:
        parts.append(f"{3 * atoms[0] - free[0]} fixed components")
    if counted[0] < free[0]:
        parts.append(f"{free[0] - counted[0]} because the integrator conserves momentum")
    others = f" (system 0 of {len(counted)}; all: {', '.join(map(str, counted))})" if len(set(counted)) > 1 else ""
    return f"{counted[0]} = {' − '.join(parts)}{others}"


def _molecules(state):
    """How many molecules there are, of which size, and how many pairs are excluded."""
    parts = []
    if "molecules" in state.table:
        sizes = np.bincount(state.molecules[state.molecules >= 0])
        parts.append(f"{len(sizes)} of {' to '.join(map(str, sorted({sizes.min(), sizes.max()})))} atoms" if len(sizes) else "none")
    if len(state.exclusions):
        parts.append(f"{len(state.exclusions)} pairs excluded")
    return ", ".join(parts)


def _plan(sim, ranks, network, seconds, base, per_row, console):
    """Atoms, ghosts, memory and predicted communication of a run on `ranks` ranks; base MB and per_row MB an atom."""
    from engine.domain import plan
    from engine.errors import InputError, nearest

    if network not in plan.NETWORKS:
        raise InputError(f"--network {network}{nearest(network, plan.NETWORKS)}: there are {', '.join(plan.NETWORKS)}")
    state = sim.state
    found = plan.plan(state, sim.domain.cutoff + sim.domain.skin, ranks)
    exchanging = any(p.capabilities().reach != "local" for p in sim.potentials.values())
    compute, talk = plan.step_time(plan.NETWORKS[network], ranks, found.atoms.max(), found.remote.max(), found.peers.max(),
                                   seconds / max(state.n, 1), rounds=3 if exchanging else 2)
    memory = base + per_row * (found.atoms.max() + found.ghosts.max())
    console.print(f"on {ranks} ranks")
    console.print(f"  atoms a rank       {found.atoms.min()} to {found.atoms.max()}, imbalance "
                  f"{found.atoms.max() / found.atoms.mean():.3f}{', some ranks are empty' if found.atoms.min() == 0 else ''}")
    console.print(f"  ghosts a rank      {found.ghosts.max()} at most, {found.remote.max()} from up to {found.peers.max()} other ranks")
    console.print(f"  memory a rank      about {memory:.0f} MB at most (and the whole structure once, while it is read)")
    console.print(f"  a step             {1e3 * compute:.3f} ms computing, {1e3 * talk:.3f} ms in communication ({network}): "
                  f"efficiency {seconds / ranks / (compute + talk):.2f}")
