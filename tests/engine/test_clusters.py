"""Cluster lists hold every pair inside the radius exactly once, whatever the cell, the grid and the history."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.domain.domain import Domain
from engine.kernels.clusters import BLOCK, ClusterBuilder
from engine.kernels.list_search import ghost_roles
from engine.state import State


def make_state(rng, n, cell, periodic, systems=1):
    cells = np.repeat(np.asarray(cell, float)[None], systems, 0)
    state = State(n * systems, cells, periodic, ["A"])
    state.set("system", np.repeat(np.arange(systems), n))
    state.set("positions", rng.uniform(-0.3, 1.3, (n * systems, 3)) @ cells[0])
    state.set("tags", rng.permutation(n * systems))
    return state


def listed_pairs(clusters):
    """All (row, row) pairs in the lists, with repetition, each ordered."""
    w, rows = clusters.width, clusters.rows
    pairs = []
    for block in range(clusters.n_blocks):
        atoms = rows[block * BLOCK:block * BLOCK + BLOCK]
        faced = [(j, -1) for j in clusters.neighbors[clusters.start[block]:clusters.stop[block]]]
        under_mask = slice(clusters.mask_start[block], clusters.mask_stop[block])
        faced += list(zip(clusters.mask_neighbors[under_mask], clusters.masks[under_mask]))
        for cluster, mask in faced:
            for m, i in enumerate(atoms):
                for lane, j in enumerate(rows[cluster * w:cluster * w + w]):
                    if i >= 0 and j >= 0 and (int(mask) >> (m * w + lane)) & 1:
                        pairs.append((min(i, j), max(i, j)))
    return pairs


def close_pairs(neighbors, cutoff, x, radius):
    """The engine's plain half list as ordered pairs within the radius."""
    csr = neighbors.half(cutoff)
    i = np.repeat(np.arange(len(csr.offsets) - 1), np.diff(csr.offsets))
    close = np.linalg.norm(x[i] - x[csr.indices], axis=1) < radius
    return {(min(a, b), max(a, b)) for a, b in zip(i[close], csr.indices[close])}


def check(state, domain, builders, roles=None):
    radius = domain.cutoff + domain.skin
    x = domain._reference
    expected = close_pairs(domain.neighbors, domain.cutoff, x, radius)
    for builder in builders:
        clusters = builder.build(x, state.n, state.system, state.n_systems, state.tags, ghost_roles(domain.halo), radius)
        pairs = listed_pairs(clusters)
        assert len(pairs) == len(set(pairs)), "a pair is listed twice"
        assert expected <= set(pairs), f"{len(expected - set(pairs))} pairs are missed"
        rows = clusters.rows[clusters.rows >= 0]
        assert len(rows) == len(set(rows)) and set(range(state.n)) <= set(rows)
        filled = clusters.packed.reshape(-1, 3, clusters.width).transpose(0, 2, 1).reshape(-1, 3)
        assert (filled[clusters.rows >= 0] == x[rows]).all()
        points = filled[clusters.rows < 0]
        if len(points):
            everything = np.concatenate([points, x])
            gaps = np.linalg.norm(points[:, None] - everything[None], axis=2)
            assert np.sort(gaps, axis=1)[:, 1].min() > 2 * radius, "points of empty lanes are too close"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 90), systems=st.integers(1, 3), radius=st.floats(0.5, 6.0),
       periodic=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_random_triclinic_cells(seed, n, systems, radius, periodic):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.0, 14.0, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    if abs(np.linalg.det(cell)) < 5.0 or n * systems * (radius + 2) ** 3 > 2e4:
        return
    state = make_state(rng, n, cell, periodic, systems)
    domain = Domain(state, 0.8 * radius, 0.2 * radius)
    domain.rebuild()
    check(state, domain, [ClusterBuilder(4), ClusterBuilder(8), ClusterBuilder(16)])


@pytest.mark.parametrize("width", (4, 8, 16))
def test_many_rebuilds_in_the_same_buffers(width):
    rng = np.random.default_rng(11)
    builder = ClusterBuilder(width)
    state = make_state(rng, 300, np.diag([9.0, 13.0, 7.0]) + rng.uniform(-1, 1, (3, 3)), [True, True, True])
    domain = Domain(state, 2.0, 0.4)
    for _ in range(12):
        domain.rebuild()
        check(state, domain, [builder])
        state.set("positions", state.positions[:state.n] + rng.normal(0, 0.7, (state.n, 3)))


@pytest.mark.parametrize("extent", [(40, 40, 40), (3, 3, 200), (200, 3, 3), (2.5, 60, 60)])
def test_sparse_and_thin_systems(extent):
    rng = np.random.default_rng(12)
    state = make_state(rng, 150, np.diag(extent).astype(float), [False, True, False])
    state.set("positions", state.positions[:state.n] * rng.choice([1.0, 0.05], (state.n, 1)))   # a droplet and strays
    domain = Domain(state, 2.0, 0.5)
    domain.rebuild()
    check(state, domain, [ClusterBuilder(4), ClusterBuilder(8)])


def test_masks_by_tag_split_the_pairs_of_two_ranks():
    """A ghost at zero shift is another rank's atom: of its pair, seen from both ends, exactly one is kept."""
    rng = np.random.default_rng(13)
    here, there = rng.uniform(0, 4, (40, 3)), rng.uniform(3, 7, (40, 3))
    tags = rng.permutation(80)
    kept = []
    for own, other, order in ((here, there, tags), (there, here, np.roll(tags, 40))):
        x = np.concatenate([own, other])
        clusters = ClusterBuilder(4).build(x, 40, np.zeros(80, np.int32), 1, order, np.full(40, 2, np.int8), 2.0)
        for i, j in listed_pairs(clusters):
            if i < 40 <= j and np.linalg.norm(x[i] - x[j]) < 2.0:
                kept.append(tuple(sorted((order[i], order[j]))))
    position = np.empty((80, 3))
    position[tags] = np.concatenate([here, there])
    close = np.linalg.norm(position[:, None] - position[None], axis=2) < 2.0
    expected = {tuple(sorted((a, b))) for a in tags[:40] for b in tags[40:] if close[a, b]}
    assert len(kept) == len(set(kept)) and set(kept) == expected
