"""What a step costs on many ranks, predicted: ``python -m benchmarks.ranks_model`` prints the table of docs/ranks.md.

The model is ``engine.domain.plan.step_time``. Inputs: compute time of an atom, by measurement (``--lj``, ``--eam`` in ns); ghosts
of a cubic brick, half of its shell as both potentials read half lists; networks as stated in ``engine.domain.plan``. Assumed:
uniform density, the largest brick 2 % above the mean, 13 of 26 neighbors (more where a brick is thinner than the reach)
send in a round and 13 receive, and no overlap of computing and messages.
"""

import argparse

from engine.domain.plan import NETWORKS, step_time

IMBALANCE = 1.02
MATTER = {  # density of atoms in 1/Å³, cutoff + skin in Å, bytes of a ghost in each round, rounds
    "lj": (0.8442 / 3.405**3, 2.8 * 3.405, 24, 2),
    "eam": (4 / 3.615**3, 6.0, 24 * 2 / 3 + 8 / 3, 3),  # positions, forces, and one number in between
}


def brick(atoms, ranks, density, reach):
    """Atoms of the fullest rank, ghosts that it sees, and ranks that they come from."""
    n = IMBALANCE * atoms / ranks
    side = (n / density) ** (1 / 3)
    shells = int(reach / side) + 1
    return n, 0.5 * density * ((side + 2 * reach) ** 3 - side**3), 0.5 * min((2 * shells + 1) ** 3 - 1, ranks - 1)


def predict(kind, atoms, ranks, network, seconds_per_atom):
    """(ms a step, communication's share, efficiency against one rank without ghosts)"""
    density, reach, size, rounds = MATTER[kind]
    n, ghosts, peers = brick(atoms, ranks, density, reach)
    compute, talk = step_time(NETWORKS[network], ranks, n, ghosts, peers, seconds_per_atom, size, rounds)
    return 1e3 * (compute + talk), talk / (compute + talk), seconds_per_atom * atoms / ranks / (compute + talk)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lj", type=float, default=90.0, help="ns of one core for an atom and step, lists included")
    parser.add_argument("--eam", type=float, default=202.0)
    given = parser.parse_args()
    networks = list(NETWORKS)[1:]
    print("| matter | atoms | ranks | atoms a rank | " + " | ".join(f"{n}: ms a step, efficiency" for n in networks) + " |")
    print("|---" * (4 + len(networks)) + "|")
    for kind, seconds in (("lj", 1e-9 * given.lj), ("eam", 1e-9 * given.eam)):
        for atoms, ranks in ((10**6, 10**3), (10**7, 10**3), (10**8, 10**4), (10**9, 10**4), (10**9, 10**5)):
            cells = ["{0:.3g}, {2:.2f}".format(*predict(kind, atoms, ranks, n, seconds)) for n in networks]
            powers = [f"10^{len(str(number)) - 1}" for number in (atoms, ranks)]
            print(f"| {kind} | {powers[0]} | {powers[1]} | {atoms // ranks} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
