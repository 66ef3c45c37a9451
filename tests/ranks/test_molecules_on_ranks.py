"""A run with molecules and exclusions on two ranks is the serial one, and goes on on one rank with all of them."""

import sys

import h5py
import numpy as np
import pytest
from ase.io import write
from rank_launch import HERE, mpiexec

from engine.output import checkpoint, tree
from engine.run import from_checkpoint, from_file

sys.path.append(str(HERE.parent / "engine"))
from test_molecules import INPUT, water  # noqa: E402

pytestmark = pytest.mark.mpi


def test_two_ranks_then_one(tmp_path, monkeypatch):
    found = {}
    for name, ranks in (("serial", 1), ("ranks", 2)):
        folder = tmp_path / name
        folder.mkdir()
        write(folder / "a.extxyz", water())
        (folder / "input.toml").write_text(INPUT.replace('"bonds"', '"mol"').replace("checkpoint = 10", "checkpoint = 20"))
        monkeypatch.chdir(folder)
        if ranks == 1:
            from_file("input.toml").execute(quiet=True)
            continue
        mpiexec(ranks, "-m", "engine", "run", "-q", "input.toml", cwd=folder)
        both = checkpoint.paths(folder / "run.h5md")
        max(both, key=lambda path: tree.load(path)["step"]).unlink()  # as if it had been killed before its end
        run, data = from_checkpoint(folder / "run.h5md")
        assert data["step"] == 20 and len(data["trees"]["1"]["state"]["exclusions"]) == 48
        assert sum(len(data["trees"][k]["state"]["atoms"]["molecules"]) for k in "01") == 48
        run.execute(quiet=True, tree=data)
        assert np.bincount(run.simulation.array("molecules")).tolist() == [3] * 16
    for name in ("serial", "ranks"):
        with h5py.File(tmp_path / name / "run.h5md") as file:
            group = file["particles/trajectory"]
            place = group["position/value"][:] + np.einsum("tni,tij->tnj", group["image/value"][:], group["box/edges/value"][:])
            found[name] = place, group["velocity/value"][:]
    for one, two in zip(found["serial"], found["ranks"]):
        assert one.shape == two.shape and np.abs(one - two).max() < 1e-7 * max(np.abs(one).max(), 1.0)
