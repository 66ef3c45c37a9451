"""Every potential of the contract tests, spread over ranks: run by ``test_potentials_on_ranks.py``."""

import pickle
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "potentials"), str(TESTS / "ranks")]

from rank_tools import ALL, evaluated  # noqa: E402
from test_contract import CASES  # noqa: E402

from engine.parallel import world  # noqa: E402


def results(comm):
    """{case: arrays} for all of them, on a cell of two in each direction."""
    out = {}
    for name, (make, structure, _) in CASES.items():
        potential, atoms = make(), structure().repeat((2, 2, 2))
        atoms.rattle(0.02, seed=3)
        potential.bind(sorted(set(atoms.get_chemical_symbols())))
        out[name] = evaluated(comm, potential, atoms, needs=ALL & potential.capabilities().provides)
    return out


if __name__ == "__main__":
    comm = world()
    found = results(comm)
    if comm.rank == 0:
        Path(sys.argv[1]).write_bytes(pickle.dumps(found))
