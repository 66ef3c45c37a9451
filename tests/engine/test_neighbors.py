"""Neighbor lists against brute force: every cell shape, any periodicity, cutoffs beyond the cell, cells that move."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.domain import Domain
from engine.state import State


def random_state(seed, n, periodic, size=8.0, systems=1):
    rng = np.random.default_rng(seed)
    cells = np.eye(3) * size + rng.uniform(-0.35, 0.35, (systems, 3, 3)) * size
    state = State(n * systems, cells, periodic, ["A", "B"])
    state.system[:] = np.repeat(np.arange(systems), n)
    fractional = rng.uniform(-0.3, 1.3, (n * systems, 3))
    state.set("positions", np.einsum("ni,nij->nj", fractional, cells[state.system]))
    state.set("tags", rng.permutation(n * systems))
    return state


def brute_force(state, cutoff):
    """Sorted distances of every directed pair, keyed by (tag, tag)."""
    found = {}
    n = state.n
    for s in range(state.n_systems):
        cell = state.cells[s]
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        reach = [int(np.ceil(cutoff / h)) + 2 if p else 0 for h, p in zip(heights, state.periodic)]
        mine = np.flatnonzero(state.system[:n] == s)
        x = state.positions[:n][mine]
        for shift in itertools.product(*(range(-r, r + 1) for r in reach)):
            d = x[None, :] + np.array(shift) @ cell - x[:, None]
            r = np.linalg.norm(d, axis=2)
            for a, b in np.argwhere(r < cutoff):
                if a == b and not any(shift):
                    continue
                key = (int(state.tags[mine[a]]), int(state.tags[mine[b]]))
                found.setdefault(key, []).append(r[a, b])
    return {key: sorted(values) for key, values in found.items()}


def edges_by_tag(state, edges):
    found = {}
    for i, j, v in zip(edges.centre, edges.neighbor, edges.vectors):
        found.setdefault((int(state.tags[i]), int(state.tags[j])), []).append(np.linalg.norm(v))
    return {key: sorted(values) for key, values in found.items()}


def same(one, two):
    assert one.keys() == two.keys()
    for key in one:
        assert np.allclose(one[key], two[key], rtol=0, atol=1e-10), key


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 40), periodic=st.tuples(*[st.booleans()] * 3),
    cutoff=st.floats(1.0, 11.0), skin=st.floats(0.0, 2.0), systems=st.integers(1, 3),
)
def test_edges_are_all_pairs(seed, n, periodic, cutoff, skin, systems):
    state = random_state(seed, n if cutoff < 6 else min(n, 8), periodic, systems=systems)
    expected = brute_force(state, cutoff)
    domain = Domain(state, cutoff, skin)
    domain.refresh()
    same(edges_by_tag(state, domain.neighbors.edges(cutoff)), expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), periodic=st.tuples(*[st.booleans()] * 3), cutoff=st.floats(1.0, 9.0))
def test_half_list_holds_each_pair_once(seed, n, periodic, cutoff):
    """The half list has half of the directed pairs, and the same distances."""
    state = random_state(seed, n, periodic)
    expected = brute_force(state, cutoff)
    domain = Domain(state, cutoff, 0.5)
    domain.refresh()
    csr = domain.neighbors.half(cutoff)
    centre = np.repeat(np.arange(state.n), np.diff(csr.offsets))
    r = np.linalg.norm(state.positions[csr.indices] - state.positions[centre], axis=1)
    counts = {}
    for i, j, d in zip(centre[r < cutoff], csr.indices[r < cutoff], r[r < cutoff]):
        key = tuple(sorted((int(state.tags[i]), int(state.tags[j]))))
        counts.setdefault(key, []).append(d)
    undirected = {}
    for (a, b), values in expected.items():
        if a < b:
            undirected[a, b] = values
        elif a == b:
            undirected[a, a] = values[::2]  # an atom and its images come in pairs of opposite shift
    same({k: sorted(v) for k, v in counts.items()}, undirected)


@pytest.mark.parametrize("seed", range(4))
def test_lists_stay_right_while_atoms_and_cell_move(seed):
    """Many small moves, with strain and without, each followed by a comparison; rebuilds happen, but not every time."""
    rng = np.random.default_rng(seed)
    state = random_state(seed, 30, (True, True, seed % 2 == 0), size=7.0)
    domain = Domain(state, 3.0, 0.8)
    steps = 60
    for step in range(steps):
        domain.refresh()
        if step % 6 == 0:
            same(edges_by_tag(state, domain.neighbors.edges(3.0)), brute_force(state, 3.0))
        state.positions[: state.n] += rng.normal(scale=0.04, size=(state.n, 3))
        if step % 3 == 0:
            strain = np.eye(3) + rng.uniform(-0.004, 0.004, (3, 3))
            state.cells = state.cells @ strain
            state.positions[: state.n] = (state.positions[: state.n] - state.origin[0]) @ strain + state.origin[0]
    assert 1 < domain.rebuilds < steps


def test_empty_and_single():
    state = random_state(0, 1, (False, False, False))
    domain = Domain(state, 3.0, 0.5)
    domain.refresh()
    assert len(domain.neighbors.edges(3.0).centre) == 0


def test_crystal_with_atoms_exactly_on_boundaries():
    """Ties everywhere: a perfect crystal whose atoms sit on cell faces and bin edges has 12 and 18 neighbors each."""
    a = 4.0
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]) * a
    grid = np.array(list(itertools.product(range(3), repeat=3))) * a
    state = State(108, np.eye(3)[None] * 3 * a, (True, True, True), ["A"])
    state.set("positions", (grid[:, None] + base[None]).reshape(-1, 3))
    state.set("tags", np.arange(108))
    domain = Domain(state, a * 1.01, 0.3)
    domain.refresh()
    assert (np.diff(domain.neighbors.edges(a * 0.75).offsets) == 12).all()
    assert (np.diff(domain.neighbors.edges(a * 1.01).offsets) == 18).all()
    half = domain.neighbors.half(a * 1.01)
    full = domain.neighbors.full(a * 1.01)
    assert 2 * len(half.indices) == len(full.indices)
