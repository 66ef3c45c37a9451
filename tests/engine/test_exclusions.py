"""Excluded pairs are in no list, the nearest image of them only, and the fast kernels agree with the plain loop."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_clusters import listed_pairs, make_state

from engine.domain.domain import Domain
from engine.forces import Forces
from engine.kernels.clusters import ClusterBuilder
from engine.kernels.clusters_exclude import clear
from engine.kernels.list_search import ghost_roles
from engine.neighbors.pair_list import PairList
from potentials.pair.lennard_jones import LennardJones


def random_exclusions(rng, n, count):
    pairs = rng.integers(0, n, (count, 2))
    return pairs[pairs[:, 0] != pairs[:, 1]]


def brute_force(state, radius):
    """Sorted (tag, tag, distance) of all pairs within the radius once, without the nearest image of excluded ones."""
    excluded = {tuple(sorted(pair)) for pair in state.exclusions.tolist()}
    found = []
    for s in range(state.n_systems):
        rows = np.flatnonzero(state.system[: state.n] == s)
        tags = state.tags[rows]
        pairs = PairList(radius)(state.positions[rows], state.cells[s], state.periodic)
        a, b = tags[pairs.first], tags[pairs.second]
        nearest = {}
        for key, d in zip(zip(a, b), pairs.distances):
            nearest[key] = min(nearest.get(key, np.inf), d)
        for p, q, d, shift in zip(a, b, pairs.distances, pairs.shifts):
            once = p < q or (p == q and tuple(shift[::-1]) > (0, 0, 0))
            if d < radius and once and not ((p, q) in excluded and d <= nearest[p, q] * (1 + 1e-12)):
                found.append((p, q, round(d, 8)))
    return sorted(found)


def listed(state, x, rows, radius):
    """The same form from pairs of rows."""
    rows = np.array(sorted(rows), int).reshape(-1, 2)
    distance = np.linalg.norm(x[rows[:, 0]] - x[rows[:, 1]], axis=1)
    tags = np.sort(state.tags[rows], axis=1)
    return sorted((a, b, round(d, 8)) for (a, b), d in zip(tags.tolist(), distance) if d < radius)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), systems=st.integers(1, 2), radius=st.floats(1.0, 5.0),
       periodic=st.tuples(st.booleans(), st.booleans(), st.booleans()), share=st.floats(0.1, 3.0))
def test_every_list_against_brute_force(seed, n, systems, radius, periodic, share):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.5, 10.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
    if abs(np.linalg.det(cell)) < 15.0 or n * (radius / np.cbrt(abs(np.linalg.det(cell)))) ** 3 > 400:
        return
    state = make_state(rng, n, cell, periodic, systems)
    state.exclusions = random_exclusions(rng, n * systems, int(share * n) + 1)
    domain = Domain(state, 0.8 * radius, 0.2 * radius)
    domain.rebuild()
    radius = domain.cutoff + domain.skin
    expected, x = brute_force(state, radius), domain._reference
    half, full = domain.neighbors.half(domain.cutoff), domain.neighbors.full(domain.cutoff)
    of = lambda csr: np.stack([np.repeat(np.arange(state.n), np.diff(csr.offsets)), csr.indices], 1)
    assert listed(state, x, of(half).tolist(), radius) == expected
    assert sorted(expected * 2) == listed(state, x, of(full).tolist(), radius)
    for width in (4, 8, 16):
        clusters = ClusterBuilder(width).build(x, state.n, state.system, state.n_systems, state.tags,
                                               ghost_roles(domain.halo), radius)
        clear(clusters, domain.neighbors.excluded(), state.n_all)
        assert listed(state, x, listed_pairs(clusters), radius) == expected, f"clusters of {width}"


@pytest.mark.parametrize("precision, tolerance", [("double", 1e-12), ("mixed", 2e-5)])
def test_fast_kernel_equals_the_plain_loop_as_atoms_move(precision, tolerance):
    """Molecules of three, through rebuilds and prunings; the plain loop is the one that also gives per-atom virials."""
    rng = np.random.default_rng(3)
    state = make_state(rng, 240, np.diag([11.0, 12.0, 13.0]) + rng.uniform(-1, 1, (3, 3)), [True] * 3)
    first = np.arange(0, 240, 3)[:, None]
    state.exclusions = np.concatenate([first + [0, 1], first + [0, 2], first + [1, 2]])
    state.set("positions", state.positions[np.argsort(state.tags)] * 0.6)  # dense, and close pairs among the excluded
    potential = LennardJones(epsilon=0.01, sigma=0.7, cutoff=4.0, truncation="force-shifted")
    potential.precision = precision
    potential.bind(state.species_names)
    domain = Domain(state, 4.0, 0.6)
    forces = Forces(state, domain, {"p": potential})
    sums = frozenset({"energy", "forces", "virial", "atom_energy"})
    for _ in range(6):
        state.set("positions", state.positions[: state.n] + rng.normal(0, 0.05, (state.n, 3)))
        plain = {k: v.copy() for k, v in forces(sums | {"atom_virial"}).items()}
        for name, value in forces(sums).items():
            np.testing.assert_allclose(value, plain[name], rtol=0, atol=tolerance * np.abs(plain[name]).max(), err_msg=name)
    assert domain.rebuilds > 1


def test_images_equally_near_are_both_left_out():
    """Two atoms half a cell apart see each other twice, and as an excluded pair not at all."""
    state = make_state(np.random.default_rng(0), 2, np.diag([6.0, 20.0, 20.0]), [True] * 3)
    state.set("positions", [[1.0, 5.0, 5.0], [4.0, 5.0, 5.0]])
    potential = LennardJones(epsilon=0.01, sigma=2.5, cutoff=5.0)
    potential.bind(state.species_names)
    for exclusions, images in ([], 2), ([(0, 1)], 0):
        state.exclusions = np.array(exclusions, np.int64).reshape(-1, 2)
        energy = Forces(state, Domain(state, 5.0, 0.3), {"p": potential})(frozenset({"energy"})).energy[0]
        assert energy == pytest.approx(images * 0.04 * ((2.5 / 3) ** 12 - (2.5 / 3) ** 6), abs=1e-15)
