"""Styles that exist here against LAMMPS's recorded forces, energies and virials, in its units throughout."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from lammps_references import add_special, plain_file, reference, run, structure
from scipy.interpolate import CubicSpline

from engine import units
from engine.neighbors.pair_list import PairList
from potentials.coulomb.dsf import DampedShiftedForce
from potentials.coulomb.ewald import Ewald
from potentials.coulomb.pairs import ScreenedPairs, screened
from potentials.eam.file_potentials import FinnisSinclairEAM, FuncflEAM, SetflEAM
from potentials.manybody.stillinger_weber import StillingerWeber
from potentials.manybody.tersoff import Tersoff
from potentials.pair.born_mayer_huggins import BornMayerHuggins
from potentials.pair.buckingham import Buckingham
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse
from potentials.pair.table_files import read_section
from potentials.pair.tabulated import Tabulated
from potentials.pair.zbl import ZBL

REAL = 332.06371 / units.coulomb  # LAMMPS's e²/4πε₀ in kcal·Å/mol over ours: energies in its "real" units
FIVE = ["1", "2", "3", "4", "5"]


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "04-lammps-unittest"


def close(got, expected, energy, tolerance):
    scale = np.abs(expected.forces).max()
    if energy is not None:
        assert got.energy == pytest.approx(energy, rel=tolerance)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(got.virial, expected.virial, rtol=0, atol=tolerance * np.abs(expected.virial).max())


def pairs(ref, names, signs=None):
    """`pairs` of a potential from pair_coeff lines."""
    signs = signs or [1.0] * len(names)
    return {f"{a}-{b}": dict(zip(names, np.array(numbers[: len(names)], float) * signs))
            for a, b, *numbers in ref.coefficients}


METALS = {
    "atomic-pair-eam": lambda f, tmp: (FuncflEAM(file={
        "Al": str(f / "inputs/Al_jnp.eam"), "Cu": str(f / "../01-potentials/lammps-data/Cu_u3.eam")}), ["Al", "Cu"]),
    "atomic-pair-eam_alloy": lambda f, tmp: (SetflEAM(file=str(f / "inputs/CuNi.eam.alloy")), ["Cu", "Ni"]),
    "atomic-pair-eam_fs": lambda f, tmp: (
        FinnisSinclairEAM(file=str(plain_file(f / "inputs/AlFe_mm.eam.fs", tmp))), ["Al", "Fe"]),
    "atomic-pair-born": lambda f, tmp: (
        BornMayerHuggins(A=6.08, rho=0.317, sigma=2.340, C=24.18, D=-11.51, cutoff=8.0), ["Ni", "Cu"]),
}


@pytest.mark.parametrize("name", METALS)
def test_metals(folder, tmp_path, name):
    potential, names = METALS[name](folder, tmp_path)
    ref = reference(folder, name)
    close(run(potential, structure(folder, "data.metal"), names), ref, ref.vdwl, 1e-9)


@pytest.mark.parametrize("name, potential, file, names", [
    ("manybody-pair-sw", StillingerWeber, "Si.sw", ["Si"] * 8),
    ("manybody-pair-tersoff", Tersoff, "SiC.tersoff", ["Si"] * 4 + ["C"] * 4),
])
def test_many_body(folder, name, potential, file, names):
    ref = reference(folder, name)
    potential = potential(file=str(folder / "../01-potentials/lammps-data" / file))
    close(run(potential, structure(folder, "data.manybody"), names), ref, ref.vdwl, 1e-9)


def test_table(folder):
    """LAMMPS interpolates again, in r², so that the last digits are its own."""
    ref = reference(folder, "atomic-pair-table_spline")
    potential = Tabulated(file=str(folder / "inputs/pair_table_beck.txt"),
                          pairs={"1-1": "beck_1_1", "1-2": "beck_1_1", "2-2": "beck_2_2"})
    close(run(potential, structure(folder, "data.metal"), ["1", "2"]), ref, ref.vdwl, 1e-4)


def lj(ref, **options):
    table = pairs(ref, ("epsilon", "sigma"))
    own = {key.split("-")[0]: value for key, value in table.items() if key.split("-")[0] == key.split("-")[1]}
    mixed = {key: value for key, value in table.items() if key.split("-")[0] != key.split("-")[1]}
    return LennardJones(epsilon={k: v["epsilon"] for k, v in own.items()}, sigma={k: v["sigma"] for k, v in own.items()},
                        pairs=mixed, cutoff=float(ref.style[-1]), **options)


MOLECULES = {
    "mol-pair-buck": lambda ref: (Buckingham(pairs=pairs(ref, ("A", "rho", "C")), cutoff=8.0), FIVE, 1.0),
    "mol-pair-morse": lambda ref: (Morse(pairs=pairs(ref, ("depth", "alpha", "r0")), cutoff=8.0), FIVE, 1.0),
    "mol-pair-lj_cut": lambda ref: (lj(ref), FIVE, 1.0),
    "mol-pair-lj_smooth": lambda ref: (lj(ref, truncation="smoothed", inner=8.0), FIVE, 1.0),
    "mol-pair-zbl": lambda ref: (ZBL(inner=6.0, cutoff=8.0), ["C", "N", "He", "O", "O"], REAL),
}


def in_molecules(potential, names, atoms):
    """What a pair potential gives with pairs scaled by 0.1, 0.25, 0.5 one, two, three bonds apart: excluded from the lists,
    added by hand."""
    result = run(potential, atoms, names)
    species = list(dict.fromkeys(names))
    cutoffs, tables = potential.tables(species)

    def scaled(i, j, factor, r2):
        a, b = (species.index(names[atoms.types[k] - 1]) for k in (i, j))
        if r2 >= cutoffs[a, b] ** 2:
            return 0.0, 0.0
        arguments = {k: v[a, b] for k, v in tables.items() if k in potential._arguments}
        u, w = potential.function(r2, **arguments)
        return factor * u, factor * w

    return add_special(result, atoms, scaled)


@pytest.mark.parametrize("name", MOLECULES)
def test_pairs_in_molecules(folder, name):
    ref, atoms = reference(folder, name), structure(folder, "data.fourmol")
    potential, names, unit = MOLECULES[name](ref)
    if "zbl" in name:  # LAMMPS's zbl knows no special pairs
        atoms.factors.clear()
    result = in_molecules(potential, names, atoms)
    for key in ("energy", "forces", "virial"):
        setattr(result, key, getattr(result, key) * unit)
    # the recorded smoothed energy is not shifted; its forces are the same
    close(result, ref, None if "smooth" in name else ref.vdwl, 1e-9)


def charged(result, factor=REAL):
    for key in ("energy", "forces", "virial"):
        setattr(result, key, getattr(result, key) * factor)
    return result


def charges_in_molecules(atoms, alpha):
    """Screened charges of all pairs, in kcal/mol; of special pairs, LAMMPS takes (1 − factor)/r of bare charges away."""

    def scaled(i, j, factor, r2):
        q_i, q_j, r = atoms.charges[i], atoms.charges[j], math.sqrt(r2)
        e, w = screened(r2, q_i, q_j, alpha, units.coulomb)
        bare = (1 - factor) * units.coulomb * q_i * q_j / r
        return e - bare, w - bare / r2

    return charged(add_special(run(ScreenedPairs(alpha=alpha, cutoff=8.0), atoms, FIVE), atoms, scaled))


def test_screened_charges(folder):
    """The real-space half of an Ewald sum, α = 0.3/Å, special pairs included."""
    ref, atoms = reference(folder, "mol-pair-coul_long"), structure(folder, "data.fourmol")
    close(charges_in_molecules(atoms, 0.3), ref, ref.coul, 3e-6)  # LAMMPS's erfc has seven digits


BORN = lambda ref: BornMayerHuggins(pairs=pairs(ref, ("A", "rho", "sigma", "C", "D"), (1, 1, 1, 1, -1)), cutoff=8.0)
CHARGED = {  # a pair potential and charges, screened as by α where there is one
    "mol-pair-lj_cut_coul_long": (lj, 0.3),
    "mol-pair-buck_coul_long": (lambda ref: Buckingham(pairs=pairs(ref, ("A", "rho", "C")), cutoff=8.0), 0.3),
    "mol-pair-born_coul_long": (BORN, 0.3),
    "mol-pair-born_coul_long_cs": (BORN, 0.3),
    "mol-pair-lj_cut_coul_cut": (lj, 0.0),
}


@pytest.mark.parametrize("name", CHARGED)
def test_pairs_and_charges_in_molecules(folder, name):
    """Each part's energy is recorded for itself, forces and virial for both together."""
    ref, atoms = reference(folder, name), structure(folder, "data.fourmol")
    make, alpha = CHARGED[name]
    plain, electric = in_molecules(make(ref), FIVE, atoms), charges_in_molecules(atoms, alpha)
    assert plain.energy == pytest.approx(ref.vdwl, rel=1e-9)
    assert electric.energy == pytest.approx(ref.coul, rel=3e-6)
    scale = np.abs(ref.forces).max()
    np.testing.assert_allclose(plain.forces + electric.forces, ref.forces, rtol=0, atol=3e-6 * scale)
    np.testing.assert_allclose(plain.virial + electric.virial, ref.virial, rtol=0, atol=3e-6 * np.abs(ref.virial).max())


def test_table_of_molecules(folder, tmp_path):
    """LAMMPS makes its own tables of the file, 1000 points evenly spaced in r², linear in between: very coarse where atoms
    are close, so that no other program has those forces. What is replayed is the file and its splines, tabulated like that."""
    ref, atoms = reference(folder, "mol-pair-table"), structure(folder, "data.fourmol")
    path, sections = plain_file(folder / "inputs/pair_table_lj_cut.txt", tmp_path), {}
    for a, b, _, name in ref.coefficients:
        section = read_section(path, "table", name)
        r, u, f = section.r, section.u, section.f
        ends = [(1, (f[1] - f[0]) / (r[1] - r[0])), (1, (f[-1] - f[-2]) / (r[-1] - r[-2]))]
        grid = np.linspace(r[0] ** 2, r[-1] ** 2, 1000)
        energy = CubicSpline(r, u, bc_type=((1, -f[0]), (1, -f[-1])))(np.sqrt(grid))
        force = CubicSpline(r, f, bc_type=ends)(np.sqrt(grid)) / np.sqrt(grid)
        sections[int(a), int(b)] = sections[int(b), int(a)] = grid, energy, force
    pair = PairList(8.0)(atoms.positions, atoms.cell)
    energy, forces, virial = 0.0, np.zeros((len(atoms.types), 3)), np.zeros((3, 3))
    for i, j, r2, d in zip(pair.first, pair.second, pair.distances**2, pair.vectors):
        grid, u, w = sections[atoms.types[i], atoms.types[j]]
        factor = atoms.factors.get((min(i, j), max(i, j)), 1.0)
        energy += 0.5 * factor * np.interp(r2, grid, u)
        force = factor * np.interp(r2, grid, w) * d  # on j
        forces[j] += force
        virial += 0.5 * np.outer(d, force)
    close(SimpleNamespace(energy=energy, forces=forces, virial=virial), ref, ref.vdwl, 1e-9)


ABSENT = {
    "mol-pair-lj_charmm_coul_long": "CHARMM's switch of the energy between two cutoffs is not here (lj has LAMMPS's lj/smooth)",
    "mol-pair-coul_wolf": "Wolf's sum is not here: its forces are not the slope of its energy; dsf is its consistent form",
    "mol-pair-lj_cut_tip4p_long": "there are no massless sites",
    "mol-pair-lj96_cut": "a 9-6 potential is not here; a table, or a pair function of one's own, is",
    "mol-pair-yukawa": "a Yukawa potential is not here; a table, or a pair function of one's own, is",
    "mol-pair-hybrid-overlay": "its charges do not act between types 3 and 3; named potentials here act on all pairs",
    "atomic-pair-hybrid-eam": "hybrid styles give pairs of species to different potentials; named potentials here act on all",
    "kspace-pppm_slab": "slab corrections are not here",
}


@pytest.mark.parametrize("name", ABSENT)
def test_styles_that_are_not_here(folder, name):
    assert (folder / "yaml" / f"{name}.yaml").exists()
    pytest.skip(f"{name}: {ABSENT[name]}")


def test_damped_shifted_forces(folder):
    ref, atoms = reference(folder, "mol-pair-lj_cut_coul_dsf"), structure(folder, "data.fourmol")
    vdwl = reference(folder, "mol-pair-lj_cut")
    potential = DampedShiftedForce(cutoff=8.0, alpha=0.25)
    result = run(potential, atoms, FIVE, exclude=False)

    def scaled(i, j, factor, r2):
        bare = (factor - 1) * units.coulomb * atoms.charges[i] * atoms.charges[j] / math.sqrt(r2)
        return bare, bare / r2

    result = charged(add_special(result, atoms, scaled))
    assert result.energy == pytest.approx(ref.coul, rel=3e-6)
    np.testing.assert_allclose(result.forces + vdwl.forces, ref.forces, atol=1e-6 * np.abs(ref.forces).max())


@pytest.mark.parametrize("name", ["kspace-ewald", "kspace-ewald_tri"])
def test_reciprocal_sum(folder, name):
    """Forces of the reciprocal half alone; LAMMPS's sum is as accurate as it was asked to be (1e-6 of 332 kcal/mol/Å)."""
    ref, atoms = reference(folder, name), structure(folder, "data.fourmol")
    whole = run(Ewald(cutoff=8.0, alpha=0.3, reciprocal_cutoff=4.0), atoms, FIVE, exclude=False)
    real = run(ScreenedPairs(alpha=0.3, cutoff=8.0), atoms, FIVE, exclude=False)
    np.testing.assert_allclose(REAL * (whole.forces - real.forces), ref.forces, atol=1e-3)
