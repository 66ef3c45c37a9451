"""The examples that need nobody's data run and give what their texts say."""

import tomllib
from pathlib import Path

import numpy as np

from engine.run import Run
from integrators.gaussian.recorder import read

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_argon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = EXAMPLES / "scha-argon"
    job = Run(tomllib.loads((folder / "input.toml").read_text()), folder)
    assert job.execute(quiet=True) is None
    assert 5.36 < job.simulation.state.cells[0, 0, 0] < 5.41
    rows = read("argon.h5md")
    assert np.ptp(rows["conserved"]) < 1e-5
    assert np.abs(rows["A"] / rows["A"][0] - 1).max() < 0.1  # 40 configurations: what symmetry took out of their noise
    from engine.cli.plot import figures

    assert figures("argon.h5md")[0].exists()
