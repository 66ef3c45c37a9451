"""The team of threads: every part once, sums in order, errors, nesting, forks, and whole runs on several threads."""
import multiprocessing
import os
import threading

import numpy as np
import pytest
from ase.build import bulk
from numba import njit

from engine.kernels import compiled, team
from engine.kernels.site import SitePotential
from engine.parallel import Serial, _crowded, cores, share_cores
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones


@njit(cache=True, nogil=True, error_model="numpy")
def add_range(begin, end, x, counts, total):
    for i in range(begin, end):
        counts[i] += 1
        total[0] += x[i]


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    with team.using(request.param):
        yield request.param


def test_every_row_once(threads):
    rng = np.random.default_rng(0)
    group = team.team_for(10**6)
    assert group.size == threads
    for rows in (0, 1, 2, 3, 17, 1000):
        x, counts, total = rng.normal(size=rows), np.zeros(rows, np.int64), np.zeros(1)
        for unit in (1, 8):
            cuts = group.cuts(rows, unit)
            assert cuts[0] == 0 and cuts[-1] == rows and (np.diff(cuts) >= 0).all()
            assert not (cuts[cuts < rows] % unit).any()
            group.add_up(add_range, cuts, x, counts, into=total)
        assert (counts == 2).all()
        assert total[0] == pytest.approx(2 * x.sum(), abs=1e-12)


def test_balanced_parts(threads):
    group = team.team_for(10**6)
    entries = np.r_[np.full(500, 40), np.full(500, 0)]
    start = np.cumsum(entries) - entries
    cuts = group.balanced(start, start + entries)
    work = [(entries[a:b] + team.ROW).sum() for a, b in zip(cuts, cuts[1:])]
    assert cuts[0] == 0 and cuts[-1] == 1000
    assert max(work) - min(work) <= 2 * (40 + team.ROW)


def test_thousands_of_launches_from_two_threads_at_once(threads):
    """Whoever finds the team busy does the parts alone: the same sums."""
    group, x = team.team_for(10**6), np.ones(1000)
    results = []

    def work():
        counts, total = np.zeros(1000, np.int64), np.zeros(1)
        for _ in range(2000):
            group.add_up(add_range, group.cuts(1000), x, counts, into=total)
        results.append((total[0], counts.min(), counts.max()))

    others = [threading.Thread(target=work) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert results == [(2e6, 2000, 2000)] * 2


def test_little_work_stays_with_one_thread():
    with team.using(2, grain=500):
        assert team.team_for(999).size == 1 and team.team_for(1000).size == 2


def _forked(queue):
    total = np.zeros(1)
    group = team.team_for(10**6)
    group.add_up(add_range, group.cuts(100), np.ones(100), np.zeros(100, np.int64), into=total)
    queue.put(total[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_a_team_of_its_own():
    with team.using(2):
        group, total = team.team_for(10**6), np.zeros(1)
        group.add_up(add_range, group.cuts(100), np.ones(100), np.zeros(100, np.int64), into=total)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_forked, args=(queue,))
        child.start()
        assert queue.get(timeout=60) == 100.0
        child.join()


def test_default_is_this_ranks_share(monkeypatch):
    before = team.threads()
    try:
        monkeypatch.setattr("engine.parallel.ASKED", "")
        assert share_cores(Serial()) == cores() == team.threads()
        monkeypatch.setattr("engine.parallel.ASKED", "1")
        assert share_cores(Serial()) == 1 == team.threads()
        assert share_cores(Serial(), 2) == 2 == team.threads()
    finally:
        share_cores(Serial(), before)


class _Node(Serial):
    """The first of four ranks of a node whose ranks may use these cores."""

    def __init__(self, masks):
        self.masks, self.size, self.node_ranks = masks, len(masks), len(masks)

    def on_node(self, thing):
        return self.masks


FOUR, OTHERS, BOTH = {0, 1, 2, 3}, {4, 5, 6, 7}, set(range(8))


@pytest.mark.parametrize("masks, threads", [
    ([BOTH] * 4, 2), ([FOUR, FOUR, OTHERS, OTHERS], 2), ([FOUR, OTHERS], 4), ([{0}, {1}, {2}, {3}], 1), ([{0, 1}] * 4, 1),
    ([FOUR, {0}, OTHERS, OTHERS], 2)])
def test_ranks_share_the_cores_that_they_may_use(monkeypatch, masks, threads):
    before = team.threads()
    monkeypatch.setattr("engine.parallel.ASKED", "")
    monkeypatch.setattr("engine.parallel.affinity", lambda process=0: masks[0])
    try:
        assert share_cores(_Node(masks)) == threads
    finally:
        monkeypatch.undo()
        share_cores(Serial(), before)


@pytest.mark.parametrize("mine, ranks, crowded", [({2}, 4, False), (FOUR, 4, False), (FOUR, 5, True), ({2}, 5, True)])
def test_ranks_yield_where_there_are_more_of_them_than_cores(monkeypatch, mine, ranks, crowded):
    """Whether or not each is bound to one core: the launcher may use all."""
    monkeypatch.setenv("MPI_LOCALNRANKS", str(ranks))
    monkeypatch.setattr("engine.parallel.affinity", lambda process=0: FOUR if process else mine)
    assert _crowded() == crowded


def _run(potential, integrator, species, a, threads, skin=0.6, steps=40):
    with team.using(threads):
        atoms = bulk(species, "fcc", a=a, cubic=True).repeat(4)
        sim = Simulation.from_atoms(atoms, potential(), integrator(), temperature=600, seed=4, skin=skin)
        sim.run(steps)
        return sim.array("positions"), sim.conserved()[0], sim.domain.rebuilds


@pytest.mark.parametrize("potential, species, a", [
    (lambda: LennardJones(epsilon=0.0104, sigma=3.4, cutoff=6.5), "Ar", 5.3),
    (lambda: ZhouEAM(), "Cu", 3.62),
])
def test_a_run_on_several_threads(potential, species, a):
    """The same trajectory to rounding with any number of threads, the same bits when repeated, rebuilds on the way."""
    def langevin():
        return Langevin(timestep=4.0, temperature=600.0, friction=0.01)
    alone = _run(potential, langevin, species, a, 1)
    assert alone[2] > 2
    for threads in (2, 3):
        first, again = (_run(potential, langevin, species, a, threads) for _ in range(2))
        assert first[0].tobytes() == again[0].tobytes() and first[1] == again[1]
        assert np.abs(first[0] - alone[0]).max() < 1e-8
        assert first[1] == pytest.approx(alone[1], abs=1e-8)


def products(kind, count, vectors, distances, kinds, parameters, gradient):
    """Σ over pairs of bonds of their products, another strength for each species in the middle."""
    energy = 0.0
    for j in range(count):
        for k in range(j):
            for d in range(3):
                energy += parameters[kind] * vectors[j, d] * vectors[k, d]
                gradient[j, d] += parameters[kind] * vectors[k, d]
                gradient[k, d] += parameters[kind] * vectors[j, d]
    return energy


class Products(SitePotential):
    site = staticmethod(products)

    def parameters(self, species_names):
        return np.full((len(species_names),) * 2, 3.0), np.arange(1.0, 1.0 + len(species_names))


@pytest.mark.parametrize("potential", [lambda: LennardJones(epsilon=0.1, sigma=2.3, cutoff=5.0), ZhouEAM, Products])
def test_several_species_and_all_per_atom_quantities(potential):
    """The same on any number of threads to rounding, the same bits when repeated."""
    atoms = bulk("Cu", "fcc", a=3.62, cubic=True).repeat(4)
    atoms.symbols[::3] = "Ni"
    atoms.rattle(0.1, seed=1)
    needs = frozenset({"energy", "virial", "atom_energy", "atom_virial"})

    def evaluate(threads):
        with team.using(threads):
            sim = Simulation.from_atoms(atoms, potential(), skin=0.6)
            sim.forces.all_levels(needs)
            return {name: sim.forces.total(name).copy() for name in (*needs, "forces")}
    alone = evaluate(1)
    for threads in (2, 3):
        first, again = evaluate(threads), evaluate(threads)
        for name, value in alone.items():
            assert first[name].tobytes() == again[name].tobytes()
            assert np.abs(first[name] - value).max() < 1e-11 * np.abs(value).max(), name


def test_a_tuned_skin_changes_nothing_but_rounding_and_survives_a_restart():
    def lj():
        return LennardJones(epsilon=0.0104, sigma=3.4, cutoff=6.5)
    fixed = _run(lj, lambda: NVE(8.0), "Ar", 5.3, 1, steps=150)
    tuned = _run(lj, lambda: NVE(8.0), "Ar", 5.3, 1, skin="auto", steps=150)
    again = _run(lj, lambda: NVE(8.0), "Ar", 5.3, 1, skin="auto", steps=150)
    assert tuned[0].tobytes() == again[0].tobytes()
    assert np.abs(tuned[0] - fixed[0]).max() < 1e-6
    whole, half = (_tuned(lj) for _ in range(2))
    whole.run(240)
    half.run(120)
    assert half.domain.skin != pytest.approx(0.15 * 6.5)      # it has decided something
    resumed = _tuned(lj)
    resumed.load_state_dict(half.state_dict())
    resumed.run(120)
    assert resumed.domain.skin == whole.domain.skin
    assert resumed.array("positions").tobytes() == whole.array("positions").tobytes()


def _tuned(potential):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(4)
    return Simulation.from_atoms(atoms, potential(), NVE(12.0), temperature=600, seed=4, skin="auto")


def test_kernels_that_differ_in_a_constant_of_their_module_are_told_apart():
    """As specialised ones do: same code, same types, another constant."""
    text = '''
from numba import njit

VALUE = {}


@njit(cache=True, error_model="numpy")
def fill(begin, end, out):
    for i in range(begin, end):
        out[i] = VALUE
'''
    first, second = (compiled.load(text.format(value), name="constant").fill for value in (1.0, 2.0))
    with team.using(2) as _:
        for kernel, value in ((first, 1.0), (second, 2.0)):
            out = np.zeros(64)
            team.team_for(64)(kernel, team.team_for(64).cuts(64), out)
            assert (out == value).all()
