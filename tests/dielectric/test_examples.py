"""The examples run at small size: two epochs of training on a few frames, a hundred steps of dynamics."""

import importlib.util
import json
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("torch")

from engine import stages  # noqa: E402
from engine.run import Run  # noqa: E402
from plugins.dielectric import modes_stage  # noqa: E402
from plugins.dielectric.modes import Modes  # noqa: E402
from potentials.fields import Constant  # noqa: E402

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def script(name, monkeypatch):
    path = EXAMPLES / name
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem + "_example", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(example, data, folder):
    """`engine train` on the first frames, one epoch of a small model."""
    lines = data.read_text().splitlines()
    (folder / "few.xyz").write_text("\n".join(lines[: 4 * (int(lines[0]) + 2)]) + "\n")
    (table,) = tomllib.loads((EXAMPLES / example / "train.toml").read_text())["stage"]
    small = dict(cutoff=2.6, channels=2, features=8, embedding_width=8, latent_width=8, readout_width=8)
    table.pop("trajectories", None)
    table.update(data={"files": [str(folder / "few.xyz")]}, epochs=1, compile=False, model={**table["model"], **small})
    found = stages.make(table, 0, str(folder)).train(quiet=True)
    assert set(found["test"].sums) >= {"energy", "forces", "polarization", "born_charges", "born_charges O"}
    assert set(json.loads((folder / "model/report.json").read_text())["errors"]) == {"train", "test"}
    assert (folder / "model/learning.png").stat().st_size > 1000


def run(path, steps, backend="auto", **changes):
    raw = tomllib.loads(path.read_text())
    raw["potential"]["backend"] = backend
    for stage, count in zip(raw["stage"], steps, strict=True):
        stage["steps"] = count
    raw["system"]["velocities"]["temperature"] = 10  # of a model that has seen next to nothing
    for stage in raw["stage"]:
        if "temperature" in stage:
            stage["temperature"] = 10
        stage["timestep"] = 0.2
    raw["output"]["thermo"] = 10
    for table in raw.get("hook", []) + raw.get("field", []):
        table.update({k: v for k, v in changes.items() if k in table})
    assert Run(raw, ".").execute(quiet=True) is None
    return h5py.File(raw["output"]["file"])


def test_quartz(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained("quartz-field", shared_data / "06-mlip-data/allegro-pol/SiO2_dev.xyz", tmp_path)
    prepare = script("quartz-field/prepare.py", monkeypatch)
    atoms = prepare.quartz()
    assert len(atoms) == 72 and np.allclose(np.diag(atoms.cell), [9.97060, 8.63480, 10.95706], atol=1e-4)
    atoms.write("quartz.extxyz")
    with run(EXAMPLES / "quartz-field/infrared.toml", [10, 40], block=8, every=2) as file:
        assert "absorption" in file["observers/infrared"] and file["observers/permittivity/static"].shape == (3, 3)
    raw = tomllib.loads((EXAMPLES / "quartz-field/phonons.toml").read_text())
    raw["stage"][0]["steps"], raw["stage"][0]["force"] = 1, 1e3
    monkeypatch.setattr(modes_stage, "REST", np.inf)  # what has seen next to nothing does not relax
    assert Run(raw, ".").execute(quiet=True) is None and Modes.load("modes.npz").raman.shape == (3, 3, 216)
    static = script("quartz-field/static.py", monkeypatch)
    optical, static_ = static.main(["quartz.extxyz", "--steps", "2"])
    assert np.isfinite(static_).all()


def test_batio3(shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained("batio3-hysteresis", shared_data / "06-mlip-data/allegro-pol/BaTiO3_dev.xyz", tmp_path)
    prepare = script("batio3-hysteresis/prepare.py", monkeypatch)
    atoms = prepare.batio3(3)
    assert len(atoms) == 135
    prepare.batio3((2, 2, 2)).write("batio3.extxyz")
    with run(EXAMPLES / "batio3-hysteresis/input.toml", [10, 40], backend="torch", period=8.0, points=4) as file:
        loop = file["observers/hysteresis"]
        assert loop["field"].shape == (4,) and abs(loop["field"][0] - 36.36) < 15
        assert np.isfinite(loop["polarization"][:]).all()


def test_fields_of_the_examples_have_an_input_form():
    """A field given in an input file is the one given in Python."""
    from engine.config import plugins

    table = tomllib.loads((EXAMPLES / "batio3-hysteresis/input.toml").read_text())["field"][0]
    field = plugins.make("fields", table, "field[0]")
    assert np.allclose(field.value(0.0), [0, 0, 0.3636]) and np.allclose(field.value(50_000.0), 0, atol=1e-12)
    constant = plugins.make("fields", {"kind": "constant", "vector": [0, 0, 1]}, "f")
    assert np.allclose(constant.value(3), Constant([0, 0, 1]).value(3))
