"""Every registered potential of this project satisfies the contract tests that plugin authors run on theirs."""

from functools import cache
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine import registry
from engine.testing import PotentialContract
from potentials.ase_calculator import ASE
from potentials.coulomb.dsf import DampedShiftedForce
from potentials.coulomb.ewald import Ewald
from potentials.coulomb.pme import CoulombPME
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.dielectric_born import FixedBornCharges
from potentials.eam.file_potentials import FinnisSinclairEAM, FuncflEAM, SetflEAM
from potentials.eam.zhou import ZhouEAM
from potentials.manybody.stillinger_weber import StillingerWeber
from potentials.manybody.tersoff import Tersoff
from potentials.mesh.dispersion import DispersionPME
from potentials.pair.born_mayer_huggins import BornMayerHuggins
from potentials.pair.buckingham import Buckingham
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse
from potentials.pair.tabulated import Tabulated
from potentials.pair.zbl import ZBL

ANY = {"any_species": True}


def small(*arguments, amplitude=0.12, **keywords):
    """A rattled, triclinic cell of a few atoms."""
    return rattled(sheared(bulk(*arguments, **keywords)), amplitude)


def argon():
    return small("Ar", cubic=True, a=5.3)


def argon_krypton():
    atoms = argon()
    atoms.symbols[:2] = "Kr"
    return atoms


def salt():
    return small("NaCl", "rocksalt", a=5.64)


def charged_salt():
    atoms = salt()
    atoms.set_initial_charges(np.where(atoms.symbols == "Na", 0.9, -0.9))
    return atoms


def silica_like():
    return small("SiO", "zincblende", a=4.6)


def cu_ni():
    atoms = small("Cu", cubic=True)
    atoms.symbols[:2] = "Ni"
    return atoms


def _column(values):
    return "\n".join(f"{v:.16e}" for v in values)


@cache
def _written(kind):
    """Smooth made-up functions in a file of each format."""
    n, d_r, d_rho = 600, 0.01, 0.05
    r, rho = np.arange(n) * d_r, np.arange(n) * d_rho
    fade = np.clip(1 - r / 5.9, 0, 1) ** 4
    density = lambda k: (2.0 + k) * np.exp(-r) * fade
    if kind == "funcfl":
        text = f"made\n29 63.5 3.6 fcc\n{n} {d_rho} {n} {d_r} 5.9\n" + "\n".join(
            map(_column, (-np.sqrt(rho + 0.1), 8.0 * np.exp(-r) * fade, density(0))))
    else:
        lines = ["made", "for", "tests", "2 Cu Ni", f"{n} {d_rho} {n} {d_r} 5.9"]
        for k in range(2):
            lines += ["29 63.5 3.6 fcc", _column(-(1 + 0.2 * k) * np.sqrt(rho + 0.1))]
            lines += [_column(density(k + 0.5 * m)) for m in range(2)] if kind == "fs" else [_column(density(k))]
        lines += [_column((9.0 + k) * np.exp(-1.5 * r) * fade) for k in range(3)]
        text = "\n".join(lines)
    path = Path(mkdtemp()) / f"made.{kind}"
    path.write_text(text + "\n")
    return path


def setfl(finnis_sinclair=False):
    return _written("fs" if finnis_sinclair else "alloy")


def funcfl():
    return _written("funcfl")


@cache
def triplets(kind):
    """Published parameters of silicon (Stillinger and Weber 1985; Tersoff 1989), and carbon-like ones made from them."""
    lines = []
    for a, b, c in product(("Si", "C"), repeat=3):
        light = (b == "C") + (c == "C")
        near = 0.9 if "C" in (a, b) else 1.0
        numbers = (f"2.1683 {2.0951 * near} 1.8 {21.0 + light} 1.2 -0.33333 7.049556277 0.6022245584 4 0 0" if kind == "sw" else
                   f"{3 if light else 1} 1 {0.3 * light} 1.0039e5 16.217 -0.59825 0.78734 1.1e-6 1.7322 471.18 "
                   f"{2.85 - 0.1 * light} 0.25 2.4799 {1830.8 - 40 * light}")
        lines.append(f"{a} {b} {c} {numbers}")
    path = Path(mkdtemp()) / f"made.{kind}"
    path.write_text("\n".join(lines) + "\n")
    return path


@cache
def _table():
    """A function that ends smoothly, so that finite differences see no jump."""
    r = np.linspace(1.2, 6.0, 400)
    u, du = (6.0 - r) ** 4 * np.exp(-r), -(4 * (6.0 - r) ** 3 + (6.0 - r) ** 4) * np.exp(-r)
    path = Path(mkdtemp()) / "made.table"
    rows = (f"{k + 1} {a} {b} {-c}" for k, (a, b, c) in enumerate(zip(r, u, du)))
    path.write_text("MADE\nN 400 R 1.2 6.0\n\n" + "\n".join(rows) + "\n")
    return path


GASES = dict(epsilon={"Ar": 0.0104, "Kr": 0.0140}, sigma={"Ar": 3.4, "Kr": 3.65}, cutoff=8.0)
SALT = {"Na-Na": {"sigma": 2.34, "C": 1.05, "D": 0.5}, "Na-Cl": {"sigma": 2.755, "C": 7.0, "D": 8.7},
        "Cl-Cl": {"sigma": 3.17, "C": 72.4, "D": 145.4}}
BKS = {"Si-O": {"A": 18003.7572, "rho": 0.205205, "C": 133.5381}, "O-O": {"A": 1388.773, "rho": 0.362319, "C": 175.0}}

FINE = {"alpha": 0.7, "order": 16, "spacing": 0.3}  # of a mesh: what is left out is below 1e-10 eV/Å
IONS = {"Na": 1.0, "Cl": -1.0}

CASES = {  # name [and variant]: (potential, structures, options of the contract)
    "lj": (lambda: LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5, truncation="shifted"), argon, ANY),
    "lj force-shifted": (lambda: LennardJones(**GASES, truncation="force-shifted"), argon_krypton, {}),
    "lj smoothed": (lambda: LennardJones(**GASES, truncation="smoothed", inner=6.5, mixing="sixth-power"), argon_krypton, {}),
    "lj tail": (lambda: LennardJones(**GASES, tail=True), argon_krypton, {"smooth": False, "open_directions": False}),
    "morse": (lambda: Morse(depth=0.3429, alpha=1.3588, r0=2.866, cutoff=7.0, truncation="force-shifted"),
              lambda: small("Cu", cubic=True), ANY),
    "buckingham": (lambda: Buckingham(pairs=BKS, none=["Si-Si"], cutoff=6.0, truncation="force-shifted"), silica_like, {}),
    "born-mayer-huggins": (lambda: BornMayerHuggins(A=0.2637, rho=0.317, pairs=SALT, cutoff=7.0, truncation="shifted"),
                           salt, {}),
    "zbl": (lambda: ZBL(inner=1.5, cutoff=3.2), silica_like, {}),
    # nothing without a field; with one they are tested in tests/dielectric
    "fixed-charges": (lambda: FixedCharges(IONS), salt, {}),
    "born-charges": (lambda: FixedBornCharges(IONS), salt, {}),
    "polarizable-bonds": (lambda: PolarizableBonds([Bond("Na-Cl", charge=0.2)]), salt, ANY),
    # a longer cutoff than the published one, at which the energy jumps by a microelectronvolt a pair
    "eam/zhou": (lambda: ZhouEAM(cutoff=7.5), lambda: small("Cu", cubic=True), {}),
    "eam/alloy": (lambda: SetflEAM(file=str(setfl())), cu_ni, {}),
    "eam/fs": (lambda: FinnisSinclairEAM(file=str(setfl(True))), cu_ni, {}),
    "sw": (lambda: StillingerWeber(file=str(triplets("sw"))), lambda: small("SiC", "zincblende", a=4.36), {}),
    "tersoff": (lambda: Tersoff(file=str(triplets("tersoff"))), lambda: small("SiC", "zincblende", a=4.36), {}),
    "ewald": (lambda: Ewald(accuracy=1e-11, cutoff=7.0), charged_salt, ANY | {"open_directions": False}),
    "coulomb/pme": (lambda: CoulombPME(cutoff=7.0, **FINE), charged_salt, ANY | {"open_directions": False}),
    "dispersion/pme": (lambda: DispersionPME(C6={"Na": 20.0, "Cl": 60.0}, cutoff=7.0, **FINE), salt, {"open_directions": False}),
    "dsf": (lambda: DampedShiftedForce(cutoff=7.0), charged_salt, ANY),
    "ase": (lambda: ASE(calculator="ase.calculators.emt:EMT"), lambda: small("Cu", cubic=True),
            ANY | {"open_directions": False}),
    "table": (lambda: Tabulated(file=str(_table())), lambda: small("Cu", cubic=True), ANY),
    "eam/funcfl": (lambda: FuncflEAM(file=str(funcfl())), lambda: small("Cu", cubic=True), {}),
}


ELSEWHERE = {  # bound to sites or to a field, so that not every part of the contract applies
    "fixed-charges": "dielectric", "born-charges": "dielectric", "polarizable-bonds": "dielectric", "force-constants": "lattice",
}


def test_everything_registered_is_tested():
    entries = registry.entries("potentials").items()
    ours = {name for name, point in entries if point.value.startswith("potentials.")}
    assert ours <= {name.split(" ")[0] for name in CASES} | set(ELSEWHERE)


class TestContract(PotentialContract):
    @pytest.fixture(autouse=True, params=list(CASES))
    def case(self, request):
        self.make, self.make_structure, options = CASES[request.param]
        for name, value in options.items():
            setattr(self, name, value)

    def potential(self):
        return self.make()

    def structures(self):
        return [self.make_structure()]
