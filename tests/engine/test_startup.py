"""What a plain run loads, and what it does without: time from `engine run` to step 1."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk

from engine.config.input import Crystal
from engine.config.system import _crystal

INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [4, 4, 4]
velocities = { temperature = 300 }
[potential]
kind = "eam/zhou"
[[stage]]
integrator = "langevin"
steps = 2
timestep = 2.0
temperature = 300
friction = 0.01
barostat = { kind = "cell-rescaling", pressure = 0 }
"""

HEAVY = ("torch", "mpi4py", "matplotlib", "pint", "MDAnalysis", "ase.build", "ase.io", "ase.constraints", "scipy.linalg",
         "scipy.optimize", "scipy.sparse", "scipy.spatial", "scipy.special", "scipy.stats", "plugins")
COMPILER = "numba.np.arraymath"  # one of the modules that only compiling needs

RUN = """
import json, sys
from engine.cli import main
main(["run", "--force", "--quiet", "input.toml"])
print(json.dumps(sorted(sys.modules)))
"""


def test_a_run_loads_nothing_heavy_and_a_second_one_no_compiler(tmp_path):
    (tmp_path / "input.toml").write_text(INPUT)
    loaded = []
    for _ in range(2):  # the first one may have to compile
        done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=True)
        loaded.append(json.loads(done.stdout))
    assert not [name for name in HEAVY if name in loaded[1]]
    assert COMPILER not in loaded[1], "kernels were compiled, or Numba's tables filled, though all are in the cache"


def test_after_loading_from_the_cache_new_functions_still_compile(tmp_path):
    (tmp_path / "twice.py").write_text(
        "import numba\n@numba.njit(cache=True)\ndef twice(x):\n    out = x.copy()\n    return out + x\n")
    code = """
import json, sys
import numba, numpy as np
import engine.kernels
from twice import twice
x = np.arange(3.0)
first = twice(x).tolist()
asleep = "numba.np.arraymath" not in sys.modules
@numba.njit
def norm(m, words): return np.linalg.norm(m @ m), len({w: 1 for w in words})
print(json.dumps([first, asleep, norm(np.eye(3), ("a", "b"))]))
"""
    for k in range(2):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        first, asleep, (norm, words) = json.loads(done.stdout)
        assert first == [0, 2, 4] and words == 2 and norm == pytest.approx(3**0.5)
        assert asleep == (k == 1)


@pytest.mark.parametrize("cubic", [True, False])
@pytest.mark.parametrize("structure, species", [
    ("fcc", "Cu"), ("bcc", "Fe"), ("sc", "Po"), ("hcp", "Mg"), ("diamond", "Si"), ("zincblende", "GaAs"), ("rocksalt", "NaCl"),
    ("cesiumchloride", "CsCl"), ("fluorite", "CaF2"), ("wurtzite", "ZnO"),
])
def test_crystals_are_those_of_ase(structure, species, cubic):
    ours = _crystal(Crystal(structure=structure, species=species, a=4.1, cubic=cubic))
    theirs = bulk(species, structure, a=4.1, cubic=cubic and structure not in ("hcp", "wurtzite"))
    assert ours.get_chemical_symbols() == theirs.get_chemical_symbols() and ours.pbc.all()
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-12)
    np.testing.assert_allclose(ours.cell[:], theirs.cell[:], atol=1e-12)
