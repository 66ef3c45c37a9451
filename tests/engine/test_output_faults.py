"""What is left when a run is killed, told to stop, out of disk space or without a place to write; and how it goes on."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import contents

from engine.cli import main
from engine.errors import InputError
from engine.output import checkpoint, tree, watch
from engine.run import from_checkpoint

INPUT = """
[system]
crystal = { structure = "fcc", species = "Ar", a = 5.3 }
replicate = [3, 3, 3]
velocities = { temperature = 60 }
[potential]
kind = "lj"
epsilon = 0.0104
sigma = 3.4
cutoff = 7.0
[output]
file = "run.h5md"
thermo = 5
trajectory = 10
checkpoint = 20
[run]
seed = 7
[[hook]]
kind = "rdf"
every = 10
bins = 50
write = 30
[[stage]]
integrator = "langevin"
steps = 100
timestep = 2.0
temperature = 60
friction = 0.01
"""
TEXT = "run.thermo.txt"


def folder_with_input(folder, text=INPUT):
    folder.mkdir()
    (folder / "input.toml").write_text(text)
    return folder


def engine(*arguments, cwd, **options):
    command = [sys.executable, "-m", "engine", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def killed(folders, plans, tmp_path):
    """Run each folder's input, killed as its plan says; the exit statuses."""
    plan = [{"folder": str(folder), **how} for folder, how in zip(folders, plans, strict=True)]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, str(script), "plan.json"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def goes_on(folder, whole, monkeypatch, capsys):
    """Resume a killed run; True if its trajectory did not open. Everything on disk is then as in the `whole` run."""
    monkeypatch.chdir(folder)
    left = Path("run.h5md").read_bytes()
    job, found = from_checkpoint("run.h5md")
    job.execute(quiet=True, tree=found)
    expected = contents(whole / "run.h5md")
    assert Path(TEXT).read_bytes() == (whole / TEXT).read_bytes()
    said = capsys.readouterr().err
    if not Path("run-2.h5md").exists():
        got = contents("run.h5md")
        assert set(got) == set(expected)
        assert all(np.array_equal(got[name], expected[name]) for name in expected)
        return False
    assert len(said.splitlines()) == 1 and "run.h5md" in said and "run-2.h5md" in said
    assert Path("run.h5md").read_bytes() == left
    got = contents("run-2.h5md")
    for name, values in expected.items():
        group = name.split("/")[0]
        if group in ("thermo", "particles"):
            first = np.searchsorted(expected[f"{group}/trajectory/step" if group == "particles" else "thermo/step"],
                                    found["step"], side="right")
            assert np.array_equal(got[name], values[first:]), name
        else:
            assert np.array_equal(got[name], values), name
    again, found = from_checkpoint("run.h5md")
    assert found["finished"] and found["trajectory"] == "run-2.h5md"
    return True


def kill_many(count, tmp_path, monkeypatch, capsys):
    whole = folder_with_input(tmp_path / "whole")
    assert killed([whole], [{}], tmp_path) == [0]
    first, last = map(int, (whole / "writes").read_text().split())
    rng = np.random.default_rng(count)
    inside = count // 2
    plans = [{"write": int(w)} for w in rng.integers(first, last, inside)]
    plans += [{"step": int(s)} for s in rng.integers(1, 100, count - inside)]
    folders = [folder_with_input(tmp_path / f"killed-{k}") for k in range(count)]
    assert set(killed(folders, plans, tmp_path)) == {signal.SIGKILL}
    damaged = [goes_on(folder, whole, monkeypatch, capsys) for folder in folders]
    assert not any(damaged[inside:]), "a trajectory killed between flushes must open"
    with capsys.disabled():
        print(f"\n{sum(damaged)} of {inside} trajectories killed inside a flush did not open; all {count} runs went on")


def test_killed_runs_go_on(tmp_path, monkeypatch, capsys):
    """kill -9 between and inside flushes: the checkpoint always resumes, rows and frames are neither lost nor doubled."""
    kill_many(6, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
def test_fifty_killed_runs_go_on(tmp_path, monkeypatch, capsys):
    kill_many(50, tmp_path, monkeypatch, capsys)


def stopped_at(folder, step, monkeypatch, text=INPUT):
    """A run of `text` that stopped itself after `step`, in `folder`."""
    from engine.run import from_file

    folder_with_input(folder, text)
    monkeypatch.chdir(folder)
    job = from_file("input.toml")
    opened = job.open_output

    def open_output(*arguments):
        opened(*arguments)
        job.watch.reason = lambda: "the test" if job.simulation.state.step == step else None

    job.open_output = open_output
    job.execute(quiet=True)
    return job


@pytest.mark.parametrize("damage", ["nothing but its head", "zeros in the middle", "gone"])
def test_damaged_trajectory_is_kept_and_another_begun(damage, tmp_path, monkeypatch, capsys):
    """Twice stopped, the first trajectory damaged: the second resume goes on in the file that the first one began."""
    stopped_at(tmp_path / "whole", None, monkeypatch)
    stopped_at(tmp_path / "parts", 33, monkeypatch)
    data = bytearray(Path("run.h5md").read_bytes())
    if damage == "gone":
        Path("run.h5md").unlink()
    else:
        data = data[:600] if damage == "nothing but its head" else bytes(2000) + data[2000:]
        Path("run.h5md").write_bytes(data)
    job, found = from_checkpoint("run.h5md")
    opened = job.open_output

    def open_output(*arguments):
        opened(*arguments)
        job.watch.reason = lambda: "the test" if job.simulation.state.step == 67 else None

    job.open_output = open_output
    job.execute(quiet=True, tree=found)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "run-2.h5md" in said
    assert Path("run.h5md").exists() == (damage != "gone")
    job, found = from_checkpoint("run.h5md")
    job.execute(quiet=True, tree=found)
    assert not Path("run-3.h5md").exists() and not capsys.readouterr().err
    expected, got = contents("../whole/run.h5md"), contents("run-2.h5md")
    for name in expected:
        rows = len(got[name]) if name.startswith(("thermo", "particles")) else None
        assert np.array_equal(got[name], expected[name][-rows:] if rows else expected[name]), name
    assert got["particles/trajectory/step"].tolist() == [40, 50, 60, 70, 80, 90, 100]
    assert Path(TEXT).read_bytes() == Path("../whole", TEXT).read_bytes()


def one_line(code, text, *words):
    lines = text.splitlines()
    assert code == 2 and len(lines) == 1 and all(word in lines[0] for word in words), (code, text)


def here(capsys, *arguments):
    """A command in this process: its exit code and what it says about errors."""
    code = 0
    try:
        main(list(arguments))
    except SystemExit as end:
        code = end.code or 0
    return code, capsys.readouterr().err


LONG = INPUT.replace("steps = 100", "steps = 3000")
LONG = LONG.replace("thermo = 5", "thermo = 1").replace("trajectory = 10", "trajectory = 1")


def good_checkpoint(folder):
    found = checkpoint.newest(folder / "run.h5md")
    assert found is not None and int(found["step"]) >= 0
    return found


def test_file_that_may_not_grow(tmp_path, monkeypatch, capsys):
    """A write that fails (here by a limit on the size of files) is one line; the last checkpoint is whole and resumes."""
    folder = folder_with_input(tmp_path / "run", LONG)
    limit = 800_000
    done = engine("run", "-q", "input.toml", cwd=folder,
                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    one_line(done.returncode, done.stderr, "run.h5md", "could not be written", "resume")
    step = good_checkpoint(folder)["step"]
    assert step > 0
    (folder / "STOP").write_text("")
    monkeypatch.chdir(folder)
    code, _ = here(capsys, "resume", "run.h5md")
    assert code == 0 and good_checkpoint(folder)["step"] > step


def test_full_disk(tmp_path, monkeypatch, capsys):
    """The same on a file system that is really full, and that has room again afterwards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        folder = folder_with_input(disk / "run", LONG)
        monkeypatch.chdir(folder)
        one_line(*here(capsys, "run", "-q", "input.toml"), "could not be written", "No space left")
        step = good_checkpoint(folder)["step"]
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        (folder / "STOP").write_text("")
        code, said = here(capsys, "resume", "run.h5md")
        assert code == 0 and good_checkpoint(folder)["step"] > step, said
    finally:
        os.chdir(tmp_path)
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("place", ["/proc/run.h5md", "input.toml/run.h5md", "gone/run.h5md"])
def test_nowhere_to_write(place, tmp_path, monkeypatch, capsys):
    folder = folder_with_input(tmp_path / "run", INPUT.replace("run.h5md", place))
    monkeypatch.chdir(folder)
    one_line(*here(capsys, "run", "input.toml"), str(Path(place).parent), "cannot be written to")
    assert [p.name for p in folder.iterdir()] == ["input.toml"]


def ended_cleanly(folder, code, said, how):
    """The step is finished, a checkpoint of it is there, how to go on is said, and all files agree."""
    assert code == 0 and "engine resume run.h5md" in said and how in said, said
    step = int((folder / TEXT).read_text().splitlines()[-1].split()[0])
    assert 0 < step < 300000 and good_checkpoint(folder)["step"] == step
    with h5py.File(folder / "run.h5md") as file:
        assert file["thermo/step"][-1] == step == file["particles/trajectory/step"][-1]


def test_clean_end_by_sigterm(tmp_path):
    folder = folder_with_input(tmp_path / "run", LONG.replace("3000", "300000"))
    run = subprocess.Popen([sys.executable, "-m", "engine", "run", "input.toml"], cwd=folder, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    until = time.time() + 200
    while not (folder / TEXT).exists() or len((folder / TEXT).read_text().splitlines()) < 5:
        assert run.poll() is None and time.time() < until, run.communicate()
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(timeout=200)
    assert not err
    ended_cleanly(folder, run.returncode, out, "SIGTERM")


@pytest.mark.parametrize("how", ["SIGINT", "STOP"])
def test_clean_end(how, tmp_path, monkeypatch, capsys):
    folder = folder_with_input(tmp_path / "run", LONG.replace("3000", "300000"))
    monkeypatch.chdir(folder)
    act = watch.Watch.act

    def told_to_stop(self, simulation):
        if simulation.state.step == 7:
            os.kill(os.getpid(), signal.SIGINT) if how == "SIGINT" else Path("STOP").touch()
        act(self, simulation)

    monkeypatch.setattr(watch.Watch, "act", told_to_stop)
    with pytest.raises(SystemExit) as end:
        main(["run", "input.toml"])
        raise SystemExit(0)
    ended_cleanly(folder, end.value.code or 0, capsys.readouterr().out, how)


def test_max_time(tmp_path, monkeypatch):
    folder = folder_with_input(tmp_path / "run", LONG.replace("3000", "300000").replace("seed = 7", 'max_time = "0:00:01"'))
    monkeypatch.chdir(folder)
    from engine.run import from_file

    job = from_file("input.toml")
    assert "max_time" in job.execute(quiet=True)
    assert 0 < good_checkpoint(folder)["step"] < 300000


def test_two_runs_in_one_place_are_refused(tmp_path, monkeypatch, capsys):
    from engine.output.lock import locked
    from engine.parallel import Serial

    folder = folder_with_input(tmp_path / "run")
    with locked(folder / "run.h5md", Serial()):
        monkeypatch.chdir(folder)
        one_line(*here(capsys, "run", "input.toml"), "another run", "run.lock")
    assert not (folder / "run.h5md").exists()


def test_failing_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    """The disk fills while a checkpoint is written: one line, no half file, the older checkpoint still loads."""
    job = stopped_at(tmp_path / "run", 33, monkeypatch)
    before = {path: path.read_bytes() for path in checkpoint.paths(job.base)}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tree, "put", full)
    job.simulation.state.step += 1
    with pytest.raises(InputError, match="No space left"):
        job.checkpoint.write(job.simulation)
    assert {path: path.read_bytes() for path in checkpoint.paths(job.base)} == before
    assert not list(Path().glob("*.tmp"))


@pytest.mark.parametrize("change", [
    ("timestep = 2.0", "timestep = 3000.0"), ("a = 5.3", "a = 1.5"),
    ("temperature = 60\nfriction", 'temperature = "1e9 K"\nfriction'),
])
def test_explosion_names_step_atom_and_cause(change, tmp_path, monkeypatch, capsys):
    """Too long a time step, overlapping atoms, a mad thermostat: one line and exit code 3 long before the next thermo row."""
    text = INPUT.replace(*change).replace("thermo = 5", "thermo = 5000").replace("steps = 100", "steps = 5000")
    monkeypatch.chdir(folder_with_input(tmp_path / "run", text))
    code, said = here(capsys, "run", "-q", "input.toml")
    assert code == 3 and len(said.splitlines()) == 1, said
    step, atom = int(re.search(r"step (\d+)", said)[1]), int(re.search(r"atom (\d+) \(Ar\)", said)[1])
    assert 0 <= step <= 200 and 0 <= atom < 108 and "time step too long" in said and "overlapping atoms" in said
