"""The fast embedded-atom passes equal the plain loops, for one species and alloys, in both precisions."""
import numpy as np
import pytest
from ase.build import bulk

from engine.contracts import Inputs, Output
from engine.domain.domain import Domain
from engine.state import State
from potentials.eam.zhou import ZhouEAM

FAST = frozenset({"energy", "forces", "virial"})


def alloy(names, seed=1, periodic=(True, True, True)):
    atoms = bulk("Cu", "fcc", 3.7, cubic=True).repeat((4, 3, 3))
    rng = np.random.default_rng(seed)
    cell = np.array(atoms.cell) @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3)))
    systems = 2
    state = State(systems * len(atoms), np.repeat(cell[None], systems, 0), periodic, names)
    x = np.concatenate([atoms.get_scaled_positions() @ cell] * systems)
    state.set("positions", x + rng.normal(0, 0.15, x.shape))
    state.set("system", np.repeat(np.arange(systems), len(atoms)))
    state.set("species", rng.integers(0, len(names), len(x)))
    state.set("tags", np.arange(len(x)))
    return state


def evaluate(potential, domain, needs):
    state, out = domain.state, Output()
    out.reset(needs, state.n_all, state.n_systems)
    potential.compute(state, domain.neighbors, domain.halo, Inputs(), needs, out)
    domain.halo.reverse(out.forces)
    return {name: getattr(out, name)[:state.n] if name == "forces" else getattr(out, name) for name in FAST}


@pytest.mark.parametrize("names, precision, tolerance", [
    (["Cu"], "double", 1e-12), (["Cu", "Ni", "Al"], "double", 1e-12), (["Cu"], "mixed", 1e-5), (["Cu", "Al"], "mixed", 1e-5)])
def test_equals_the_plain_loops(names, precision, tolerance):
    potential = ZhouEAM()
    potential.precision = precision
    potential.bind(names)
    state = alloy(names, periodic=(True, True, precision == "double"))
    domain = Domain(state, potential.capabilities().cutoff, 0.5)
    for shift in (0.0, 0.05, 7.0):
        state.set("positions", state.positions[:state.n] + shift)
        domain.refresh()
        plain = evaluate(potential, domain, FAST | {"atom_energy"})     # per-atom energies take the plain loops
        fast = evaluate(potential, domain, FAST)
        for name in FAST:
            assert np.abs(fast[name] - plain[name]).max() < tolerance * np.abs(plain[name]).max(), name


def test_isolated_atoms_and_close_pairs():
    """Empty lists, lists of one, and an atom whose neighbors do not fill a register."""
    potential = ZhouEAM()
    potential.bind(["Cu"])
    state = State(4, np.diag([60.0, 60.0, 60.0]), (False,) * 3, ["Cu"])
    state.set("positions", [[10, 10, 10], [12.4, 10, 10], [30, 30, 30], [50, 50, 50]])
    state.set("tags", np.arange(4))
    domain = Domain(state, potential.capabilities().cutoff, 0.5)
    domain.refresh()
    fast, plain = (evaluate(potential, domain, needs) for needs in (FAST, FAST | {"atom_energy"}))
    assert np.allclose(fast["forces"], plain["forces"], atol=1e-12) and (fast["forces"][2:] == 0).all()
    assert fast["energy"] == pytest.approx(plain["energy"], abs=1e-12)
