"""What is left when a run is killed, told to stop, out of disk space or without a place to write; and how it goes on."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from engine.errors import InputError
from engine.output import checkpoint, tree
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
    return subprocess.run([sys.executable, "-m", "engine", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def killed(folders, plans, tmp_path):
    """Run each folder's input, killed as its plan says; the exit statuses."""
    plan = [{"folder": str(folder), **how} for folder, how in zip(folders, plans, strict=True)]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, str(script), "plan.json"], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def contents(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


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
    writes = int((whole / "writes").read_text())
    rng = np.random.default_rng(count)
    inside = count // 2
    plans = [{"write": int(w)} for w in rng.integers(writes // 20, writes, inside)]
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
