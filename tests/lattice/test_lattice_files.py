"""Quantum ESPRESSO's lattice files: frequencies, supercells, charges, writing; symmetry by spglib."""

import numpy as np
import pytest

from engine.errors import InputError
from integrators.gaussian.lattice import Lattice
from plugins.lattice.quantum_espresso import read_charges, read_dyn, read_star, write_dyn
from plugins.lattice.symmetry import Symmetry


def chain(n=4, k=3.0, second=0.5):
    """A ring of alternating atoms along x with nearest- and next-nearest-neighbor springs; known phonons."""
    masses = np.array([20.0, 30.0] * n)
    m = 2 * n
    phi = np.zeros((m, 3, m, 3))
    for axis, stiff in enumerate((1.0, 0.4, 0.4)):
        for i in range(m):
            for step, spring in ((1, k * stiff), (2, second * stiff)):
                j = (i + step) % m
                for a, b, s in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                    phi[a, axis, b, axis] += s * spring
    x = np.zeros((m, 3))
    x[:, 0] = 2.5 * np.arange(m)
    return Lattice(["Na", "Cl"] * n, np.diag([2.5 * m, 8.0, 8.0]), x, masses, phi.reshape(3 * m, 3 * m))


def test_round_trip(tmp_path):
    lattice = chain()
    lattice.born = np.tile(np.diag([1.0, -2.0, 0.5]), (8, 1, 1)) * np.array([1, -1] * 4)[:, None, None]
    lattice.dielectric = np.diag([2.0, 3.0, 4.0])
    write_dyn(lattice, tmp_path / "dyn1")
    back = read_dyn(tmp_path / "dyn1")
    assert np.abs(back.force_constants - lattice.force_constants).max() < 1e-12
    assert np.abs(back.positions - lattice.positions).max() < 1e-12
    assert back.symbols == lattice.symbols and np.allclose(back.masses, lattice.masses, rtol=1e-12)
    assert np.allclose(back.born, lattice.born) and np.allclose(back.dielectric, lattice.dielectric)
    lattice.notes["why"] = 3.0
    lattice.save(tmp_path / "a.h5")
    again = Lattice.load(tmp_path / "a.h5")
    assert np.array_equal(again.force_constants, lattice.force_constants) and again.notes["why"] == 3.0


def test_frequencies_and_coordinates_of_a_chain():
    """Phonons of the ring at q = 2πj/n; translations are gone exactly, and so is every force along them."""
    lattice = chain()
    w = lattice.frequencies()
    assert len(w) == 3 * 8 - 3
    m1, m2, k, s = 20.0, 30.0, 3.0, 0.5
    expected = []
    for stiff in (1.0, 0.4, 0.4):
        for j in range(4):
            q = 2 * np.pi * j / 4
            d = 2 * s * (1 - np.cos(q))
            D = np.array([[(2 * k + d) / m1, -k * (1 + np.exp(-1j * q)) / np.sqrt(m1 * m2)],
                          [-k * (1 + np.exp(1j * q)) / np.sqrt(m1 * m2), (2 * k + d) / m2]]) * stiff
            expected += list(np.linalg.eigvalsh(D))
    expected = np.sqrt(np.abs(np.sort(expected)[3:])) * 521.4709  # √(eV/(u Å²)) in cm⁻¹
    assert w == pytest.approx(expected, rel=1e-6)
    c = lattice.coordinates()
    assert np.abs(np.sqrt(lattice.masses).repeat(3).reshape(8, 3).T[0] @ c.basis[0::3]).max() < 1e-13
    q = np.random.default_rng(0).normal(size=c.size)
    assert c.coordinates(c.positions(q)) == pytest.approx(q, abs=1e-13)
    phi = c.force_constants(c.matrix(lattice.force_constants))
    assert np.abs(phi - lattice.force_constants).max() < 1e-12


def test_symmetry_projection():
    lattice = chain()
    group = Symmetry.of(lattice)
    assert len(group) >= 4 * 4
    assert np.abs(group.matrix(lattice.force_constants) - lattice.force_constants).max() < 1e-12
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(24, 24))
    once = group.matrix(noise + noise.T)
    assert np.abs(group.matrix(once) - once).max() < 1e-12 and np.abs(once - once.T).max() < 1e-12
    v = group.vector(rng.normal(size=(8, 3)))
    assert np.abs(v).max() < 1e-12  # an inversion centre at every atom
    t = rng.normal(size=(24, 24, 24))
    third = group.third(t)
    assert np.abs(group.third(third) - third).max() < 1e-12
    c = lattice.coordinates()
    f, K = group.reduced(c)(c.forces(rng.normal(size=(8, 3))), c.matrix(lattice.force_constants))
    assert np.abs(f).max() < 1e-12 and np.abs(K - c.matrix(lattice.force_constants)).max() < 1e-12


def test_bad_files_are_one_line(tmp_path):
    (tmp_path / "x").write_text("nothing\nhere\n")
    with pytest.raises(InputError, match="not a Quantum ESPRESSO dyn file"):
        read_dyn(tmp_path / "x")
    with pytest.raises(InputError, match="cannot be read"):
        read_dyn(tmp_path / "absent")
    with pytest.raises(InputError, match="with asr applied"):
        read_charges(tmp_path / "x")


def test_srtio3_files(shared_data):
    """The frequencies that the source lists, and the charges of the block with the sum rule applied."""
    folder = shared_data / "11-srtio3-sscha"
    lattice = read_dyn(folder / "final_dyn1")
    w = lattice.frequencies()
    assert w[[0, 1, 2, 3, 4, 5, 6]] == pytest.approx([27.5, 27.5, 29.7, 67.6, 82.6, 87.3, 87.3], abs=0.05)
    assert w[-3:] == pytest.approx([690.37, 752.957, 780.919], abs=1e-2)
    dielectric, born = read_charges(folder / "ph.out")
    assert np.diag(dielectric) == pytest.approx([6.307, 6.307, 6.333], abs=1e-3)
    assert np.abs(born.sum(0)).max() < 1e-4
    assert born[2, 0, 1] == pytest.approx(0.3026, abs=2e-4) and born[2, 1, 0] == pytest.approx(-0.3026, abs=2e-4)
    group = Symmetry.of(lattice)
    assert group.name.startswith("I4/mcm")
    # Ti's antisymmetric part fixes the order of the two indices: only one is a tensor field of this crystal
    assert np.abs(group.atomic(born) - born).max() < 2e-3
    assert np.abs(group.matrix(lattice.force_constants) - lattice.force_constants).max() < 1e-3


def test_stars_of_wave_vectors_make_a_symmetric_supercell(shared_data):
    """The right sign of the phase: only then does the supercell's space group leave the force constants alone."""
    folder = shared_data / "07-sscha"
    lattice = read_dyn([folder / "snte-toy" / f"final_sscha_T300_{k}" for k in (1, 2, 3)])
    group = Symmetry.of(lattice)
    assert group.name.startswith("Fm-3m") and len(group) == 48 * 8
    assert np.abs(group.matrix(lattice.force_constants) - lattice.force_constants).max() < 1e-4
    pbte = read_dyn(sorted((folder / "cellconstructor/PbTe4x4x4").glob("PbTe.dyn?")))
    assert len(pbte) == 128
    error = Symmetry.of(pbte).matrix(pbte.force_constants) - pbte.force_constants
    assert np.abs(error).max() < 1e-4
    head, stars = read_star(folder / "cellconstructor/effcharge/dyn1.gz")
    assert head["born"].shape == (16, 3, 3) and np.abs(head["born"].sum(0)).max() < 0.05
    with pytest.raises(InputError, match="all stars"):
        read_dyn(folder / "snte-toy/final_sscha_T300_2")
