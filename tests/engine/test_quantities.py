"""Quantities of input files: numbers in the documented unit, or text with one of its own."""
import numpy as np
import pytest

from engine import units
from engine.config.quantities import convert, number
from engine.state import Attribute, State

MOLE = 6.02214076e23
CHARGE = 1.602176634e-19


@pytest.mark.parametrize("text, unit, expected", [
    ("1 kJ/mol", "eV", 1000 / MOLE / CHARGE), ("2.5 kcal/mol", "eV", 2.5 * 4184 / MOLE / CHARGE),
    ("kJ/mol", "eV", 1000 / MOLE / CHARGE), ("0.5 kJ mol^-1", "eV", 500 / MOLE / CHARGE),
    ("1 kcal/mol/angstrom", "eV/angstrom", 4184 / MOLE / CHARGE), ("63.546 g/mol", "u", 63.546),
    ("1 kJ/mol/K", "eV/K", 1000 / MOLE / CHARGE), ("8.314462618 J/mol", "K", 1.0),
    ("30 meV", "eV", 0.03), ("1 /ps", "1/fs", 1e-3), ("2.5 MV/cm", "V/angstrom", 0.025), ("1 bar", "GPa", 1e-4),
    ("1 hartree", "eV", 27.211386246), ("300 K", "K", 300.0), ("3", "K", 3.0), ("0.2 nm", "angstrom", 2.0),
    ("27 degC", "K", 300.15), ("80.33 degF", "K", 300.0),
])
def test_text_with_a_unit(text, unit, expected):
    assert convert(text, unit) == pytest.approx(expected, rel=2e-9)


def test_per_mole_is_not_per_mole_of_anything():
    assert convert("1 kJ/mol", "eV") == pytest.approx(units.kB / 8.31446261815324e-3, rel=1e-8)


@pytest.mark.parametrize("text, unit", [
    ("1 mol", "eV"), ("1 kJ/mol", "angstrom"), ("1 kJ/mol^2", "eV"), ("1 mol/l", "eV"), ("2 K", "fs"), ("1 kJ/mole/", "eV"),
    ("1 furlong", "eV"), ("", "eV"), ("kcal/mol +", "eV")])
def test_other_units_are_refused_in_words(text, unit):
    with pytest.raises(ValueError) as error:
        number(text, unit)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_an_attribute_declared_since_the_tree_was_made():
    """It begins at its default; one that only the tree knows comes along."""
    first, second = (State(3, np.eye(3), [True] * 3, ["A"]) for _ in range(2))
    first.declare(Attribute("old", np.float64, (2,)))
    first.set("old", np.arange(6.0).reshape(3, 2))
    second.declare(Attribute("spin", np.float64, (3,), ghosts=True, default=0.5))
    second.load_state_dict(first.state_dict())
    assert second.spin.shape == (3, 3) and (second.spin == 0.5).all() and (second.old == first.old).all()
    second.resize_ghosts(2)
    assert second.spin.shape == (5, 3)
