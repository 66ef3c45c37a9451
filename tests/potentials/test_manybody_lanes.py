"""Stillinger–Weber and Tersoff over register lanes equal their scalar functions."""
import numpy as np
import pytest

from engine.contracts import Inputs, Output
from engine.domain.domain import Domain
from engine.state import State
from potentials.manybody.stillinger_weber import StillingerWeber
from potentials.manybody.tersoff import Tersoff

SILICON_SW = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"
SILICON_T = "Si Si Si {m} 1.0 {l3} 1.0039e5 16.217 -0.59825 0.78734 1.1e-6 1.73222 471.18 2.85 0.15 2.4799 1830.8\n"
NEEDS = frozenset({"energy", "forces", "virial", "atom_energy"})


def silicon(seed, n_systems=2, periodic=(True, True, True), noise=0.2):
    rng = np.random.default_rng(seed)
    basis = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [3, 3, 3], [3, 1, 1], [1, 3, 1], [1, 1, 3]]) / 4
    cells = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    fractional = (cells + basis).reshape(-1, 3) / 3
    cell = 16.3 * np.eye(3) + rng.uniform(-0.6, 0.6, (3, 3))
    state = State(n_systems * len(fractional), np.repeat(cell[None], n_systems, 0), periodic, ["Si"])
    x = np.concatenate([fractional @ cell] * n_systems)
    state.set("positions", x + rng.normal(0, noise, x.shape))
    state.set("system", np.repeat(np.arange(n_systems), len(fractional)))
    state.set("tags", np.arange(len(x)))
    return state


def evaluate(potential, domain):
    state, out = domain.state, Output()
    out.reset(NEEDS, state.n_all, state.n_systems)
    potential.compute(state, domain.neighbors, domain.halo, Inputs(), NEEDS, out)
    domain.halo.reverse(out.forces)
    domain.halo.reverse(out.atom_energy)
    return {name: getattr(out, name)[:state.n] if name in ("forces", "atom_energy") else getattr(out, name)
            for name in NEEDS}


@pytest.mark.parametrize("kind, text", [
    (StillingerWeber, SILICON_SW), (Tersoff, SILICON_T.format(m=3.0, l3=0.0)), (Tersoff, SILICON_T.format(m=3.0, l3=1.3)),
    (Tersoff, SILICON_T.format(m=1.0, l3=1.1))])
@pytest.mark.parametrize("periodic", [(True, True, True), (False, True, False)])
def test_equals_the_scalar_function(tmp_path, kind, text, periodic):
    path = tmp_path / "Si.txt"
    path.write_text(text)
    fast, plain = kind(file=str(path)), kind(file=str(path))
    plain.lanes = lambda parameters: None
    fast.bind(["Si"]), plain.bind(["Si"])
    assert fast._fast is not None and plain._fast is None
    domain = Domain(silicon(4, periodic=periodic), fast.capabilities().cutoff, 0.6)
    domain.refresh()
    got, expected = evaluate(fast, domain), evaluate(plain, domain)
    for name in NEEDS:
        assert np.abs(got[name] - expected[name]).max() < 1e-12 * np.abs(expected[name]).max(), name
