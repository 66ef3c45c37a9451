"""Of several ranks that need a kernel which is in no cache, one compiles and the others load."""

import json

import pytest
from rank_launch import mpiexec

pytestmark = pytest.mark.mpi

MODULE = """
from numba import njit

@njit(cache=True)
def inner(x):
    return x if x < 2 else inner(x - 1) + inner(x - 2)  # compiled inside its own compilation

@njit(cache=True)
def outer(x):
    return inner(x) + 1
"""
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from engine.parallel import world
comm = world()
import fresh
comm.barrier()
value = fresh.outer(10) + fresh.outer(2.5)
misses = [sum(f.stats.cache_misses.values()) for f in (fresh.inner, fresh.outer)]
found = comm.gather([value, *misses])
if comm.rank == 0:
    print(json.dumps(found))
"""


def test_each_variant_is_compiled_once(tmp_path):
    (tmp_path / "fresh.py").write_text(MODULE)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "ENGINE_CACHE": str(tmp_path / "engine")}
    (tmp_path / "engine").mkdir()
    done = mpiexec(3, "-c", PROGRAM, tmp_path, environment=environment, timeout=120)
    found = json.loads(done.stdout)
    assert {value for value, *_ in found} == {56 + 3.0}
    assert sum(misses for _, misses, _ in found) == 2 and sum(misses for _, _, misses in found) == 2, found
    again = json.loads(mpiexec(3, "-c", PROGRAM, tmp_path, environment=environment, timeout=120).stdout)
    assert all(misses == [0, 0] for _, *misses in again)
