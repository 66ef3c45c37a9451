"""`engine run` and resume over ranks, from end to end: one file as in a serial run, and clean ends when a rank fails."""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from types import SimpleNamespace

import ase.io
import h5py
import numpy as np
import pytest
import rank_runs
from ase.build import bulk
from conftest import contents, rattled
from rank_launch import HERE, mpiexec

from engine import registry
from engine.errors import InputError
from engine.output import checkpoint, tree
from engine.output.watch import Watch
from engine.parallel import Serial, launched
from engine.run import Run
from engine.simulation import Simulation
from engine.stages import Stage
from engine.weighted import WeightedSum
from plugins.adapters.graph import GraphModel
from potentials.eam.zhou import ZhouEAM

pytestmark = pytest.mark.mpi


def task(name, folder, ranks, **options):
    return mpiexec(ranks, HERE / "rank_runs.py", name, folder, **options)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The run on one rank: whole, and stopped at step 37."""
    folder = tmp_path_factory.mktemp("serial")
    subprocess.run([sys.executable, HERE / "rank_runs.py", "whole_and_parts", folder], check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    task("whole_and_parts", folder, 3)
    return folder


def unwrapped(found):
    """Positions followed through the boundaries, in place of positions and images: when atoms are wrapped does not matter."""
    group = "particles/trajectory/"
    if group + "image/value" in found:
        images, cells = found.pop(group + "image/value"), found[group + "box/edges/value"]
        found[group + "position/value"] = found[group + "position/value"] + np.einsum("tni,tij->tnj", images, cells)
    return found


def same(one, two, tolerance=0.0, name="run.h5md"):
    one, two = contents(one / name), contents(two / name)
    if tolerance:
        one, two = unwrapped(one), unwrapped(two)
    assert set(one) == set(two)
    for name in one:
        if tolerance and one[name].dtype.kind == "f":
            scale = max(np.nanmax(np.abs(one[name]), initial=0.0), 1.0)  # a Gaussian's rows are no numbers before it is found
            np.testing.assert_allclose(two[name], one[name], rtol=0.0, atol=tolerance * scale, err_msg=name)
        else:
            assert np.array_equal(one[name], two[name]), name


def test_one_file_as_in_a_serial_run(serial, three):
    same(serial / "whole", three / "whole", 1e-9)
    assert (serial / "whole/run.thermo.txt").read_bytes() == (three / "whole/run.thermo.txt").read_bytes()


def test_frames_in_pieces_are_the_same_frames(three, tmp_path):
    task("in_pieces", tmp_path, 3)
    same(three / "whole", tmp_path)
    with h5py.File(tmp_path / "run.h5md") as file:
        assert file["particles/trajectory/position/value"].chunks[1] == 50


def test_extended_xyz_in_pieces(tmp_path):
    """One system piece by piece and two systems whole are what a serial run writes."""
    subprocess.run([sys.executable, HERE / "rank_runs.py", "extended_xyz", tmp_path / "alone"], check=True, timeout=120)
    task("extended_xyz", tmp_path / "three", 3)
    for name, systems in (("one", 1), ("two", 2)):
        alone, three = (ase.io.read(tmp_path / side / name / "run.xyz", ":") for side in ("alone", "three"))
        assert len(alone) == len(three) == 3 * systems
        for one, other in zip(alone, three, strict=True):
            assert len(one) == len(other) == 108 and one.info == pytest.approx(other.info)
            assert other.get_potential_energy() == pytest.approx(one.get_potential_energy(), abs=1e-9)
            for key in ("positions", "momenta", "masses"):
                assert np.abs(one.arrays[key] - other.arrays[key]).max() < 1e-7, key
            assert np.abs(one.get_forces() - other.get_forces()).max() < 1e-7


def slab():
    atoms = rattled(bulk("Ar", cubic=True, a=5.4) * (4, 4, 2), 0.1)
    atoms.set_cell(atoms.cell[:] + [[0, 0, 0], [6, 0, 0], [0, 0, 0]], scale_atoms=True)
    atoms.pbc = True, True, False
    return atoms


OTHERS = {"few atoms": (rank_runs.FEW_ATOMS, lambda: rattled(bulk("Cu") * (3, 1, 1), 0.05), 4), "slab": (rank_runs.SLAB, slab, 3),
          "quantum": (rank_runs.QUANTUM, lambda: None, 2)}  # name: (input, structure, ranks)


@pytest.mark.parametrize("name", OTHERS)
def test_as_a_serial_run(tmp_path, name):
    """Ranks without atoms, a triclinic slab, an ensemble and its Gaussian: all that is written, by the command line."""
    text, structure, ranks = OTHERS[name]
    for folder in ("alone", "together"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "input.toml").write_text(text)
        if (atoms := structure()) is not None:
            ase.io.write(tmp_path / folder / "structure.extxyz", atoms)
    command = "-m", "engine", "run", "-q", "input.toml"
    subprocess.run([sys.executable, *command], cwd=tmp_path / "alone", check=True, timeout=120)
    mpiexec(ranks, *command, cwd=tmp_path / "together")
    for path in sorted(path.name for path in (tmp_path / "alone").glob("run.*h5*") if "checkpoint" not in path.name):
        same(tmp_path / "alone", tmp_path / "together", 1e-9, path)


TUNED = """
from engine.domain.skin import SkinTuner
from engine.run import from_file
work, seen = SkinTuner.work, []
SkinTuner.work = lambda self, domain, skins: seen.append(domain.state.n_ghost) or work(self, domain, skins)
from_file("input.toml").execute(quiet=True)
assert seen and min(seen) > 0, seen
"""


def test_ghosts_count_when_ranks_choose_a_skin(tmp_path):
    (tmp_path / "input.toml").write_text(rank_runs.SLAB)
    ase.io.write(tmp_path / "structure.extxyz", slab())
    mpiexec(2, "-c", TUNED, cwd=tmp_path)


def test_a_rank_reads_its_own_part_of_a_checkpoint(three):
    """All ranks' trees are there, and each rank reads its own."""
    found = checkpoint.newest(three / "whole/run.h5md")
    assert sorted(found["trees"]) == ["0", "1", "2"]
    tags = np.concatenate([t["state"]["atoms"]["tags"] for t in found["trees"].values()])
    assert (np.sort(tags) == np.arange(108)).all()

    class Second(Serial):
        rank, size = 1, 3

    mine = checkpoint.newest(three / "whole/run.h5md", Second())
    assert list(mine["trees"]) == ["1"] and mine["step"] == found["step"]
    assert np.array_equal(mine["trees"]["1"]["domain"]["reference"], found["trees"]["1"]["domain"]["reference"])


def test_resume_on_as_many_ranks_is_bitwise(three):
    same(three / "whole", three / "parts")


@pytest.mark.parametrize("before, after", [("three", 2), ("three", 4), ("three", 1), ("serial", 2)])
def test_resume_on_another_number_of_ranks(request, serial, tmp_path, before, after):
    stopped = tmp_path / "stopped"
    shutil.copytree(request.getfixturevalue(before) / "stopped", stopped)
    if after == 1:
        subprocess.run([sys.executable, HERE / "rank_runs.py", "resume", stopped], check=True, timeout=120)
    else:
        task("resume", stopped, after)
    same(serial / "whole", stopped, 1e-9)


def test_a_rank_that_raises_ends_all_with_its_traceback(tmp_path):
    start = time.perf_counter()
    done = task("raises", tmp_path, 3, check=False)
    assert done.returncode != 0 and time.perf_counter() - start < 120
    assert done.stderr.count("Traceback") == 1 and "rank 1 of 3" in done.stderr
    assert "ZeroDivisionError: the one that matters" in done.stderr
    assert checkpoint.newest(tmp_path / "run.h5md")["step"] == 40
    task("resume", tmp_path, 2)  # and the last good checkpoint goes on
    assert checkpoint.newest(tmp_path / "run.h5md")["step"] == 100


def test_of_several_ranks_that_raise_one_speaks(tmp_path):
    done = task("two_raise", tmp_path, 3, check=False)
    assert done.returncode != 0 and done.stderr.count("Traceback") == 1, done.stderr


def test_a_rank_that_is_killed_ends_all(tmp_path):
    done = task("killed", tmp_path, 3, check=False, timeout=200)
    assert done.returncode != 0
    assert checkpoint.newest(tmp_path / "run.h5md")["step"] == 40


def test_not_a_number_on_one_rank_ends_all_in_a_line(tmp_path):
    done = task("not_a_number", tmp_path, 3, check=False, timeout=200)
    lines = [line for line in done.stderr.splitlines() if line.startswith("engine: ")]
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert len(lines) == 1 and "rank 1 of 3" in lines[0] and "is not a number" in lines[0], done.stderr
    assert checkpoint.newest(tmp_path / "run.h5md")["step"] == 40


@pytest.mark.parametrize("ranks", [2, 4])
def test_command_line_under_mpiexec(tmp_path, ranks):
    """`mpiexec -n 2 engine run`; and an input error is said once, by rank 0."""
    (tmp_path / "input.toml").write_text(rank_runs.INPUT.replace("steps = 60", "steps = 6").replace("steps = 40", "steps = 4"))
    done = mpiexec(ranks, "-m", "engine", "run", "input.toml", cwd=tmp_path)
    assert done.stdout.count("temperature [K]") <= 2
    assert f"{ranks} ranks" in done.stdout and "in communication" in done.stdout and "in output" in done.stdout
    assert tree.load(checkpoint.paths(tmp_path / "run.h5md")[0])["ranks"] == ranks
    again = mpiexec(ranks, "-m", "engine", "run", "input.toml", cwd=tmp_path, check=False)
    assert again.returncode == 2 and again.stderr.count("--force") == 1, again.stderr


@pytest.mark.parametrize("arguments, word", [
    (("run", "nothere.toml"), "nothere.toml"), (("run", "bad.toml"), "bad.toml"), (("run", "bad.toml", "--no-such"), "--no-such"),
    (("resume", "nothere.h5md"), "nothere.h5md"), (("runn", "bad.toml"), "runn"), (("check", "bad.toml"), "engine check"),
    (("train", "bad.toml"), "torchrun")])
def test_an_error_before_anything_has_started_is_said_once(tmp_path, arguments, word):
    """Commands that are not made for ranks too."""
    (tmp_path / "bad.toml").write_text("[system\n")
    done = mpiexec(3, "-m", "engine", *arguments, cwd=tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count(word) == 1 and "Traceback" not in done.stderr, done.stderr


def test_torchrun_inside_a_batch_step_is_no_launcher_of_ranks(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert launched()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert not launched()


class Two(Serial):
    """The first of two ranks, as far as questions go."""

    size = 2


def test_what_runs_on_one_rank_only_is_refused_before_anything_is_built(monkeypatch, tmp_path):
    class Foreign(GraphModel):
        label, package = "a model", "somebody"

        def load(self):
            self.cutoff, self.species = 3.0, ["Cu"]

    monkeypatch.setattr("engine.run.world", Two)
    monkeypatch.setattr("engine.run.build_state", None)
    monkeypatch.setitem(registry._added, ("potentials", "foreign"), dataclass(Foreign))
    monkeypatch.setitem(registry._added, ("stages", "learn"), dataclass(type("Learn", (Stage,), {"needs_system": False})))
    text = rank_runs.INPUT.replace("eam/zhou", "foreign")
    with pytest.raises(InputError, match="'potential' .a model.*cannot be spread over ranks"):
        Run(tomllib.loads(text), tmp_path).build()
    with pytest.raises(InputError, match=r"stage\[2\] .kind = 'learn'.*torchrun"):
        Run(tomllib.loads(rank_runs.INPUT + '[[stage]]\nkind = "learn"\n'), tmp_path).build()
    with pytest.raises(InputError, match="cannot be spread over ranks"):
        Simulation.from_atoms(bulk("Cu"), WeightedSum({"a": dataclass(Foreign)()}), comm=Two())


def test_other_atoms_are_for_one_rank():
    simulation = Simulation.from_atoms(bulk("Cu"), ZhouEAM())
    simulation.comm = Two()
    with pytest.raises(InputError, match="one rank"):
        simulation.set_atoms(bulk("Cu"))


@pytest.mark.parametrize("pace, looks", [(0.5, 21), (0.04, 11), (1e-4, 3)])
def test_ranks_look_for_requests_to_stop_by_the_clock(monkeypatch, pace, looks):
    """In every step where steps are slow, and never more rarely than every tenth."""
    clock, found = [0.0], []
    monkeypatch.setattr("engine.output.watch.time.perf_counter", lambda: clock[0])
    simulation, hook = SimpleNamespace(comm=Two(), state=SimpleNamespace(step=0), stop_reason=None), Watch()
    monkeypatch.setattr(hook, "reason", lambda: found.append(simulation.state.step))
    for step in range(21):
        simulation.state.step, clock[0] = step, step * pace
        hook.act(simulation)
    assert len(found) == looks


WAITS = """
import json, time
import numpy as np
from engine.parallel import world
comm, found = world(), []
for call in (lambda: comm.bcast(1), lambda: comm.gather(1), lambda: comm.gather_rows({"a": np.ones(3)}), comm.barrier):
    comm.barrier()
    comm.busy = 0.0
    time.sleep(0.2 if comm.rank == 0 else 0.0)
    call()
    found.append(comm.busy)
found = comm.gather(found)
if comm.rank == 0:
    print(json.dumps(found))
"""


def test_waiting_for_another_rank_is_communication_in_every_call():
    slow, waiting = np.array(json.loads(mpiexec(2, "-c", WAITS).stdout))
    assert (waiting > 0.15).all() and (slow < 0.1).all()


def test_bound_ranks_share_the_cores_of_their_socket():
    """Two ranks bound to each of two sockets of four cores."""
    program = """
from engine import parallel
comm = parallel.world()
parallel.affinity, parallel.ASKED = (lambda process=0: set(range(4)) if comm.rank < 2 else set(range(4, 8))), ""
threads = comm.gather(parallel.share_cores(comm))
if comm.rank == 0:
    print(threads)
"""
    assert mpiexec(4, "-c", program).stdout.strip() == "[2, 2, 2, 2]"


def test_without_mpiexec_nothing_imports_mpi(tmp_path):
    (tmp_path / "input.toml").write_text(rank_runs.INPUT.replace("steps = 60", "steps = 2").replace("steps = 40", "steps = 2"))
    program = ("import sys; sys.modules['mpi4py'] = None\nfrom engine.cli import main\nmain(['run', 'input.toml', '-q'])")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)


def test_a_missing_mpi4py_is_explained_in_a_line(tmp_path):
    program = "import sys; sys.modules['mpi4py'] = None\nfrom engine.cli import main\nmain(['run', 'input.toml', '-q'])"
    (tmp_path / "input.toml").write_text(rank_runs.INPUT)
    done = mpiexec(2, "-c", program, cwd=tmp_path, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("engine: ")]
    assert done.returncode == 2 and len(lines) == 1 and "pip install 'engine-md[mpi]'" in lines[0], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("said, rank", [("OMPI_COMM_WORLD", 0), ("OMPI_COMM_WORLD", 2), ("SLURM", 0), ("PMI", 0)])
def test_the_launcher_of_another_mpi_is_explained_in_a_line(tmp_path, said, rank):
    """Several processes that each believe to be alone: the first says so, none runs."""
    size = "SLURM_STEP_NUM_TASKS" if said == "SLURM" else f"{said}_SIZE"
    number = "SLURM_PROCID" if said == "SLURM" else f"{said}_RANK"
    (tmp_path / "input.toml").write_text(rank_runs.INPUT)
    done = subprocess.run([sys.executable, "-m", "engine", "run", "input.toml"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120, env={**os.environ, size: "4", number: str(rank)})
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == (rank == 0), done.stderr
    assert all("has started 4 processes" in line and "sees 1" in line and "mpiexec" in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["input.toml"]


def test_one_process_of_a_launcher_is_a_serial_run():
    program = "import sys; from engine.parallel import world; print(world().size, 'mpi4py' in sys.modules)"
    for size in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                               env={**os.environ, size: "1", "PMI_RANK": "0"}, check=True)
        assert found.stdout.split() == ["1", "False"], size
