"""The SCHA stage from its several starts, with and without its cell; what it refuses."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import phonopy
import pytest
from ase import Atoms
from ase.build import bulk
from phonopy.structure.atoms import PhonopyAtoms
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integrators"))
from quartic_crystal import write  # noqa: E402
from tdscha_ranks import register  # noqa: E402

from engine import units  # noqa: E402
from engine.ase import EngineCalculator  # noqa: E402
from engine.errors import InputError  # noqa: E402
from engine.run import Run  # noqa: E402
from engine.testing import evaluate  # noqa: E402
from integrators.gaussian.lattice import Lattice  # noqa: E402
from plugins.lattice.phonopy_files import read_phonopy  # noqa: E402
from plugins.lattice.quantum_espresso import read_dyn, write_dyn  # noqa: E402
from potentials.pair.lennard_jones import LennardJones  # noqa: E402

INPUT = """
[system]
structure = "crystal.extxyz"
copies = {copies}
[potential]
kind = "force-constants"
file = "model.h5"
[output]
file = "run.h5md"
trajectory = false
[[stage]]
kind = "scha"
start = "{start}"
temperature = 150
tolerance = 1e-3
steps = 25
{more}
"""


def scha(folder, monkeypatch, start, copies=40, more="", **strengths):
    register()
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    write(folder, **strengths)
    write_dyn(Lattice.load("lattice.h5"), "dyn1")
    job = Run(tomllib.loads(INPUT.format(start=start, copies=copies, more=more)), folder)
    job.execute(quiet=True, force=True)
    return Lattice.load("scha.h5"), job


def test_every_start_ends_at_the_same_minimum(tmp_path, monkeypatch):
    """From a lattice file, a dyn file, finite differences, and a reversed sign of the softest force constants."""
    found = [scha(tmp_path / "a", monkeypatch, s)[0] for s in ("lattice.h5", "dyn1", "harmonic")]
    for other in found[1:]:
        assert np.abs(other.force_constants - found[0].force_constants).max() < 1e-5
        assert np.abs(other.positions - found[0].positions).max() < 1e-5
    assert all(f.notes["converged"] for f in found)
    harmonic = Lattice.load(tmp_path / "a/lattice.h5")
    stiffer = found[0].frequencies() / harmonic.frequencies()
    assert stiffer.min() > 1.0 and stiffer.max() < 1.2  # a positive quartic term


def test_reweighting_and_exact_averages(tmp_path, monkeypatch):
    exact, _ = scha(tmp_path / "e", monkeypatch, "lattice.h5", copies=1, more='averages = "exact"\ndyn = "out_dyn"')
    sampled, job = scha(tmp_path / "s", monkeypatch, "lattice.h5", copies=1000, more="reweight = true")
    assert sampled.frequencies() == pytest.approx(exact.frequencies(), rel=0.01)
    assert len(sampled.notes["report"]) <= 5
    assert read_dyn(tmp_path / "e/out_dyn").frequencies() == pytest.approx(exact.frequencies(), rel=1e-9)


ARGON = """
[system]
crystal = {{ structure = "fcc", species = "Ar", a = 5.25 }}
copies = 40
[potential]
kind = "lj"
epsilon = 0.01042
sigma = 3.405
cutoff = 8.0
truncation = "force-shifted"
[output]
file = "run.h5md"
trajectory = false
[[stage]]
kind = "scha"
start = "harmonic"
temperature = {T}
tolerance = 0.1
steps = 40
cell = true
stiffness = 4
stress_tolerance = 0.005
"""


def test_argon_expands_by_its_zero_point_motion(tmp_path, monkeypatch):
    """Any potential of the engine: solid argon from finite differences, its cell at zero stress. Quantum nuclei at
    0 K make it about 1.5 % larger than the static crystal of the same potential, and 40 K some more."""
    register()
    monkeypatch.chdir(tmp_path)
    a = []
    for T in (0, 40):
        job = Run(tomllib.loads(ARGON.format(T=T)), tmp_path)
        job.execute(quiet=True, force=True)
        stage = job.stages[0]
        assert stage.converged
        assert np.abs(stage.mean_stress(job.simulation) / units.GPa).max() < 0.006
        found = Lattice.load("scha.h5")
        assert np.ptp(np.diag(found.cell)) < 1e-6 and np.abs(found.cell - np.diag(np.diag(found.cell))).max() < 1e-6
        a.append(found.cell[0, 0])
    lj = LennardJones(epsilon=0.01042, sigma=3.405, cutoff=8.0, truncation="force-shifted")
    grid = np.linspace(5.1, 5.5, 41)
    energy = [evaluate(lj, bulk("Ar", "fcc", a=x, cubic=True)).energy[0] for x in grid]
    static = minimize_scalar(CubicSpline(grid, energy), bounds=(5.1, 5.5), method="bounded").x
    assert 0.01 < a[0] / static - 1 < 0.025 and 0.005 < a[1] - a[0] < 0.08


def test_phonopy_lattice(shared_data):
    """NaCl's published optical modes at Γ from phonopy's own files."""
    lattice = read_phonopy(str(shared_data / "08-phonons/NaCl/phonopy_disp.yaml"))
    assert len(lattice) == 64 and lattice.born is not None
    w = lattice.sum_rule().frequencies()
    assert w[0] > 20 and 150 < w[-1] < 260
    assert np.abs(lattice.born.sum(0)).max() < 0.1


def test_phonopy_start(tmp_path, monkeypatch):
    """phonopy displaces a supercell, our calculator gives the forces, the SCHA starts from phonopy's file: it ends where that
    from finite differences does."""
    register()
    monkeypatch.chdir(tmp_path)
    lj = LennardJones(epsilon=0.01042, sigma=3.405, cutoff=8.0, truncation="force-shifted")
    cell = PhonopyAtoms(["Ar"] * 4, cell=np.eye(3) * 5.36, scaled_positions=bulk("Ar", cubic=True, a=5.36).get_scaled_positions())
    phonon = phonopy.Phonopy(cell, np.eye(3, dtype=int), primitive_matrix="F", log_level=0)
    phonon.generate_displacements(distance=0.01)
    forces = []
    for moved in phonon.supercells_with_displacements:
        atoms = Atoms(moved.symbols, moved.positions, cell=moved.cell, pbc=True, calculator=EngineCalculator(lj))
        forces.append(atoms.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.save("phonopy_params.yaml", settings={"force_constants": True})
    found = []
    for start in ("phonopy_params.yaml", "harmonic"):
        text = ARGON.format(T=20).replace("5.25", "5.36").replace('"harmonic"', f'"{start}"').replace("cell = true\n", "")
        job = Run(tomllib.loads(text), tmp_path)
        job.execute(quiet=True, force=True)
        assert job.stages[0].converged
        found.append(Lattice.load("scha.h5").frequencies())
    assert found[0] == pytest.approx(found[1], abs=0.6)  # forty configurations; each has converged to 0.1
    assert np.abs(found[0] - read_phonopy("phonopy_params.yaml").frequencies()).max() > 2  # zero-point motion and 20 K


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read"):
        scha(tmp_path, monkeypatch, "absent_dyn")
    with pytest.raises(InputError, match="too few for 9 modes"):
        scha(tmp_path, monkeypatch, "lattice.h5", copies=10)
