"""NIST's Lennard-Jones reference configurations: energies, virials and tail corrections in reduced units.

ε = 1 eV and σ = 1 Å here. The water configurations are in ``tests/potentials/test_coulomb.py``.
"""

import json

import numpy as np
import pytest
from ase import Atoms

from engine.testing import evaluate
from potentials.pair.lennard_jones import LennardJones


@pytest.fixture(scope="module")
def reference(shared_data):
    return json.loads((shared_data / "03-nist-srsw/lj/reference.json").read_text())["configs"]


def configuration(shared_data, number, side):
    lines = (shared_data / f"03-nist-srsw/lj/lj-{number}.xyz").read_text().splitlines()[2:]
    positions = np.array([line.split()[1:4] for line in lines if line.strip()], float)
    return Atoms("Ar" * len(positions), positions=positions, cell=[side] * 3, pbc=True)


@pytest.mark.parametrize("number", ["1", "4"])
@pytest.mark.parametrize("cutoff", [3.0, 4.0])
def test_truncated_with_tail(shared_data, reference, number, cutoff):
    numbers = reference[number]
    expected = numbers[f"rc{cutoff:.0f}_truncated_LRC"]
    atoms = configuration(shared_data, number, numbers["L"])
    assert len(atoms) == numbers["N"]
    cut = evaluate(LennardJones(epsilon=1.0, sigma=1.0, cutoff=cutoff), atoms)
    tail = evaluate(LennardJones(epsilon=1.0, sigma=1.0, cutoff=cutoff, tail=True), atoms)
    assert cut.energy[0] == pytest.approx(expected["U_pair"], rel=5e-5)
    assert -np.trace(cut.virial[0]) == pytest.approx(-expected["W_pair"], rel=5e-5)
    assert tail.energy[0] - cut.energy[0] == pytest.approx(expected["U_LRC"], rel=5e-5)


@pytest.mark.parametrize("number", ["1", "4"])
def test_linear_force_shift(shared_data, reference, number):
    numbers = reference[number]
    expected = numbers["rc3_linear_force_shift"]
    result = evaluate(LennardJones(epsilon=1.0, sigma=1.0, cutoff=3.0, truncation="force-shifted"),
                      configuration(shared_data, number, numbers["L"]))
    assert result.energy[0] == pytest.approx(expected["U_pair"], rel=5e-5)
    assert np.trace(result.virial[0]) == pytest.approx(expected["W_pair"], rel=5e-5)
