"""Fields as functions of time, from Python and from an input table with units."""

import numpy as np
import pytest
from ase.build import bulk

from engine.cli import main
from engine.config import plugins
from engine.errors import InputError
from potentials.fields import Chirp, Constant, GaussianPulse, Quadrupole, Ramp, Sine, Tabulated


def test_units_of_an_input_table():
    field = plugins.make("fields", {"kind": "constant", "vector": [0, "2.5 MV/cm", "100 kV/cm"]}, "field[0]")
    assert np.allclose(field.value(0.0), [0, 0.025, 0.001])
    pulse = plugins.make("fields", {"kind": "gaussian-pulse", "amplitude": "1 MV/cm", "center": "1 ps", "width": 100,
                                    "period": "1 ps", "stages": [1]}, "field[0]")
    assert np.allclose(pulse.value(1000.0), [0, 0, 0.01]) and pulse.stages == [1]
    with pytest.raises(InputError, match="width"):
        plugins.make("fields", {"kind": "gaussian-pulse", "amplitude": 1, "center": 0, "width": -1}, "field[0]")
    with pytest.raises(InputError, match="amplitude"):
        plugins.make("fields", {"kind": "sine", "amplitude": "3 K", "period": 100}, "field[0]")
    chirp = plugins.make("fields", {"kind": "chirp", "amplitude": 1, "center": 0, "width": 100, "rate": "10 THz/ps",
                                    "phase": "1 rad"}, "field[0]")
    assert chirp.rate == pytest.approx(1e-5) and chirp.phase == pytest.approx(np.degrees(1.0))
    trap = plugins.make("fields", {"kind": "quadrupole", "matrix": [["100 kV/cm/angstrom", 0, 0], [0, -1e-3, 0], [0, 0, 0]],
                                   "center": ["1 nm", 0, -2]}, "field[0]")
    assert isinstance(trap, Quadrupole) and np.allclose(trap.value(0.0), [-1e-2, 0, 0])


INPUT = """
[system]
structure = "salt.xyz"
[potential]
POTENTIAL
[[field]]
FIELD
[[stage]]
integrator = "nve"
timestep = 1.0
steps = 1
"""
CHARGES = 'kind = "fixed-charges"\ncharges = { Na = 1.0, Cl = -1.0 }'
PULSE = 'kind = "gaussian-pulse"\namplitude = 0.1\ncenter = 50\nwidth = 10\n'
CONSTANT = 'kind = "constant"\nvector = [0, 0, 0.1]\n'
TABLE = 'kind = "tabulated"\nfile = "field.txt"\n'
BORN = 'kind = "born-charges"\nborn_charges = { Cl = -1.0, Na = %s }'

# what is wrong: (potential, field, the table of a tabulated one, words that the line must contain)
INPUTS = {
    "screened by nothing": (CHARGES, CONSTANT + 'screening = "perpendicular"', "", "needs 'epsilon'"),
    "epsilon of nothing": (CHARGES, CONSTANT + "epsilon = 2.4", "", "without 'screening'"),
    "negative epsilon": (CHARGES, CONSTANT + 'screening = "transmitted"\nepsilon = -2', "", "epsilon"),
    "infinite epsilon": (CHARGES, CONSTANT + 'screening = "transmitted"\nepsilon = inf', "", "epsilon"),
    "no charges": ('kind = "fixed-charges"', CONSTANT, "", "all charges are zero"),
    "word for a charge": (BORN % '"one"', CONSTANT, "", "born_charges.Na"),
    "ragged tensor": (BORN % "[[1, 0, 0], [1], [1]]", CONSTANT, "", "born_charges.Na"),
    "rate": (CHARGES, PULSE.replace("gaussian-pulse", "chirp") + "rate = nan", "", "rate"),
    "unit of a rate": (CHARGES, PULSE.replace("gaussian-pulse", "chirp") + 'rate = "1 THz"', "", "rate"),
    "phase": (CHARGES, PULSE + "phase = inf", "", "phase"),
    "ellipticity": (CHARGES, PULSE + "quadrature = [1, 0, 0]\nellipticity = nan", "", "ellipticity"),
    "quadrature": (CHARGES, PULSE + "quadrature = [nan, 0, 0]", "", "quadrature"),
    "matrix": (CHARGES, 'kind = "quadrupole"\nmatrix = [[nan, 0, 0], [0, 0, 0], [0, 0, 0]]', "", "matrix"),
    "centre": (CHARGES, 'kind = "quadrupole"\nmatrix = [[1, 0, 0], [0, 0, 0], [0, 0, 0]]\ncenter = [nan, 0, 0]', "", "center"),
    "empty table": (CHARGES, TABLE, "", "two rows"),
    "not a number in the table": (CHARGES, TABLE, "0 0 0 0\n1 nan 0 0\n2 0 0 0", "finite"),
    "infinite table": (CHARGES, TABLE, "0 0 0 1e400\n1 0 0 0", "finite"),
    "displacement that ends": (CHARGES, CONSTANT + 'fixes = "D"\nstages = [0]', "", "D = 0 is not the same as no field"),
}


@pytest.mark.parametrize("case", INPUTS)
@pytest.mark.filterwarnings("error::UserWarning")
def test_mistakes_are_one_line_of_engine_check(case, tmp_path, monkeypatch, capsys):
    potential, field, table, words = INPUTS[case]
    monkeypatch.chdir(tmp_path)
    bulk("NaCl", "rocksalt", a=5.64).write(tmp_path / "salt.xyz")
    (tmp_path / "field.txt").write_text(table)
    (tmp_path / "input.toml").write_text(INPUT.replace("POTENTIAL", potential).replace("FIELD", field))
    with pytest.raises(SystemExit) as end:
        main(["check", "input.toml"])
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and len(lines) == 1 and lines[0].startswith("engine: ") and len(lines[0]) < 300, lines
    assert words in lines[0], lines[0]


def test_ramp():
    ramp = Ramp(first=[0.1, 0, 0], last=[0.3, 0, 0.2], start=10, end=20)
    assert np.allclose([ramp.value(t) for t in (0, 15, 30)], [[0.1, 0, 0], [0.2, 0, 0.1], [0.3, 0, 0.2]])


def test_sine_and_cosine():
    assert np.allclose(Sine(amplitude=0.2, period=8).value(2.0), [0, 0, 0.2])
    assert np.allclose(Sine(amplitude=0.2, period=8, phase=90).value(0.0), [0, 0, 0.2])
    assert np.allclose(Sine(amplitude=0.2, period=8, phase=90, start=1).value(0.5), 0)


def test_circular_polarization_turns_at_constant_strength():
    field = Sine(amplitude=0.2, period=100, direction=[1, 0, 0], quadrature=[0, 3, 0])
    values = np.array([field.value(t) for t in np.linspace(0, 100, 17)])
    assert np.allclose(np.linalg.norm(values, axis=1), 0.2)
    angle = np.unwrap(np.arctan2(values[:, 1], values[:, 0]))
    assert np.allclose(np.abs(np.diff(angle)), 2 * np.pi / 16)


def test_pulse_has_the_stated_envelope_and_carrier_phase():
    pulse = GaussianPulse(amplitude=2, center=50, width=7, period=5, phase=40)
    assert pulse.value(50.0)[2] == pytest.approx(2 * np.cos(np.radians(40)))
    bare = GaussianPulse(amplitude=2, center=50, width=7)
    half = np.sqrt(np.log(2)) * 7  # half the intensity's full width at half maximum
    assert bare.value(50 + half)[2] ** 2 == pytest.approx(2.0)


def test_chirp_has_the_frequency_it_says():
    chirp = Chirp(amplitude=1, center=0, width=1e9, period=20, rate=1e-4)
    phase = np.unwrap(np.arccos(np.clip([chirp.value(t)[2] for t in np.linspace(100, 104, 2001)], -1, 1)) * 1.0)
    assert np.abs(np.gradient(phase, 4 / 2000))[1000] / (2 * np.pi) == pytest.approx(1 / 20 + 1e-4 * 102, rel=1e-3)


def test_table_is_a_smooth_curve_through_its_rows(tmp_path):
    t = np.linspace(0, 50, 26)
    np.savetxt(tmp_path / "field.txt", np.column_stack([t, 0 * t, np.sin(t / 8), 0 * t]), header="t Ex Ey Ez")
    field = Tabulated(tmp_path / "field.txt")
    assert field.value(21.3)[1] == pytest.approx(np.sin(21.3 / 8), abs=1e-5)
    assert np.allclose(field.value(80.0), field.value(50.0))
    assert np.allclose(Tabulated(tmp_path / "field.txt", outside="zero").value(80.0), 0)
    with pytest.raises(InputError, match="cannot be read"):
        Tabulated(tmp_path / "none.txt")


def test_outside_fields_are_screened_by_the_named_convention():
    outside = [0, 0, 1.0]
    assert Constant(outside, screening="perpendicular", epsilon=4).value(0)[2] == pytest.approx(0.25)
    assert Constant(outside, screening="transmitted", epsilon=4).value(0)[2] == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="not screened"):
        Constant(outside, screening="transmitted", fixes="D")
