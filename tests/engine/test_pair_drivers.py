"""The fast driver around a pair function gives what the plain loop over the half list gives, in every variant."""
import numpy as np
import pytest

from engine.contracts import Output
from engine.domain.domain import Domain
from engine.kernels import pair
from engine.kernels.pair_clusters import ClusterDriver
from engine.kernels.simd import erfc, exp, sqrt
from engine.state import State

NEEDS = frozenset({"forces", "energy", "virial", "atom_energy"})


def lennard_jones(r2, epsilon, sigma):
    s2 = sigma * sigma / r2
    s6 = s2 * s2 * s2
    return 4.0 * epsilon * s6 * (s6 - 1.0), 24.0 * epsilon * s6 * (2.0 * s6 - 1.0) / r2


def screened_charges(r2, q_i, q_j, alpha, a, rho):
    r = sqrt(r2)
    coulomb = 14.4 * q_i * q_j * erfc(alpha * r) / r
    repulsion = a * exp(-r / rho)
    force = coulomb / r + 14.4 * q_i * q_j * 1.1283791670955126 * alpha * exp(-alpha * alpha * r2) / r
    return coulomb + repulsion, (force + repulsion / rho) / r


def tilted_state(seed, n=400, systems=1, types=1, periodic=(True, True, True), spacing=1.6):
    rng = np.random.default_rng(seed)
    side = spacing * n ** (1 / 3)
    cell = np.diag([side, 0.8 * side, 1.25 * side]) + rng.uniform(-2, 2, (3, 3))
    state = State(n * systems, np.repeat(cell[None], systems, 0), periodic, [f"X{k}" for k in range(types)])
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] / 8
    x = np.concatenate([(grid + rng.uniform(-0.02, 0.02, (n, 3))) @ cell for _ in range(systems)])
    state.set("positions", x)
    state.set("system", np.repeat(np.arange(systems), n))
    state.set("tags", np.arange(n * systems))
    state.set("species", rng.integers(0, types, n * systems))
    state.set("charges", rng.choice([-1.0, 1.0], n * systems))
    return state


def plain(function, cutoffs, table, state, domain, values, needs=NEEDS):
    out = Output()
    out.reset(needs, state.n_all, state.n_systems)
    compute, _ = pair.driver(function, needs - {"forces"})
    csr = domain.neighbors.half(float(cutoffs.max()))
    compute(0, state.n, state.positions, state.species, state.system, csr.offsets, csr.indices, cutoffs**2, table, *values,
            out.forces, out.energy, out.virial, out.atom_energy, np.zeros((1, 3, 3)))
    return finish(out, domain)


def fast(driver, state, domain, values, needs=NEEDS):
    out = Output()
    out.reset(needs, state.n_all, state.n_systems)
    driver.compute(state, domain.neighbors, domain.halo, needs, out, values)
    return finish(out, domain)


def finish(out, domain):
    result = {}
    for name, value in out.items():
        if name in ("forces", "atom_energy"):
            domain.halo.reverse(value)
            value = value[:domain.state.n]
        result[name] = value.copy()
    return result


def assert_same(got, expected, tolerance):
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert np.abs(got[name] - value).max() < tolerance * scale, name


CASES = [   # function, precision, width, tolerance, systems, species, periodic
    (lennard_jones, "double", 4, 1e-12, 1, 1, (1, 1, 1)), (lennard_jones, "double", 8, 1e-12, 3, 2, (1, 1, 1)),
    (lennard_jones, "mixed", 8, 3e-6, 2, 1, (0, 0, 0)), (lennard_jones, "mixed", 16, 3e-6, 1, 3, (1, 0, 0)),
    (screened_charges, "double", 4, 1e-12, 1, 2, (1, 0, 0)), (screened_charges, "double", 8, 1e-12, 2, 1, (1, 1, 1)),
    (screened_charges, "mixed", 8, 3e-6, 1, 2, (1, 1, 1))]


@pytest.mark.parametrize("function, precision, width, tolerance, systems, types, periodic", CASES)
def test_equals_the_plain_loop(function, precision, width, tolerance, systems, types, periodic):
    state = tilted_state(3, 216 if systems > 1 else 400, systems, types, periodic)
    rng = np.random.default_rng(1)
    symmetric = lambda low, high: (lambda m: 0.5 * (m + m.T))(rng.uniform(low, high, (types, types)))
    cutoffs = symmetric(3.0, 4.0)
    if types > 1:
        cutoffs[0, 1] = cutoffs[1, 0] = 0.0        # two species that do not see each other
    ranges = [(0.1, 0.2), (1.3, 1.5)] if function is lennard_jones else [(0.2, 0.3), (50, 90), (0.3, 0.4)]
    table = np.stack([symmetric(*limits) for limits in ranges], -1)
    driver = ClusterDriver(function, cutoffs, table, precision, width)
    domain = Domain(state, float(cutoffs.max()), 0.5)
    home = state.positions[:state.n].copy()
    for travel in (0.1, 4.0, 0.1, 4.0):      # the same buffers with and without rebuilds
        domain.refresh()
        values = [state.charges] if function is screened_charges else []
        expected = plain(function, cutoffs, table, state, domain, values)
        assert_same(fast(driver, state, domain, values), expected, tolerance)
        only = fast(driver, state, domain, values, frozenset({"forces"}))
        assert_same(only, {"forces": expected["forces"]}, tolerance)
        moved = home[state.tags[:state.n]] + rng.uniform(-0.06, 0.06, (state.n, 3)) + rng.uniform(-1, 1, 3) * travel
        state.set("positions", moved)
    assert domain.rebuilds >= 2


def test_cell_smaller_than_the_cutoff():
    state = State(2, np.array([[1.7, 0.2, 0.1], [0.1, 1.6, 0.0], [0.3, 0.2, 1.8]]), (True,) * 3, ["X"])
    state.set("positions", [[0.1, 0.2, 0.3], [0.9, 1.0, 1.2]])
    state.set("tags", [0, 1])
    domain = Domain(state, 4.0, 0.3)
    domain.refresh()
    cutoffs, table = np.array([[4.0]]), np.array([[[0.1, 1.0]]])
    for width in (4, 8):
        driver = ClusterDriver(lennard_jones, cutoffs, table, "double", width)
        got, expected = fast(driver, state, domain, []), plain(lennard_jones, cutoffs, table, state, domain, [])
        assert_same(got, expected, 1e-12)


def test_repeatable_bit_for_bit():
    state = tilted_state(5)
    domain = Domain(state, 3.5, 0.5)
    domain.refresh()
    args = lennard_jones, np.array([[3.5]]), np.array([[[0.1, 1.4]]])
    first = fast(ClusterDriver(*args), state, domain, [])
    again = fast(ClusterDriver(*args), state, domain, [])
    assert all((first[name] == again[name]).all() for name in first)


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_pruning_changes_nothing(precision, monkeypatch):
    """Forces with a list that is cut down as atoms move are those of the whole list, to the last bit."""
    state = tilted_state(7)
    domain = Domain(state, 3.5, 0.9)
    domain.refresh()
    args = lennard_jones, np.array([[3.5]]), np.array([[[0.1, 1.4]]]), precision
    pruning, whole = ClusterDriver(*args), ClusterDriver(*args)
    rng = np.random.default_rng(2)
    lengths = []
    for _ in range(8):
        state.positions[:state.n] += rng.uniform(-0.05, 0.05, (state.n, 3))
        assert not domain.refresh(), "the list must live through the test"
        monkeypatch.setattr("engine.kernels.pair_clusters.REACH", 0.3)
        cut = fast(pruning, state, domain, [])
        monkeypatch.setattr("engine.kernels.pair_clusters.REACH", 2.0)
        assert all((cut[name] == value).all() for name, value in fast(whole, state, domain, []).items())
        clusters, _ = pruning.clusters(state, domain.neighbors, domain.halo)
        lengths.append((pruning._kept_stop - clusters.start).sum())
        assert lengths[-1] < (whole._kept_stop - clusters.start).sum()
    assert len(set(lengths)) > 1, "pruned once only"


def test_one_potential_serves_two_simulations():
    """Buffers of one are not taken for those of the other."""
    driver = ClusterDriver(lennard_jones, np.array([[3.5]]), np.array([[[0.1, 1.4]]]))
    pairs = []
    for seed in (7, 8):
        state = tilted_state(seed, 60 * seed - 120)
        domain = Domain(state, 3.5, 0.9)
        domain.refresh()
        pairs.append((state, domain))
    alone = [fast(driver, state, domain, []) for state, domain in pairs]
    for (state, domain), expected in zip(pairs, alone):
        again = fast(driver, state, domain, [])
        assert all((again[name] == value).all() for name, value in expected.items())
