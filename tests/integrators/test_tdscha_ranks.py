"""The ensemble spread over ranks: the same run on one, two and three."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from quartic_crystal import write
from test_tdscha_run import FIELD, text

from integrators.gaussian.recorder import read

HERE = Path(__file__).resolve().parent


def launched(ranks, folder):
    folder.mkdir()
    write(folder)
    (folder / "input.toml").write_text(text(copies=20, field=FIELD, steps=30, temperature=50.0))
    launcher = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if launcher is None:
        pytest.skip("no mpiexec: pip install 'engine-md[mpi]'")
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    start = [] if ranks == 1 else [launcher, "-n", str(ranks)]
    subprocess.run([*start, sys.executable, HERE / "tdscha_ranks.py", folder], check=True, timeout=150,
                   env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    return read(folder / "run.h5md")


@pytest.mark.mpi
def test_ranks_share_the_ensemble(tmp_path):
    one = launched(1, tmp_path / "1")
    for ranks in (2, 3):
        many = launched(ranks, tmp_path / str(ranks))
        for name, value in one.items():
            assert many[name] == pytest.approx(value, rel=1e-8, abs=1e-9), (ranks, name)
    assert np.ptp(one["polarization"]) > 0.01
