"""`engine run` and `engine resume` from end to end: what is on disk, and that stopping changes nothing."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import contents

from engine.errors import InputError
from engine.output import checkpoint, tree
from engine.run import Run, from_checkpoint

INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [3, 3, 3]
velocities = { temperature = 900 }
[potential]
kind = "eam/zhou"
[output]
file = "run.h5md"
thermo = 5
trajectory = 10
checkpoint = 20
fields = ["velocities", "images", "forces"]
[run]
seed = 7
[[stage]]
integrator = "langevin"
steps = 60
timestep = 2.0
temperature = { from = 900, to = 1200 }
friction = 0.01
barostat = { kind = "cell-rescaling", pressure = 0.5, time = 200 }
[[stage]]
integrator = "nve"
steps = 40
timestep = 2.0
"""


def prepare(folder, monkeypatch, text=INPUT):
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    return Run(tomllib.loads(text), folder)


def at_step(run, step, action):
    """Do `action` after `step`; what it returns is a reason to stop."""
    opened = run.open_output

    def open_output(*arguments):
        opened(*arguments)
        act = run.watch.act

        def watched(simulation):
            act(simulation)
            if simulation.state.step == step:
                simulation.stop_reason = action()

        run.watch.act = watched

    run.open_output = open_output


@pytest.mark.ranks
@pytest.mark.parametrize("stop", [1, 37, 60, 73])
def test_resume_is_bitwise(tmp_path, monkeypatch, stop):
    """Stopped anywhere and resumed, every number on disk is the same bit for bit, in both stages and at their seam."""
    prepare(tmp_path / "whole", monkeypatch).execute(quiet=True)
    run = prepare(tmp_path / "parts", monkeypatch)
    at_step(run, stop, lambda: "the test")
    run.execute(quiet=True)
    assert run.simulation.state.step == stop
    again, found = from_checkpoint(tmp_path / "parts" / "run.h5md")
    assert not found["finished"]
    again.execute(quiet=True, tree=found)
    assert again.simulation.state.step == 100
    one, two = contents(tmp_path / "whole/run.h5md"), contents(tmp_path / "parts/run.h5md")
    assert set(one) == set(two)
    for name in one:
        assert np.array_equal(one[name], two[name]), name
    assert (tmp_path / "whole/run.thermo.txt").read_bytes() == (tmp_path / "parts/run.thermo.txt").read_bytes()


@pytest.mark.ranks
def test_resume_after_a_kill_goes_back_to_the_checkpoint(tmp_path, monkeypatch):
    """Frames and rows written after the last checkpoint are written again, not doubled."""
    prepare(tmp_path / "whole", monkeypatch).execute(quiet=True)
    run = prepare(tmp_path / "killed", monkeypatch)

    class Killed(Exception):
        pass

    def kill():
        raise Killed

    at_step(run, 57, kill)
    with pytest.raises(Killed):
        run.execute(quiet=True)
    if run.file is not None:
        run.file.close()
    again, found = from_checkpoint(tmp_path / "killed" / "run.h5md")
    assert found["step"] == 40
    again.execute(quiet=True, tree=found)
    one, two = contents(tmp_path / "whole/run.h5md"), contents(tmp_path / "killed/run.h5md")
    for name in one:
        assert np.array_equal(one[name], two[name]), name


def test_finished_run_says_so(tmp_path, monkeypatch):
    prepare(tmp_path, monkeypatch).execute(quiet=True)
    done = subprocess.run([sys.executable, "-m", "engine", "resume", "run.h5md"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "finished" in done.stdout


def test_existing_output_is_kept(tmp_path, monkeypatch):
    Path(tmp_path / "run.thermo.txt").write_text("precious")
    with pytest.raises(InputError, match="--force"):
        prepare(tmp_path, monkeypatch).execute(quiet=True)
    assert (tmp_path / "run.thermo.txt").read_text() == "precious"


def test_damaged_newest_checkpoint_falls_back(tmp_path, monkeypatch):
    prepare(tmp_path, monkeypatch).execute(quiet=True)
    first, second = checkpoint.paths(tmp_path / "run.h5md")
    steps = {path: tree.load(path)["step"] for path in (first, second)}
    newest = max(steps, key=steps.get)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert checkpoint.newest(tmp_path / "run.h5md")["step"] == min(steps.values())


@pytest.mark.ranks
def test_mdanalysis_opens_the_trajectory(tmp_path, monkeypatch):
    MDAnalysis = pytest.importorskip("MDAnalysis")
    run = prepare(tmp_path, monkeypatch)
    run.execute(quiet=True)
    universe = MDAnalysis.Universe(str(tmp_path / "run.h5md"))
    last = universe.trajectory[-1]
    positions, forces = (run.simulation.array(name) for name in ("positions", "forces"))
    assert len(universe.trajectory) == 11
    cell = run.simulation.state.cells[0]
    if positions is not None:  # rank 0
        assert np.allclose(last.positions, positions, atol=1e-4)
    assert np.allclose(last.dimensions[:3], np.linalg.norm(cell, axis=1), atol=1e-4)
    assert last.time == pytest.approx(0.2)  # ps
    if forces is not None:
        assert np.allclose(last.forces, forces * 96.48533212331002, atol=1e-2)  # kJ/mol


@pytest.mark.filterwarnings("error")
@pytest.mark.ranks
def test_mdanalysis_opens_it_without_a_warning_as_the_docs_say(tmp_path, monkeypatch):
    pytest.importorskip("MDAnalysis")
    run = prepare(tmp_path, monkeypatch, INPUT.replace("steps = 60", "steps = 10").replace("steps = 40", "steps = 10"))
    run.execute(quiet=True)
    text = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()
    names = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    universe = names["universe"]
    assert universe.select_atoms("element Cu").n_atoms == 108 and len(universe.trajectory) == 3
    assert universe.atoms.total_mass() == pytest.approx(run.simulation.mass_per_system()[0], rel=1e-6)


@pytest.mark.ranks
def test_the_file_says_what_was_run(tmp_path, monkeypatch):
    """The input as given and with every default, the versions and the seed."""
    run = prepare(tmp_path, monkeypatch, INPUT.replace("steps = 60", "steps = 1").replace("steps = 40", "steps = 1"))
    run.execute(quiet=True)
    with h5py.File("run.h5md") as file:
        ours = dict(file["engine"].attrs)
    assert json.loads(ours["input"])["input"] == run.raw and ours["seed"] == 7 and "numba" in ours["versions"]
    resolved = json.loads(ours["resolved"])
    assert resolved["stage"][0]["barostat"]["coupling"] == "isotropic" and resolved["run"]["tune"] == "counted"
    assert resolved["stage"][0]["temperature"] == {"from": 900.0, "to": 1200.0} and resolved["potential"]["kind"] == "eam/zhou"


def test_same_input_twice_is_the_same_run(tmp_path, monkeypatch):
    for name in ("a", "b"):
        prepare(tmp_path / name, monkeypatch).execute(quiet=True)
    one, two = contents(tmp_path / "a/run.h5md"), contents(tmp_path / "b/run.h5md")
    assert all(np.array_equal(one[name], two[name]) for name in one)
