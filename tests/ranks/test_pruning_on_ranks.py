"""Ranks make their inner lists anew in the same steps: one that did it alone would have the others wait."""

import pytest
from rank_launch import mpiexec

pytestmark = pytest.mark.mpi


def test_ranks_prune_together():
    together, ever, rebuilds = map(int, mpiexec(2, "-m", "prune_cases").stdout.split())
    assert ever > rebuilds + 20      # lists are pruned between rebuilds, too
    assert together > 0.85 * ever    # left to themselves: 0.6 to 0.7
