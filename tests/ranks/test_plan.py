"""The plan for N ranks is what N ranks do."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from conftest import sheared
from rank_launch import mpiexec

from engine.build import state_from_atoms
from engine.cli.check import _rounds, _seconds_of_a_step
from engine.contracts import Capabilities, Potential
from engine.domain.bricks import divide
from engine.domain.plan import NETWORKS, _Pretended, plan, step_time
from engine.simulation import Simulation
from potentials.eam.zhou import ZhouEAM

ACTUAL = """
import json
from test_plan import structure
from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.domain.migration import share_out
from engine.parallel import world
comm, state = world(), state_from_atoms(structure())
share_out(state, comm)
domain = Domain(state, 5.0, 0.7, half=HALF)
domain.refresh()
halo = domain.halo
senders = int(sum(p.receive.stop > p.receive.start for p in halo.peers)) if HALF else len(halo.peers)
images = comm.gather([state.n, state.n_ghost, state.n_ghost - len(halo.owner), senders])
if comm.rank == 0:
    print(json.dumps(images))
"""


def structure():
    atoms = sheared(bulk("Cu", cubic=True) * (5, 4, 3))
    atoms.positions += np.random.default_rng(2).normal(scale=0.3, size=atoms.positions.shape) + 100.0  # and not wrapped
    return atoms


@pytest.mark.mpi
@pytest.mark.parametrize("half", [False, True])
def test_plan_is_what_happens(half):
    actual = np.array(json.loads(mpiexec(3, "-c", ACTUAL.replace("HALF", str(half))).stdout)).T
    found = plan(state_from_atoms(structure()), 5.7, 3, half)
    assert (np.array([found.atoms, found.ghosts, found.remote, found.peers]) == actual).all()


@pytest.mark.parametrize("ranks", [2, 3, 7, 16, 61])
def test_work_is_divided_evenly_for_any_number_of_ranks(ranks):
    """Work that is all in one corner too; bricks tile the cell: every atom has one owner, inside that rank's bounds."""
    rng = np.random.default_rng(ranks)
    x = np.concatenate([rng.random((4000, 3)), 0.1 * rng.random((4000, 3))])
    work = rng.integers(10, 60, len(x))
    system = np.zeros(len(x), int)
    bricks = divide(x, system, work, 1, np.array([30.0, 40.0, 50.0]), np.ones(3, bool), _Pretended(ranks))
    owner = bricks.owners(x, system)
    load = np.bincount(owner, weights=work, minlength=ranks)
    assert load.max() < 1.06 * load.mean()
    assert (x >= bricks.low[owner]).all() and (x < bricks.high[owner]).all()
    volume = (bricks.high - bricks.low).prod(1)
    assert volume.sum() == pytest.approx(1.0)


def test_whole_systems_stay_on_one_rank_where_that_is_even():
    system = np.repeat(np.arange(8), 50)
    x = np.random.default_rng(0).random((400, 3))
    bricks = divide(x, system, np.ones(400, int), 8, np.full(3, 10.0), np.ones(3, bool), _Pretended(4))
    assert all(len(set(bricks.owners(x, system)[system == s])) == 1 for s in range(8))
    assert (np.bincount(bricks.owners(x, system)) == 100).all()


def test_cost_model_has_the_right_limits():
    """Nothing to send alone; and twice the bandwidth saves exactly half of what bytes cost."""
    network = NETWORKS["shared-memory"]
    assert step_time(network, 1, 1000, 500, 0, 1e-7) == (pytest.approx(1e-4), 0.0)
    fast = type(network)(network.latency, 2 * network.bandwidth)
    slow, quick = (step_time(n, 8, 1000, 500, 7, 1e-7)[1] for n in (network, fast))
    assert slow - quick == pytest.approx(500 * 24 * 2 / network.bandwidth / 2)
    votes = [step_time(network, 8, 1000, 0, 0, 1e-7, votes=k)[1] for k in (1, 4)]
    assert votes[1] == pytest.approx(4 * votes[0])


def test_check_plans_from_the_command_line(tmp_path, capsys, monkeypatch):
    from engine.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.toml").write_text("""
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [4, 4, 4]
[potential]
kind = "eam/zhou"
[[stage]]
integrator = "nve"
steps = 10
timestep = 2.0
""")
    main(["check", "input.toml", "--ranks", "3", "--network", "ethernet-25"])
    text = " ".join(capsys.readouterr().out.split())
    assert "on 3 ranks" in text and "from up to 2 other ranks" in text and "efficiency" in text
    assert "4 rounds, 64 bytes a ghost; 1 votes" in text  # positions, densities back, slopes of embedding, forces back
    for options, word in ((["3", "--network", "ethernet"], "did you mean 'ethernet-25'"), (["0"], "1 or more"),
                          (["-3"], "1 or more")):
        with pytest.raises(SystemExit):
            main(["check", "input.toml", "--ranks", *options])
        assert word in capsys.readouterr().err


def test_rounds_of_a_step_count_levels_and_layers():
    """An inner level four times for each outer one, which passes messages of twelve numbers between two layers."""
    class Passing(Potential):
        def capabilities(self):
            return Capabilities(4.0, "full", "message passing", 2)

        def compute(self, atoms, neighbors, halo, inputs, needs, out):
            features = np.zeros((atoms.n_all, 12), np.float32)
            halo.forward(features)
            halo.reverse(features)

    simulation = Simulation.from_atoms(bulk("Cu", cubic=True), {"fast": ZhouEAM(), "slow": Passing()},
                                       levels=[{"fast": 1.0}, {"slow": 1.0}], every=[1, 4])
    assert sorted(_rounds(simulation)) == sorted(4 * [24, 8, 8, 24] + [24, 48, 48, 24])


def test_compiling_is_no_part_of_a_step():
    """The first call takes half a second, one of the others a tenth, and a step none of them."""
    waits = iter([0.5, 0.0, 0.1])
    forces = lambda needs, level: time.sleep(next(waits, 0.0))
    forces.every = [1]
    assert _seconds_of_a_step(SimpleNamespace(forces=forces)) < 0.005


SLAB = """
[system]
crystal = { structure = "fcc", species = "Ar", a = 5.4 }
replicate = [6, 6, 3]
periodic = [true, true, false]
[potential]
kind = "lj"
epsilon = 0.0104
sigma = 3.4
cutoff = 8.5
[[stage]]
integrator = "nve"
steps = 10
timestep = 2.0
"""
GHOSTS = """
from engine.run import from_file
simulation = from_file("slab.toml").build()
simulation.domain.refresh()
most = simulation.comm.max(simulation.state.n_ghost)
if simulation.comm.rank == 0:
    print(most)
"""


@pytest.mark.mpi
def test_check_counts_the_ghosts_of_a_slab(tmp_path, capsys):
    """Half lists alone of one rank, but not of several where a direction is open."""
    from engine.cli import main

    (tmp_path / "slab.toml").write_text(SLAB)
    main(["check", str(tmp_path / "slab.toml"), "--ranks", "2"])
    planned = capsys.readouterr().out.split("ghosts a rank")[1].split()[0]
    assert planned == mpiexec(2, "-c", GHOSTS, cwd=tmp_path).stdout.strip()
