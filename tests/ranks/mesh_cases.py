"""Particle-mesh Ewald over ranks: run by ``test_mesh_on_ranks.py`` on one rank and on several."""

import pickle
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS), str(TESTS / "potentials"), str(TESTS / "ranks")]

from ase import Atoms  # noqa: E402
from rank_tools import ordered  # noqa: E402
from test_particle_mesh import C6, random_ions  # noqa: E402

from engine.build import state_from_atoms  # noqa: E402
from engine.domain.domain import Domain  # noqa: E402
from engine.domain.migration import share_out  # noqa: E402
from engine.forces import Forces  # noqa: E402
from engine.parallel import world  # noqa: E402
from potentials.coulomb.pme import CoulombPME  # noqa: E402
from potentials.mesh.dispersion import DispersionPME  # noqa: E402

TWO = Atoms("Na2", [[1, 1, 1], [3, 1.5, 1]], cell=[9, 10, 11], pbc=True, charges=[1, -1])
CASES = {  # name: (potential, structures, excluded pairs)
    "ions": (lambda: CoulombPME(cutoff=5.0, accuracy=1e-4), random_ions(300), []),
    "normal charges, exclusions": (lambda: CoulombPME(cutoff=5.0, accuracy=1e-3), random_ions(200, normal=True),
                                   [(0, 1), (0, 40), (199, 198)]),
    "several systems": (lambda: CoulombPME(cutoff=5.0, accuracy=1e-3),
                        [random_ions(40, 1), random_ions(60, 2), random_ions(30, 3)], []),
    "idle ranks": (lambda: CoulombPME(cutoff=5.0, accuracy=1e-3), TWO, []),
    "dispersion": (lambda: DispersionPME(C6=C6, cutoff=5.0, accuracy=1e-4), random_ions(100), [(0, 1)]),
}


def everything(comm, potential, atoms, exclusions):
    """All that the potential says, after atoms have moved half a skin since the last rebuild and the cell a little."""
    state = state_from_atoms(atoms)
    state.exclusions = np.array(exclusions, np.int64).reshape(-1, 2)
    share_out(state, comm)
    potential.bind(state.species_names)
    domain = Domain(state, potential.capabilities().cutoff, 1.0)
    forces = Forces(state, domain, {"potential": potential})
    forces()
    step = np.random.default_rng(4).uniform(-0.2, 0.2, (int(state.tags[: state.n].max(initial=0)) + 400, 3))
    state.set("positions", state.positions[: state.n] + step[state.tags[: state.n]])
    strain = np.eye(3) + 0.01 * np.random.default_rng(5).uniform(-1, 1, (3, 3))
    state.cells = state.cells @ strain
    state.set("positions", state.positions[: state.n] @ strain)
    out = forces(potential.capabilities().provides)
    assert domain.rebuilds == 1
    rows = ordered(comm, state, {k: v for k, v in out.items() if len(v) == state.n_all and k not in ("energy", "virial")})
    return {**rows, **{k: out._arrays[k].copy() for k in ("energy", "virial")}, "owned": np.array(comm.gather(state.n))}


def results(comm):
    return {name: everything(comm, make(), atoms, exclusions) for name, (make, atoms, exclusions) in CASES.items()}


if __name__ == "__main__":
    comm = world()
    found = results(comm)
    if comm.rank == 0:
        Path(sys.argv[1]).write_bytes(pickle.dumps(found))
