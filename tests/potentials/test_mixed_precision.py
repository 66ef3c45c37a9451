"""Pair functions in single precision: every one stays near its double, as near as seven digits allow."""

import numpy as np
import pytest
from test_contract import CASES

from engine.testing import evaluate

PAIRS = ("lj smoothed", "morse", "buckingham", "born-mayer-huggins", "zbl", "dsf", "table")


@pytest.mark.parametrize("name", PAIRS)
def test_mixed_is_near_double(name):
    make, structure, _ = CASES[name]
    atoms = structure().repeat((2, 2, 1))
    potential = make()
    potential.precision = "mixed"
    mixed, double = evaluate(potential, atoms, {"energy", "virial"}), evaluate(make(), atoms, {"energy", "virial"})
    scale = np.abs(double.forces).max()
    assert 0 < np.abs(mixed.forces - double.forces).max() < 1e-5 * scale
    assert mixed.energy[0] == pytest.approx(double.energy[0], rel=1e-5)
