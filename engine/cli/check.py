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

    from engine.domain.plan import NETWORKS
    from engine.errors import InputError, nearest
    from engine.memory import forecast, peak
    from engine.output.screen import console, duration, rate
    from engine.run import from_file

    if ranks < 1:
        raise InputError(f"--ranks {ranks}: must be 1 or more")
    if network not in NETWORKS:
        raise InputError(f"--network {network}{nearest(network, NETWORKS)}: there are {', '.join(NETWORKS)}")
    job = from_file(input)
    sim = job.build()
    state = sim.state
    console.print(json.dumps(job.described(), indent=2, default=str, ensure_ascii=False), markup=False)
    job.rehearse()
    needed = forecast(sim)
    seconds = _seconds_of_a_step(sim)
    pairs = {f"{kind} list of {cutoff:g} Å": len(csr.indices) for (kind, cutoff), csr in sim.domain.neighbors._lists.items()}
    steps = sum(stage.steps for stage in job.stages)
    console.print(f"atoms                {state.n} ({', '.join(state.species_names)}), {state.n_ghost} ghosts, "
                  f"{state.n_systems} system(s)")
    console.print(f"degrees of freedom   {_freedom(sim)}")
    if "molecules" in state.table or len(state.exclusions):
        console.print(f"molecules            {_molecules(state)}")
    console.print(f"neighbors            {pairs or 'no lists'}", markup=False)
    console.print(f"forces               {1e3 * seconds:.3f} ms a step")
    step, memory, how = _forecast(job, state.n) or (1.15 * seconds, None, "from the forces alone")
    memory = memory or peak()
    console.print(f"memory               {memory / 1e6:.0f} MB")
    console.print(f"  by part            {needed}")
    console.print(f"predicted            about {duration(step * steps)} for {steps} steps "
                  f"({rate(1, step, state.n, getattr(sim.integrator, 'step_length', None))}; {how})", markup=False)
    if ranks > 1:
        _plan(sim, ranks, network, seconds, needed, console)


def _forecast(job, atoms):
    """(s a step, bytes, limited by) from the first registered forecast that can say it of this input, or None."""
    from engine import registry
    from engine.errors import InputError, PhysicsError

    for name in registry.names("forecasts"):
        try:
            seconds, memory, limit = registry.get("forecasts", name)(job, atoms)
        except (InputError, PhysicsError):  # such as an open direction, which a calibration cannot replicate
            continue
        return seconds, memory, f"{name}; limited by {limit}"
    return None


def _seconds_of_a_step(sim):
    """Median time of the forces of an outermost step, in which a level is evaluated as often as its `every` says."""
    forces, total = sim.forces, 0.0
    for level, every in enumerate(forces.every):
        forces(frozenset(), level)  # which may have to compile first
        times: list[float] = []
        while len(times) < 3 or (sum(times) < 1.0 and len(times) < 50):
            start = time.perf_counter()
            forces(frozenset(), level)
            times.append(time.perf_counter() - start)
        total += float(np.median(times)) * (forces.every[-1] // every)
    return total


def _rounds(sim):
    """Bytes that a ghost takes in each round of messages of an outermost step: what the potentials exchange is watched on this
    one rank, where ghosts are images and the calls are the same."""
    forces, found = sim.forces, []
    for level, every in enumerate(forces.every):
        forces(frozenset(), level)
        halo, sizes = sim.domain.halo, [24]  # positions
        halo.forward, halo.reverse = _watched(halo.forward, sizes), _watched(halo.reverse, sizes)
        forces(frozenset(), level)
        del halo.forward, halo.reverse
        found += sizes * (forces.every[-1] // every)
    return found


def _watched(exchange, sizes):
    def call(array):
        sizes.append(array.nbytes // max(len(array), 1))
        exchange(array)

    return call


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
        span = " to ".join(map(str, sorted({sizes.min(initial=10**9), sizes.max(initial=0)})))
        parts.append(f"{len(sizes)} of {span} atoms" if len(sizes) else "none")
    if len(state.exclusions):
        parts.append(f"{len(state.exclusions)} pairs excluded")
    return ", ".join(parts)


def _plan(sim, ranks, network, seconds, needed, console):
    """Atoms, ghosts, memory and predicted communication of a run on `ranks` ranks; `needed`: the memory of one."""
    from engine.domain import plan

    state, every = sim.state, sim.forces.every
    found = plan.plan(state, sim.domain.cutoff + sim.domain.skin, ranks, sim.domain.half and sim.half_lists(ranks))
    rounds, votes = _rounds(sim), sum(every[-1] // k for k in every)
    compute, talk = plan.step_time(plan.NETWORKS[network], ranks, found.atoms.max(), found.remote.max(), found.peers.max(),
                                   seconds / max(state.n, 1), sum(rounds) / len(rounds), len(rounds), votes)
    beyond = [f"what '{name}' exchanges beyond ghosts (it sees the whole system)"
              for name, potential in sim.potentials.items() if potential.capabilities().reach == "global"]
    share = needed.share(found.atoms.max() / max(state.n, 1), (found.atoms.max() + found.ghosts.max()) / max(state.n_all, 1))
    console.print(f"on {ranks} ranks")
    console.print(f"  atoms a rank       {found.atoms.min()} to {found.atoms.max()}, imbalance "
                  f"{found.atoms.max() / found.atoms.mean():.3f}{', some ranks are empty' if found.atoms.min() == 0 else ''}")
    console.print(f"  ghosts a rank      {found.ghosts.max()} at most, {found.remote.max()} from up to {found.peers.max()} "
                  "other ranks")
    console.print(f"  memory a rank      {share}")
    console.print(f"  messages a step    {len(rounds)} rounds, {sum(rounds)} bytes a ghost; {votes} votes on rebuilding")
    console.print(f"  a step             {1e3 * compute:.3f} ms computing, {1e3 * talk:.3f} ms in communication ({network}): "
                  f"efficiency {seconds / ranks / (compute + talk):.2f}")
    console.print(f"  left out           {', '.join(['rebuilds, output, sums over ranks', *beyond])}", markup=False)
