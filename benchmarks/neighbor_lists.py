"""Full lists with both indices, shifts, vectors and distances, beside vesin and matscipy on the same core."""
import time
from functools import partial
from importlib.metadata import version
from statistics import median

import numpy as np

from benchmarks.race import Row
from engine.neighbors.pair_list import PairList

ROUNDS, CALLS = 9, 3     # calls of a round that count


def structures(quick):
    rng = np.random.default_rng(1)
    side = 20 * 1.6796
    lattice = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1).reshape(-1, 3)
    fcc = lattice[lattice.sum(1) % 2 == 0] * (1.6796 / 2)
    yield "list: Lennard-Jones, 2.8 σ", fcc + rng.normal(0, 0.1, fcc.shape), side * np.eye(3), 2.8
    yield "list: density of water, 5 Å", rng.random((10000, 3)) * 46.4158883, 46.4158883 * np.eye(3), 5.0
    yield "list: 40 atoms, 12 Å", rng.random((40, 3)) * 7.8, 7.8 * np.eye(3), 12.0


def in_turns(contestants):
    """Seconds of thread time {name: [a round each]}: the contestants are in one process and have one thread. In each round the
    first call of a contestant is not counted, since it finds another's data in the cache and not its own, as in a loop."""
    seconds = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            run()
            begin = time.thread_time()
            for _ in range(CALLS):
                run()
            seconds[name].append((time.thread_time() - begin) / CALLS)
    return seconds


def same_pairs(ours, theirs):
    """Largest difference of vectors after sorting by atoms and shifts; refuses different sets of pairs."""
    keys = [np.lexsort((*s.T, j, i)) for i, j, s, _ in (ours, theirs)]
    for a, b in zip(ours[:3], theirs[:3]):
        if len(a) != len(b) or (np.asarray(a)[keys[0]] != np.asarray(b)[keys[1]]).any():
            raise RuntimeError("the lists hold different pairs: no time is reported")
    return float(np.abs(ours[3][keys[0]] - theirs[3][keys[1]]).max(initial=0.0))


def run(quick, say):
    import vesin
    rows = []
    for name, x, cell, cutoff in structures(quick):
        reused, fresh, finder = PairList(cutoff, reuse=True), PairList(cutoff), vesin.NeighborList(cutoff=cutoff, full_list=True)
        contestants = {
            "reused": partial(reused, x, cell), "fresh": partial(fresh, x, cell),
            "vesin": partial(finder.compute, points=x, box=cell, periodic=True, quantities="ijSdD", copy=True)}
        peers = {"vesin": f"vesin {version('vesin')}, copied out"}
        try:
            from matscipy.neighbours import neighbour_list
            contestants["matscipy"] = partial(neighbour_list, "ijSdD", cutoff=cutoff, positions=x, cell=cell,
                                              pbc=np.ones(3, bool))
            peers["matscipy"] = f"matscipy {version('matscipy')}"
        except ImportError:
            pass
        p, (i, j, s, _, vectors) = fresh(x, cell), contestants["vesin"]()
        difference = same_pairs((p.first, p.second, p.shifts, p.vectors), (i, j, s, vectors))
        seconds = in_turns(contestants)
        for peer, label in peers.items():
            for kind, goal in (("fresh", 3.0), ("reused", 5.0)):
                ratios = [a / b for a, b in zip(seconds[peer], seconds[kind])]
                rows.append(Row(name, len(x), 1, "double", f"{kind} arrays", label, median(seconds[kind]) * 1e3,
                                median(seconds[peer]) * 1e3, "ms", median(ratios), (min(ratios), max(ratios)), difference,
                                goal if peer == "vesin" else None, "difference of vectors, Å"))
                say(rows[-1])
    return rows
