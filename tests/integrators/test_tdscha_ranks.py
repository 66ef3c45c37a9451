"""The ensemble spread over ranks: the same run on one, two and three."""

import sys
from pathlib import Path

import numpy as np
import pytest
from quartic_crystal import write
from test_tdscha_run import FIELD, text

from integrators.gaussian.recorder import read

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "ranks"))
from rank_launch import mpiexec  # noqa: E402


def launched(ranks, folder):
    folder.mkdir()
    write(folder)
    (folder / "input.toml").write_text(text(copies=20, field=FIELD, steps=30, temperature=50.0))
    mpiexec(ranks, HERE / "tdscha_ranks.py", folder)
    return read(folder / "run.h5md")


@pytest.mark.mpi
def test_ranks_share_the_ensemble(tmp_path):
    one = launched(1, tmp_path / "1")
    for ranks in (2, 3):
        many = launched(ranks, tmp_path / str(ranks))
        for name, value in one.items():
            assert many[name] == pytest.approx(value, rel=1e-8, abs=1e-9), (ranks, name)
    assert np.ptp(one["polarization"]) > 0.01
