"""Exchanges of every kind of array, through shared memory and by messages, with one thread and with two: run by
``test_halo.py`` on some ranks. Each rank asserts for itself."""

import sys

import numpy as np
from ase.build import bulk
from conftest import rattled, sheared

from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.domain.migration import share_out
from engine.kernels import team
from engine.parallel import world

KINDS = [(float, 1), (float, 3), (np.float32, 3), (np.int32, 1), (np.int8, 3), (np.uint32, 1), (float, 9), (np.float32, 64)]


def made(comm, cells):
    state = state_from_atoms(sheared(rattled(bulk("Cu", cubic=True) * cells, 0.2)))
    share_out(state, comm)
    domain = Domain(state, 5.0, 1.0)
    domain.refresh()
    return state, domain


def forward_is_the_owner(comm, state, halo):
    for kind, width in KINDS:
        expected = ((state.tags[:, None] * 10 + np.arange(width)) % 127).astype(kind)
        found = expected.copy()
        found[state.n :] = 0
        halo.forward(found)
        assert (found == expected).all(), (kind, width)


def reverse_is_the_transpose(comm, state, halo):
    rng = np.random.default_rng(comm.rank)
    for kind, width in [(k, w) for k, w in KINDS if np.dtype(k).kind == "f"]:
        seen, owned = (rng.integers(-9, 9, (state.n_all, width)).astype(kind) for _ in range(2))  # whole numbers: exact sums
        collected, spread = seen.copy(), owned.copy()
        halo.reverse(collected)
        halo.forward(spread)
        here = np.array([(spread * seen).sum(), (owned * collected)[: state.n].sum()], float)
        one, other = comm.sum(here)
        assert one == other, (kind, width, one, other)


def positions_are_displaced(comm, state, halo):
    """Ghosts are images of atoms, found by tag, under their shifts."""
    rows = comm.gather({int(tag): x for tag, x in zip(state.tags[: state.n], state.positions[: state.n].copy(), strict=True)})
    places = {tag: x for rank in rows for tag, x in rank.items()}
    for tag, x, shift in zip(state.tags[state.n :], state.positions[state.n :], halo.shift, strict=True):
        assert np.allclose(x, places[int(tag)] + shift @ state.cells[0], atol=1e-12)


def votes(comm):
    for k in range(5):
        assert comm.any(comm.rank == k) == (k < comm.size)


def main(threads, nodes="together"):
    comm = world()
    if nodes == "apart":  # as if there were nodes of two ranks
        comm.node = comm.communicator.Split(comm.rank // 2)
        comm.node_ranks = comm.node.size
        comm.neighbors = {rank: k for k, rank in enumerate(comm.node.allgather(comm.rank))}
    if threads > 1:
        team.GRAIN = 1
        team.use(threads, threads)
    several = [made(comm, cells) for cells in ((5, 4, 4), (1, 1, 1), (2, 1, 1), (6, 6, 6))]
    for turn in range(3):  # plans take turns on one window, one of a few atoms that leaves ranks without any
        for state, domain in several:
            votes(comm)
            for check in (forward_is_the_owner, reverse_is_the_transpose, positions_are_displaced):
                check(comm, state, domain.halo)
            state.set("positions", state.positions[: state.n] + 0.7 * (turn - 1))
            domain.rebuild() if turn == 1 else domain.refresh()
    assert comm.size == 1 or comm.window is not None
    comm.barrier()
    print("exchanged", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
