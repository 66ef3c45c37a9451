"""Molecules and exclusions from the input file: by bonds, by a column, by numbers; replicated, several systems, resumed."""
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from lammps_peer import _pool, load
from scipy.sparse.csgraph import shortest_path
from test_run import at_step, contents, prepare

from engine import molecules
from engine.ase import EngineCalculator
from engine.cli import main
from engine.config import input as config
from engine.config.system import build_state
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces
from engine.run import from_checkpoint
from engine.simulation import Simulation
from engine.testing import evaluate
from potentials.coulomb.dsf import DampedShiftedForce
from potentials.pair.lennard_jones import LennardJones


def water(cell=(7.2, 6.4, 6.8), seed=1):
    """Eight rigid water molecules turned at random in a triclinic cell, wrapped atom by atom."""
    rng = np.random.default_rng(seed)
    lattice = np.diag(cell) + np.array([[0, 0, 0], [0.9, 0, 0], [-0.6, 0.7, 0]])
    shape = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.24, 0.9266, 0]])
    x = []
    for place in np.indices((2, 2, 2)).reshape(3, -1).T / 2 + 0.1:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        x.append(place @ lattice + shape @ turn)
    atoms = Atoms("OHH" * 8, np.concatenate(x), cell=lattice, pbc=True)
    atoms.set_initial_charges([-0.834, 0.417, 0.417] * 8)
    atoms.arrays["mol"] = np.repeat(np.arange(8) * 3 + 5, 3)
    assert np.ptp(np.floor(atoms.get_scaled_positions(wrap=False)), axis=0).max() > 0, "none crosses the boundary"
    atoms.wrap()
    return atoms


def state_of(folder, atoms, **keys):
    write(folder / "a.extxyz", atoms)
    raw = {"system": {"structure": "a.extxyz", "frames": ":", **keys}, "stage": [{}]}
    return build_state(config.parse(raw, str(folder)).system, 0)


def excluded(state):
    return {tuple(pair) for pair in state.exclusions.tolist()}


@pytest.mark.parametrize("keys", [
    {"molecules": "mol", "exclusions": {"molecules": True}}, {"molecules": "bonds", "exclusions": {"molecules": True}},
    {"exclusions": {"bonds": 2}}, {"exclusions": {"bonds": 1, "pairs": [[3 * k + 1, 3 * k + 2] for k in range(8)]}},
    {"exclusions": {"file": "pairs.txt"}}, {"bonds": {"lengths": {"H-O": 1.0}}, "exclusions": {"bonds": 2}},
    {"bonds": {"scale": 1.05, "lengths": {"O-O": 0}}, "molecules": "bonds", "exclusions": {"molecules": True}},
])
def test_every_way_to_say_it(tmp_path, keys):
    """All of them leave the three pairs of each molecule out."""
    lines = [f"{3 * k + a} {3 * k + b}  # molecule {k}" for k in range(8) for a, b in ((0, 1), (2, 0), (1, 2))]
    (tmp_path / "pairs.txt").write_text("# atoms\n\n" + "\n".join(lines))
    state = state_of(tmp_path, water(), **keys)
    assert excluded(state) == {(3 * k + a, 3 * k + b) for k in range(8) for a, b in ((0, 1), (0, 2), (1, 2))}
    if "molecules" in keys:
        assert (state.molecules == np.repeat(np.arange(8), 3)).all()
    else:
        assert "molecules" not in state.table


@pytest.mark.parametrize("way", ["column", "bonds", "pairs"])
def test_replicated_molecules_are_whole(tmp_path, way):
    """Molecules broken by the boundary of the unit cell: a supercell has as many times the energy, whatever the cutoff."""
    keys = {"column": {"molecules": "mol", "exclusions": {"molecules": True}}, "bonds": {"exclusions": {"bonds": 2}},
            "pairs": {"exclusions": {"pairs": [[3 * k + a, 3 * k + b] for k in range(8) for a, b in ((0, 1), (0, 2), (1, 2))]}}}
    keys = keys[way]
    energies = []
    for replicate in ([1, 1, 1], [3, 1, 2]):
        state = state_of(tmp_path, water(), replicate=replicate, **keys)
        assert len(state.exclusions) == 24 * np.prod(replicate)
        if way == "column":
            assert np.bincount(state.molecules).tolist() == [3] * (8 * int(np.prod(replicate)))
        energies.append([energy_of(state, potential) for potential in (
            LennardJones(epsilon=0.0066, sigma=1.1, cutoff=8.0, truncation="shifted"), DampedShiftedForce(cutoff=7.5))])
    np.testing.assert_allclose(energies[1], 6 * np.array(energies[0]), rtol=1e-11)


def energy_of(state, potential):
    potential.bind(state.species_names)
    domain = Domain(state, potential.capabilities().cutoff, 0.5)
    return Forces(state, domain, {"p": potential})(frozenset({"energy"})).energy[0]


def test_several_systems_and_copies(tmp_path):
    """Frames of different length, twice: pairs by number are meant in each, molecules are numbered through."""
    small = water()[:6]
    state = state_of(tmp_path, [water(), small], copies=2, molecules="mol", exclusions={"pairs": [[0, 1]]})
    assert excluded(state) == {(0, 1), (24, 25), (30, 31), (54, 55)}
    assert state.molecules.tolist() == np.repeat(np.arange(20), 3).tolist()


def test_bond_distances_against_shortest_paths():
    """A branched molecule: pairs up to k bonds apart are those of a graph search."""
    rng = np.random.default_rng(5)
    bonds = np.array([(k, rng.integers(max(0, k - 4), k)) for k in range(1, 40)] + [(7, 30), (12, 39)])
    matrix = np.zeros((42, 42))  # two atoms without bonds
    matrix[bonds[:, 0], bonds[:, 1]] = 1
    steps = shortest_path(matrix, directed=False, unweighted=True)
    for k in (1, 2, 3, 5):
        expected = {(i, j) for i in range(42) for j in range(i + 1, 42) if steps[i, j] <= k}
        assert {tuple(p) for p in molecules.within_bonds(42, bonds, k).tolist()} == expected
    assert len(set(molecules.connected(42, bonds))) == 3


def test_a_chain_through_the_boundary(tmp_path):
    """One atom in the cell, bonded to its own image: nothing to exclude alone, a ring of five in a supercell."""
    chain = Atoms("C", cell=[1.5, 20, 20], pbc=True)
    state = state_of(tmp_path, chain, replicate=[5, 1, 1], molecules="bonds", exclusions={"bonds": 1})
    assert excluded(state) == {(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)} and (state.molecules == 0).all()


def test_column_with_atoms_of_no_molecule(tmp_path):
    atoms = water() + Atoms("Ar", [[1, 1, 1]])
    atoms.arrays["mol"][-1] = -1
    state = state_of(tmp_path, atoms, replicate=[2, 1, 1], molecules="mol", exclusions={"molecules": True})
    assert (state.molecules[state.species == state.species_names.index("Ar")] == -1).all()
    assert state.molecules.max() == 15 and len(state.exclusions) == 48


DATA = """water and a hydrocarbon

9 atoms
2 atom types
6 bonds
1 bond types
0 12 xlo xhi
0 12 ylo yhi
0 12 zlo zhi

Masses

1 12.011
2 1.008

Atoms # full

{atoms}

Bonds

1 1 1 2
2 1 2 3
3 1 3 4
4 1 4 5
5 1 7 8
6 1 8 9
"""


def _energy_of_lammps(commands):
    lmp = load()(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    for line in commands:
        lmp.command(line)
    energy = lmp.get_thermo("evdwl")
    lmp.close()
    return energy


def test_lammps_data_file_against_lammps(tmp_path):
    """A chain of five and one of three across the boundary, an atom alone: LAMMPS's special_bonds 0 0 0 is bonds = 3."""
    x = np.array([[11.2, 5, 5], [0.5, 5.8, 5], [1.9, 5.1, 5.4], [3.0, 6.0, 5.1], [4.3, 5.2, 5.6],
                  [8, 8, 8], [6, 11.6, 2], [6.9, 0.5, 2.3], [8.1, 11.9, 1.7]])
    rows = [f"{k + 1} {m} {t} 0.0 {p[0]} {p[1]} {p[2]}"
            for k, (m, t, p) in enumerate(zip([1] * 5 + [0] + [2] * 3, [1, 1, 2, 1, 1, 2, 1, 1, 1], x))]
    (tmp_path / "a.data").write_text(DATA.format(atoms="\n".join(rows)))
    system = {"structure": "a.data", "format": "lammps-data", "bonds": {"source": "structure"}, "molecules": "mol-id",
              "exclusions": {"bonds": 3}}
    state = build_state(config.parse({"system": system, "stage": [{}]}, str(tmp_path)).system, 0)
    assert (0, 4) not in excluded(state) and (0, 3) in excluded(state) and len(state.exclusions) == 9 + 3
    assert state.molecules.tolist() == [0] * 5 + [-1] + [1] * 3
    lj = LennardJones(pairs={"C-C": {"epsilon": 0.003, "sigma": 3.4}, "H-H": {"epsilon": 0.001, "sigma": 2.6},
                             "C-H": {"epsilon": 0.002, "sigma": 3.0}}, cutoff=5.0)
    expected = _pool().submit(_energy_of_lammps, (
        "units metal", "atom_style full", "special_bonds lj/coul 0 0 0", "bond_style zero", "pair_style lj/cut 5.0",
        f"read_data {tmp_path / 'a.data'}", "bond_coeff *", "pair_coeff 1 1 0.003 3.4", "pair_coeff 2 2 0.001 2.6",
        "pair_coeff 1 2 0.002 3.0", "run 0 post no")).result(timeout=120)
    assert energy_of(state, lj) == pytest.approx(expected, rel=1e-10)
    assert evaluate(lj, Atoms("CCHCCHCCC", x, cell=[12] * 3, pbc=True)).energy[0] > 10 * abs(expected)


INPUT = """
[system]
structure = "a.extxyz"
replicate = [2, 1, 1]
molecules = "bonds"
exclusions = { molecules = true }
velocities = { temperature = 300 }
[potentials.lj]
kind = "lj"
epsilon = 0.0066
sigma = 2.4
cutoff = 6.0
truncation = "force-shifted"
[potentials.charges]
kind = "dsf"
cutoff = 6.0
[output]
file = "run.h5md"
thermo = 5
trajectory = 5
checkpoint = 10
[run]
seed = 7
[[stage]]
integrator = "langevin"
steps = 30
timestep = 0.5
temperature = 300
friction = 0.01
"""


def test_a_resumed_run_has_its_molecules_and_exclusions(tmp_path, monkeypatch):
    """Bit for bit, and with as many degrees of freedom as without: nothing holds the atoms of a molecule together."""
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.extxyz", water())
    whole = prepare(tmp_path / "whole", monkeypatch, INPUT)
    whole.execute(quiet=True)
    assert whole.simulation.degrees_of_freedom() == 3 * 48
    run = prepare(tmp_path / "parts", monkeypatch, INPUT)
    at_step(run, 13, lambda: "the test")
    run.execute(quiet=True)
    again, found = from_checkpoint(tmp_path / "parts" / "run.h5md")
    assert len(found["trees"]["0"]["state"]["exclusions"]) == 48
    again.execute(quiet=True, tree=found)
    one, two = contents(tmp_path / "whole" / "run.h5md"), contents(tmp_path / "parts" / "run.h5md")
    assert all(np.array_equal(one[name], two[name]) for name in one if one[name].dtype.kind in "fi")
    assert (again.simulation.array("molecules") == whole.simulation.array("molecules")).all()
    assert (np.bincount(again.simulation.array("molecules")) == 3).all()


def test_the_page_on_molecules(tmp_path, capsys):
    """docs/molecules.md: its input is accepted, and its Python gives what the same keys give."""
    text = (Path(__file__).parents[2] / "docs" / "molecules.md").read_text()
    toml, python = (re.search(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)[1] for kind in ("toml", "python"))
    config.parse({**tomllib.loads(toml), "stage": [{}]})
    names = {}
    exec(python, names)
    state = state_of(tmp_path, names["box"], exclusions={"bonds": 3})
    assert excluded(state) == {tuple(pair) for pair in names["sim"].state.exclusions.tolist()}
    assert float(capsys.readouterr().out.strip("[]\n")) == pytest.approx(energy_of(state, names["lj"]), rel=1e-5)
    with pytest.raises(InputError, match="run from 0 to 8"):
        Simulation.from_atoms(names["box"], names["lj"], exclusions=[(0, 9)])


def test_check_counts_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("a.extxyz", water())
    Path("input.toml").write_text(INPUT)
    main(["check", "input.toml"])
    out = capsys.readouterr().out
    assert "16 of 3 atoms, 48 pairs excluded" in out and '"scale": 1.2' in out


def test_evaluate_and_the_ase_calculator_leave_them_out(tmp_path, monkeypatch, capsys):
    """One energy: of `engine evaluate`, with the input's structure and with another file, and of ASE's calculator."""
    monkeypatch.chdir(tmp_path)
    write("a.extxyz", water())
    Path("input.toml").write_text(INPUT.replace("replicate = [2, 1, 1]", 'format = "extxyz"'))
    write("other.pdb", water())
    found = []
    for arguments in ([], ["--structure", "other.pdb"]):
        main(["evaluate", "input.toml", *arguments])
        found.append(float(capsys.readouterr().out.splitlines()[-1].split()[2]))
    lj = LennardJones(epsilon=0.0066, sigma=2.4, cutoff=6.0, truncation="force-shifted")
    atoms = water()
    atoms.calc = EngineCalculator({"lj": lj, "charges": DampedShiftedForce(cutoff=6.0)},
                                  exclusions=molecules.within_molecules(np.repeat(np.arange(8), 3)))
    assert found[0] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)  # eight digits in the file
    atoms.set_initial_charges(np.zeros(24))  # a PDB file has no charges, and three digits
    assert found[1] == pytest.approx(atoms.get_potential_energy(), rel=0.02)
    atoms.calc = EngineCalculator(lj, exclusions=[(0, 99)])
    with pytest.raises(InputError, match="atom 99"):
        atoms.get_potential_energy()


def test_a_group_by_index_has_every_replica(tmp_path):
    """Numbers are those of the structure as it is read, in each replica and in each system."""
    state = state_of(tmp_path, [water(), water()[:6]], replicate=[2, 1, 1], groups={"first": {"index": [0, 4]}})
    assert np.flatnonzero(state.group("first")).tolist() == [0, 4, 24, 28, 48, 52, 54, 58]
    with pytest.raises(InputError, match="indices run from 0 to 23"):
        state_of(tmp_path, water(), replicate=[2, 1, 1], groups={"first": {"index": [24]}})
