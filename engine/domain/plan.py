"""What a run on N ranks would be: bricks, ghosts and messages counted on the whole state, and a model of their cost.

    t_step = c n_max + r (m (o + λ) + b/β + p g) + v λ_a ⌈log₂ N⌉

| symbol | meaning | name here |
|---|---|---|
| c, n_max | compute time of an atom, and atoms of the fullest rank | ``seconds_per_atom``, ``atoms`` |
| r | rounds of messages in a step: positions out, forces back, and what a potential exchanges in between | ``rounds`` |
| v | votes on rebuilding in a step: one for each evaluation of a level | ``votes`` |
| m, o | peers of a rank, and what one message costs the processor | ``peers``, ``OVERHEAD`` |
| λ, β | latency and bandwidth for each rank | ``Network`` |
| b | bytes that a rank sends in a round, on average | ``ghosts`` × ``bytes_per_ghost`` |
| g, p | ghosts that come from other ranks, and the processor's time to pack or add one | ``ghosts``, ``PACK`` |
| λ_a | a hop of the reduction that votes on rebuilding: latency and overhead | |
"""

from dataclasses import dataclass

import numpy as np

from engine import cell as cells_
from engine.domain.bricks import divide
from engine.domain.ghosts import find, peers
from engine.parallel import Serial

OVERHEAD = 2e-6  # s of the processor for one message from Python (posting, packing's call)
PACK = 2e-9  # s for a ghost in a round; fitted by ``python -m benchmarks.ranks_halo``
SAMPLE = 48  # ranks whose ghosts are counted where there are more


@dataclass(frozen=True)
class Network:
    """latency (s) of a short message and bandwidth (bytes/s) that one rank gets when all ranks send"""

    latency: float
    bandwidth: float


#: stated inputs, not measurements of ours: vendors' figures, rounded. A node's bandwidth serves its 64 ranks; of their
#: bytes a quarter leaves the node, because consecutive ranks own compact groups of bricks (4 × 4 × 4: a quarter of the faces)
NETWORKS = {
    "shared-memory": Network(1.0e-6, 4e9),
    "infiniband-hdr": Network(1.5e-6, 25e9 / 16),  # 200 Gb/s a node
    "slingshot-11": Network(2.0e-6, 25e9 / 16),
    "ethernet-25": Network(15e-6, 3.1e9 / 16),  # TCP
}


class _Pretended(Serial):
    """One process that divides space as N would."""

    def __init__(self, size):
        self.size = size


@dataclass
class Plan:
    """atoms (N,) of each rank; ghosts, remote, peers of those ranks that were looked at: all ghosts, those that another
    rank sends, and from how many ranks they come"""

    atoms: np.ndarray
    ghosts: np.ndarray
    remote: np.ndarray
    peers: np.ndarray


def plan(state, reach, ranks, half=False):
    """Divide a state that this process has whole; reach = cutoff + skin, Å; half: ghosts for half lists only, as ``Domain``."""
    n = state.n
    fractional, system = state.fractional(), state.system[:n]
    inside = fractional - np.where(state.periodic, np.floor(fractional), 0.0)
    heights = cells_.heights(state.cells)
    bricks = divide(inside, system, np.ones(n, np.int64), state.n_systems, heights.max(0), state.periodic, _Pretended(ranks))
    owner = bricks.owners(inside, system)
    margin = reach / heights
    looked = np.unique(np.linspace(0, ranks - 1, min(ranks, SAMPLE)).astype(int))
    counts, every = np.empty((3, len(looked)), int), np.arange(n, dtype=np.int32)
    cells = np.tile(np.eye(3), (state.n_systems, 1, 1)), np.zeros((state.n_systems, 3))  # places are in fractions already
    for k, r in enumerate(looked):
        index, shift = np.empty(len(every), np.int64), np.empty((len(every), 3), np.int32)
        while True:
            found = find(inside, system, *cells, every, bricks.low[r], bricks.high[r], bricks.first[r], bricks.last[r], margin,
                         state.periodic, False, half, index, shift, 0)
            if found <= len(index):
                break
            index, shift = np.empty(found, np.int64), np.empty((found, 3), np.int32)
        index, shift = index[:found], shift[:found]
        index = index[shift.any(1) | (owner[index] > r if half else owner[index] != r)]
        others = owner[index][owner[index] != r]
        senders = len(np.unique(others)) if half else len(peers(bricks, r, margin, state.periodic))
        counts[:, k] = len(index), len(others), senders
    return Plan(np.bincount(owner, minlength=ranks), *counts)


def step_time(network, ranks, atoms, ghosts, peers, seconds_per_atom, bytes_per_ghost=24, rounds=2, votes=1):
    """(compute, communication) in seconds a step, by the model above; ghosts: those that other ranks send."""
    if ranks == 1:
        return seconds_per_atom * atoms, 0.0
    messages = rounds * (peers * (OVERHEAD + network.latency) + ghosts * (bytes_per_ghost / network.bandwidth + PACK))
    return seconds_per_atom * atoms, messages + votes * (network.latency + OVERHEAD) * np.ceil(np.log2(ranks))
