"""What programs that run on several ranks share: structures, all that a potential says, arrays in the order of tags."""

import numpy as np

from engine.build import state_from_atoms
from engine.contracts import PER_ATOM
from engine.domain.domain import Domain
from engine.domain.migration import share_out
from engine.forces import Forces

ALL = frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"})


def ordered(comm, state, arrays):
    """Arrays with owned rows of every rank, in the order of tags, on rank 0."""
    rows = comm.gather_rows({"tags": state.tags[: state.n], **{k: v[: state.n] for k, v in arrays.items()}})
    if rows is None:
        return {}
    order = np.argsort(rows.pop("tags"))
    return {k: v[order] for k, v in rows.items()}


def evaluated(comm, potential, atoms, skin=0.6, needs=ALL, exclusions=(), half=False):
    """Everything that a potential says about a structure, after a few rebuilds in which atoms migrate."""
    state = state_from_atoms(atoms)
    state.exclusions = np.array(exclusions, np.int64).reshape(-1, 2)
    share_out(state, comm)
    potential.bind(state.species_names)
    domain = Domain(state, potential.capabilities().cutoff, skin, half=half)
    forces = Forces(state, domain, {"potential": potential})
    forces(needs)
    owned = comm.gather(state.n)
    rng = np.random.default_rng(8)
    for _ in range(2):  # two big moves there and back
        step = rng.normal(scale=1.5, size=(len(atoms) if hasattr(atoms, "positions") else sum(map(len, atoms)), 3))
        for sign in (1, -1):
            state.set("positions", state.positions[: state.n] + sign * step[state.tags[: state.n]])
            domain.refresh()
    assert domain.rebuilds == 5
    out = forces(needs)
    pairs = comm.sum(len(domain.neighbors.half(domain.cutoff).indices))
    full = 2 * pairs if half else comm.sum(len(domain.neighbors.full(domain.cutoff).indices))
    arrays = {k: v.copy() for k, v in out.items() if k in PER_ATOM}
    sums = {k: v.copy() for k, v in out.items() if k not in arrays}
    fast = forces(frozenset({"energy", "forces", "virial"}))  # other kernels than those that give per-atom virials
    arrays["fast_forces"] = fast.forces.copy()
    sums |= {"fast_energy": fast.energy.copy(), "fast_virial": fast.virial.copy()}
    return {**ordered(comm, state, arrays), **sums, "pairs": np.array([pairs, full]), "owned": np.array(owned)}
