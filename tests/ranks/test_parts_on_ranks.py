"""The contract tests of integrators, fields, hooks and updaters by ranks together, each run compared with a serial one."""

import pytest
from rank_launch import HERE, mpiexec

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("ranks", [2, 4])
def test_contracts_of_parts_on_ranks(ranks):
    path = HERE.parent / "integrators" / "test_contract_parts.py"
    done = mpiexec(ranks, "-m", "pytest", "-q", "-p", "no:cacheprovider", path, cwd=HERE.parents[1])
    assert " failed" not in done.stdout and int(done.stdout.split(" passed")[0].split()[-1]) > 100, done.stdout[-2000:]
