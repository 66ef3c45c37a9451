"""`forward` and `reverse` for arrays of all types and widths, between ranks that share memory and by messages."""

import pytest
from rank_launch import mpiexec

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("ranks, threads, apart", [(2, 1, False), (3, 2, False), (4, 1, True)])
def test_exchanges(ranks, threads, apart):
    """`apart`: as if there were nodes of two ranks: some peers share memory, others get messages."""
    done = mpiexec(ranks, "-m", "halo_cases", threads, *(["apart"] if apart else []))
    assert done.stdout.count("exchanged") == ranks
