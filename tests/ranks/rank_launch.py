"""Starting rank programs: every test that needs ranks goes through here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def mpiexec(ranks, *arguments, timeout=400, cwd=None, check=True, environment=None):
    """Run ``python *arguments`` on some ranks; returns the finished process with its text."""
    launcher = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if launcher is None:
        pytest.skip("no mpiexec: pip install 'engine-md[mpi]'")
    path = os.pathsep.join([str(ROOT), str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environment or {})}
    done = subprocess.run([launcher, "-n", str(ranks), sys.executable, *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, cwd=cwd, env=variables)
    if check:
        assert done.returncode == 0, f"{ranks} ranks ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done
