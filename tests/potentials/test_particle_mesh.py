"""Particle-mesh Ewald: measured errors against those asked for, exact sums, differences, exclusions, NIST, moving cells."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import rattled
from test_coulomb import EVERYTHING, ionic, liquid, water, with_exclusions

from engine import units
from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces
from engine.testing import check_forces, check_virial, evaluate
from potentials.coulomb.ewald import Ewald
from potentials.coulomb.pme import CoulombPME
from potentials.mesh import settings, splines
from potentials.mesh.boxes import Redistribution
from potentials.mesh.dispersion import DispersionPME
from potentials.mesh.influence import COULOMB, DISPERSION

FINE = {"alpha": 0.7, "order": 16, "spacing": 0.3}
C6 = {"Na": 20.0, "Cl": 60.0}


def random_ions(n=300, seed=3, normal=False):
    """Charges at random places (a jittered grid) in a triclinic cell; ±1 or normally distributed, and then not neutral."""
    rng = np.random.default_rng(seed)
    side = (n / 0.05) ** (1 / 3)
    cell = side * (np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3)))
    k = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(k)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n]
    atoms = Atoms("Na" * n, scaled_positions=(grid + rng.uniform(-0.4, 0.4, (n, 3))) / k, cell=cell, pbc=True)
    atoms.set_initial_charges(rng.normal(size=n) if normal else rng.permutation(np.where(np.arange(n) % 2, 1.0, -1.0)))
    return atoms


def salt():
    return rattled(ionic("NaCl", "rocksalt", 5.64, 1.0, cubic=True) * (3, 3, 3), 0.2)


def rms(difference):
    return np.sqrt((difference**2).sum(1).mean())


# -- the error asked for is the error measured ------------------------------------------------------------------------
@pytest.mark.parametrize("structure", [random_ions, lambda: random_ions(normal=True), salt], ids=["ions", "normal", "salt"])
def test_measured_error_is_just_below_the_error_asked_for(structure):
    atoms = structure()
    exact = evaluate(Ewald(accuracy=1e-13), atoms, {"forces"}).forces
    for cutoff, accuracy in ((6.0, 1e-2), (6.0, 1e-4), (8.0, 1e-3), (8.0, 1e-5)):
        error = rms(evaluate(CoulombPME(accuracy=accuracy, cutoff=cutoff), atoms, {"forces"}).forces - exact)
        assert 0.3 * accuracy < error <= accuracy, f"{error:.2e} for {accuracy} at {cutoff} Å"


@pytest.mark.parametrize("accuracy", [1e-3, 1e-5])
def test_measured_error_of_dispersion(accuracy):
    atoms = random_ions()
    exact = evaluate(DispersionPME(C6=C6, cutoff=8.0, alpha=0.75, order=12, spacing=0.35), atoms, {"forces"}).forces
    error = rms(evaluate(DispersionPME(C6=C6, cutoff=6.0, accuracy=accuracy), atoms, {"forces"}).forces - exact)
    assert 0.3 * accuracy < error <= accuracy


@pytest.mark.parametrize("order, spacing", [(4, 1.4), (5, 1.0), (8, 1.4)])
def test_estimate_of_the_mesh_error(order, spacing):
    atoms = random_ions()
    q = atoms.get_initial_charges()
    sources = settings.Sources(len(q), (q**2).sum(), (q**4).sum(), atoms.cell[:])
    fine, coarse = (evaluate(CoulombPME(cutoff=4.0, alpha=0.35, order=o, spacing=h, part="mesh"), atoms, {"forces"}).forces
                    for o, h in ((10, 0.5), (order, spacing)))
    expected = settings.mesh_error(COULOMB, 0.35, settings.points_for(atoms.cell[:], spacing), order, sources, units.coulomb)
    assert rms(coarse - fine) == pytest.approx(expected, rel=0.2)


def test_estimate_of_the_pair_error_is_that_of_kolafa_and_perram():
    sources = settings.Sources(500, 500.0, 500.0, 25.0 * np.eye(3))
    expected = 2 * units.coulomb * 500 / np.sqrt(500 * 9.0 * 25.0**3) * np.exp(-((0.4 * 9.0) ** 2))
    assert settings.pair_error(COULOMB, 0.4, 9.0, sources, units.coulomb) == pytest.approx(expected, rel=0.05)
    assert settings.pair_error(DISPERSION, 0.4, 9.0, sources, 1.0) > 0


# -- exact sums -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("structure", [liquid, lambda: random_ions(60, normal=True)], ids=["liquid", "ions"])
def test_everything_is_as_in_exact_sums(structure):
    """Energy, forces, virial, atoms' shares and ∂E/∂q; the first structure has a net charge, so its background too."""
    atoms = structure()
    exact = evaluate(Ewald(accuracy=1e-15, cutoff=8.0), atoms, EVERYTHING)
    mesh = evaluate(CoulombPME(cutoff=7.0, **FINE), atoms, EVERYTHING)
    for name in EVERYTHING:
        expected, got = getattr(exact, name), getattr(mesh, name)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=name)


def test_madelung_constant():
    atoms = ionic("NaCl", "rocksalt", 5.0, 1.0)
    energy = evaluate(CoulombPME(cutoff=8.0, **FINE), atoms, {"energy"}).energy[0]
    assert -energy * 2.5 / units.coulomb == pytest.approx(1.747564594633182, rel=1e-11)


@pytest.mark.parametrize("potential", [CoulombPME(cutoff=6.0, alpha=0.45, order=5, spacing=1.1),
                                       DispersionPME(C6=C6, cutoff=6.0, alpha=0.45, order=5, spacing=1.1)], ids=["charges", "c6"])
def test_derivatives_are_exact_on_a_coarse_mesh(potential):
    """Not only to the accuracy of the sum: of the energy as it is, forces and virial are the derivatives."""
    atoms = random_ions(40)
    potential.cutoff, potential.alpha = 9.0, 0.6  # nothing jumps at the cutoff
    check_forces(potential, atoms, tolerance=1e-7)
    check_virial(potential, atoms, tolerance=1e-7)


def test_charge_gradient_by_differences():
    atoms, step = liquid(), 1e-4
    potential = CoulombPME(cutoff=7.0, alpha=0.5, order=6, spacing=0.8)
    gradient = evaluate(potential, atoms, {"charge_gradient"}).charge_gradient
    for i in (0, 5):
        energies = []
        for sign in (1, -1):
            charges = atoms.get_initial_charges()
            charges[i] += sign * step
            moved = atoms.copy()
            moved.set_initial_charges(charges)
            energies.append(evaluate(potential, moved, {"energy"}).energy[0])
        assert (energies[0] - energies[1]) / (2 * step) == pytest.approx(gradient[i], rel=1e-8)


def test_parts_add_up():
    atoms, pairs = liquid(), [(0, 1), (7, 6)]
    settings_ = dict(cutoff=7.0, alpha=0.5, order=6, spacing=0.8)
    every, real, mesh = (with_exclusions(CoulombPME(part=part, **settings_), atoms, pairs)[1] for part in ("all", "real", "mesh"))
    for name in ("energy", "virial"):
        np.testing.assert_allclose(getattr(real, name) + getattr(mesh, name), getattr(every, name), rtol=1e-12)


def lattice_sum_of_dispersion(atoms, reach):
    """−½ Σ c_i c_j/r⁶ over all images within a sphere, and the rest as an integral over the uniform density."""
    c = np.sqrt([C6[s] for s in atoms.symbols])
    far = np.ceil(reach / (1.0 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0))).astype(int) + 1
    shifts = np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in far], indexing="ij"), -1).reshape(-1, 3) @ atoms.cell[:]
    energy = 0.0
    for i, x in enumerate(atoms.positions):
        for j, y in enumerate(atoms.positions):
            r2 = ((y - x + shifts) ** 2).sum(1)
            energy -= 0.5 * c[i] * c[j] * (r2[(r2 > 1e-9) & (r2 < reach**2)] ** -3.0).sum()
    return energy - 0.5 * c.sum() ** 2 / atoms.get_volume() * 4.0 * np.pi / (3.0 * reach**3)


def test_dispersion_is_the_lattice_sum():
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.64), 0.1)
    energy = evaluate(DispersionPME(C6=C6, cutoff=9.0, **FINE), atoms, {"energy"}).energy[0]
    assert energy == pytest.approx(lattice_sum_of_dispersion(atoms, 70.0), rel=2e-6)


def test_dispersion_beyond_the_cutoff():
    """With −C6/r⁶ inside the cutoff it is the whole sum."""
    from potentials.pair.buckingham import Buckingham

    atoms = random_ions(60)
    inside = evaluate(Buckingham(A=0.0, rho=1.0, C=20.0, cutoff=7.0), atoms)
    beyond = evaluate(DispersionPME(C6=C6, cutoff=7.0, beyond=True, **FINE), atoms)
    every = evaluate(DispersionPME(C6=C6, cutoff=7.0, **FINE), atoms)
    for name in ("energy", "forces", "virial"):
        np.testing.assert_allclose(getattr(inside, name) + getattr(beyond, name), getattr(every, name), atol=1e-9)


@pytest.mark.parametrize("dispersion", [False, True], ids=["charges", "dispersion"])
def test_exclusions_take_away_one_pair_exactly(dispersion):
    atoms = liquid()
    atoms.positions[1] = atoms.positions[0] + [0.9, 0.2, -0.3]
    atoms.positions[7] = atoms.positions[6] + [-0.5, 0.4, 0.8] - atoms.cell[0]  # across the boundary
    pairs = [(0, 1), (7, 6)]
    potential = DispersionPME(C6=C6, cutoff=7.0, **FINE) if dispersion else CoulombPME(cutoff=7.0, **FINE)
    every = evaluate(potential, atoms, EVERYTHING & potential.capabilities().provides)
    state, out, order = with_exclusions(potential, atoms, pairs, EVERYTHING & potential.capabilities().provides)
    q, energy, forces, virial = atoms.get_initial_charges(), 0.0, np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for i, j in pairs:
        d = atoms.get_distance(j, i, mic=True, vector=True)
        r = np.linalg.norm(d)
        e = -C6["Na"] / r**6 if dispersion else units.coulomb * q[i] * q[j] / r
        f = (6 if dispersion else 1) * e / r**2 * d
        energy += e
        forces[i], forces[j] = forces[i] + f, forces[j] - f
        virial += np.outer(d, f)
    assert out.energy[0] == pytest.approx(every.energy[0] - energy, rel=1e-9)
    scale = np.abs(every.forces).max()
    np.testing.assert_allclose(out.forces[: state.n][order], every.forces - forces, atol=1e-9 * scale)
    np.testing.assert_allclose(out.virial[0], every.virial[0] - virial, atol=1e-9 * np.abs(every.virial).max())
    assert out.atom_energy[: state.n].sum() == pytest.approx(out.energy[0], rel=1e-9)
    np.testing.assert_allclose(out.atom_virial[: state.n].sum(0), out.virial[0], atol=1e-8 * np.abs(every.virial).max())


# -- reference numbers, refusals, cells that move ---------------------------------------------------------------------------
@pytest.mark.parametrize("number", [1, 2])
def test_water_of_nist(shared_data, number):
    """The sum of all parts of NIST's Ewald energies of SPC/E water, to six digits of the largest part."""
    reference = json.loads((shared_data / "03-nist-srsw/spce/reference.json").read_text())["configs"][str(number)]
    atoms, pairs = water(shared_data, number)
    _, out, _ = with_exclusions(CoulombPME(cutoff=9.0, accuracy=1e-5), atoms, pairs, {"energy"})
    electric = sum(reference[part] for part in ("Ereal", "Efourier", "Eself", "Eintra"))
    # NIST's sums are cut at α = 5.6/L and k² < 27, which leaves some 1e-4 of the energy out
    assert out.energy[0] / units.kB == pytest.approx(electric, rel=3e-4)
    exact = with_exclusions(Ewald(accuracy=1e-9), atoms, pairs, {"energy"})[1]
    assert out.energy[0] == pytest.approx(exact.energy[0], rel=1e-6)


def test_swollen_cells_get_a_new_mesh_and_keep_the_splitting():
    atoms, potential = random_ions(100), CoulombPME(cutoff=6.0, accuracy=1e-3)
    state = state_from_atoms(atoms)
    potential.bind(state.species_names)
    forces = Forces(state, Domain(state, 6.0, 0.5), {"p": potential})
    forces()
    first = potential.chosen()
    for factor, anew in ((1.05, False), (1.1, True)):
        state.positions[: state.n] *= factor
        state.cells *= factor
        out = forces(frozenset({"energy"}))
        assert (potential.chosen()["mesh"] != first["mesh"]) == anew and potential.chosen()["alpha"] == first["alpha"]
    swollen = atoms.copy()
    swollen.set_cell(atoms.cell[:] * 1.155, scale_atoms=True)
    assert out.energy[0] == pytest.approx(evaluate(Ewald(), swollen, {"energy"}).energy[0], abs=5e-3)


def test_resumed_runs_go_on_with_the_settings_that_they_began_with():
    """Bit for bit, although another mesh would be chosen for the cell that the resumed run is started from."""
    from engine.simulation import Simulation
    from integrators.nve import NVE

    def simulation(atoms):
        return Simulation.from_atoms(atoms, CoulombPME(cutoff=6.0, accuracy=1e-3), NVE(timestep=0.1))

    atoms, wide = random_ions(100), random_ions(100)
    wide.set_cell(wide.cell[:] * 1.3, scale_atoms=True)
    whole, first, second = simulation(atoms), simulation(atoms), simulation(wide)
    whole.run(4)
    first.run(2)
    second.load_state_dict(first.state_dict())
    second.run(2)
    np.testing.assert_array_equal(second.array("positions"), whole.array("positions"))
    assert second.potentials["potential"].chosen() == whole.potentials["potential"].chosen()


def test_parts_as_levels_of_multiple_time_steps():
    """Stepped together they move as one; the mesh taken every fourth step stays near."""
    from engine.simulation import Simulation
    from integrators.nve import NVE

    parts = {part: dict(cutoff=6.0, accuracy=1e-3, part=part) for part in ("real", "mesh")}
    atoms = salt()

    def moved(steps, potentials, **options):
        simulation = Simulation.from_atoms(atoms, potentials, NVE(timestep=0.5), temperature=300, seed=1, **options)
        simulation.run(steps)
        return simulation.array("unwrapped")

    together = moved(8, CoulombPME(cutoff=6.0, accuracy=1e-3))
    split = {name: CoulombPME(**keys) for name, keys in parts.items()}
    levels = [{"real": 1.0}, {"mesh": 1.0}]
    np.testing.assert_allclose(moved(8, split, levels=levels, every=[1, 1]), together, atol=1e-11)
    slow = np.abs(moved(2, split, levels=levels, every=[1, 4]) - together).max()
    assert 1e-9 < slow < 2e-3


def test_threads_repeat_and_agree():
    from engine.kernels import team

    atoms, potential = random_ions(1500), CoulombPME(cutoff=4.0, alpha=0.5, order=6, spacing=1.0)
    alone = evaluate(potential, atoms)
    team.use(2, 2)
    try:
        shared, again = evaluate(potential, atoms), evaluate(potential, atoms)
    finally:
        team.use(1)
    np.testing.assert_array_equal(shared.forces, again.forces)
    np.testing.assert_allclose(shared.forces, alone.forces, rtol=0, atol=1e-11 * np.abs(alone.forces).max())
    np.testing.assert_allclose(shared.virial, alone.virial, rtol=1e-11)


def test_refusals():
    open_ = liquid()
    open_.pbc = [True, True, False]
    with pytest.raises(InputError, match="three periodic directions"):
        evaluate(CoulombPME(), open_)
    with pytest.raises(InputError, match="no value for species 'Cl'; it has: Na"):
        evaluate(DispersionPME(C6={"Na": 1.0}), salt())
    with pytest.raises(InputError, match="order = 99"):
        evaluate(CoulombPME(order=99), liquid())
    with pytest.raises(InputError, match="accuracy"):
        evaluate(CoulombPME(accuracy=0.0), liquid())
    with pytest.raises(InputError, match="no mesh of up to"):
        evaluate(CoulombPME(accuracy=1e-13, cutoff=2.0, order=3), random_ions())


def test_an_atom_on_the_boundary_belongs_to_the_mesh():
    """A place just below zero becomes, when wrapped, the end of the mesh by rounding."""
    atoms = ionic("NaCl", "rocksalt", 5.64, 1.0, cubic=True)
    potential = CoulombPME(cutoff=5.0, alpha=0.5, order=6, spacing=1.0, part="mesh")
    state = state_from_atoms(atoms)
    potential.bind(state.species_names)
    forces = Forces(state, Domain(state, 5.0, 1.0), {"p": potential})
    expected = forces(frozenset({"energy"})).energy[0]
    for place in (-1e-300, -1e-17):  # moved there since the last rebuild
        state.positions[np.flatnonzero(state.tags[: state.n] == 0)[0]] = [place, 0.0, place]
        out = forces(frozenset({"energy"}))
        assert np.isfinite(out.forces).all() and out.energy[0] == pytest.approx(expected, rel=1e-9)


# -- pieces ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [3, 4, 7, 16])
def test_splines_are_scipys(order):
    from scipy.interpolate import BSpline

    element = BSpline.basis_element(np.arange(order + 1), extrapolate=False)
    for t in (0.0, 0.3, 0.99):
        values, slopes = (np.polynomial.polynomial.polyval(t, c[:, :order]) for c in splines.polynomials(order))
        places = t + order - 1 - np.arange(order)
        np.testing.assert_allclose(values, np.nan_to_num(element(places)), atol=1e-12)
        np.testing.assert_allclose(slopes, np.nan_to_num(element.derivative()(places)), atol=1e-11)
        assert values.sum() == pytest.approx(1.0, abs=1e-12) and abs(slopes.sum()) < 1e-11


def test_boxes_fold_around_the_mesh_and_back():
    class Alone:
        rank, size = 0, 1

    rng = np.random.default_rng(1)
    points, box = (4, 5, 3), [[-3, 6], [2, 5], [-1, 7]]
    source, target = rng.normal(size=(9, 3, 8)), np.empty(points)
    plan = Redistribution([box], [[[0, k] for k in points]], points, Alone)
    plan.forward(source, target)
    expected = np.zeros(points)
    places = np.meshgrid(*[np.arange(a, b) % k for (a, b), k in zip(box, points)], indexing="ij")
    np.add.at(expected, tuple(places), source)
    np.testing.assert_allclose(target, expected)
    plan.back(target, source)
    np.testing.assert_array_equal(source, target[tuple(places)])
