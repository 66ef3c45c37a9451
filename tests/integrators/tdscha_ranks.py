"""A run for `test_tdscha_ranks.py`, started under mpiexec: tdscha_ranks.py FOLDER."""

import os
import sys
import tomllib
from pathlib import Path

from engine import registry
from engine.run import Run
from integrators.gaussian.recorder import GaussianRecorder
from integrators.tdscha import TDSCHA
from plugins.lattice.scha_stage import SCHA
from potentials.force_constants import ForceConstants


def register():
    """Known by name whether or not the installed metadata has them yet."""
    for kind, name, thing in (("potentials", "force-constants", ForceConstants), ("integrators", "tdscha", TDSCHA),
                              ("hooks", "gaussian", GaussianRecorder), ("stages", "scha", SCHA)):
        registry.add(kind, name, thing)


if __name__ == "__main__":
    register()
    folder = Path(sys.argv[1])
    os.chdir(folder)
    Run(tomllib.loads((folder / "input.toml").read_text()), folder).execute(quiet=True)
