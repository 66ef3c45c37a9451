"""The analytic dielectric models: every derivative against finite differences of the enthalpy, and its symmetries."""

import numpy as np
import pytest
from ase import Atoms

from engine.build import state_from_atoms, thermalise
from engine.domain.domain import Domain
from engine.errors import InputError
from engine.forces import Forces
from engine.simulation import Simulation
from engine.testing import evaluate, random_rotation
from integrators.nve import NVE
from potentials.dielectric import FixedCharges
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.dielectric_born import FixedBornCharges
from potentials.fields import Constant
from potentials.pair.morse import Morse

FIELD = np.array([0.13, -0.21, 0.34])
ALL = frozenset({"energy", "forces", "virial", "polarization", "born_charges", "polarizability"})


def crystal():
    """A rattled, triclinic piece of an oxide whose cell is shorter than twice the cutoff of the bonds."""
    rng = np.random.default_rng(5)
    cell = np.array([[4.1, 0.2, 0.1], [0.3, 4.4, -0.2], [-0.1, 0.4, 4.7]])
    s = np.array([[0, 0, 0], [0.5, 0.5, 0.1], [0.5, 0.0, 0.5], [0.02, 0.5, 0.5], [0.5, 0.52, 0.6]])
    atoms = Atoms("BaTiO3", scaled_positions=s, cell=cell, pbc=True)
    atoms.rattle(0.05, rng=rng)
    return atoms


def bonds():
    return PolarizableBonds([
        Bond("Ti-O", charge=0.8, parallel=0.31, perpendicular=0.12, fourth=0.4, length=2.0, decay=0.6),
        Bond("Ba-O", charge=-0.3, parallel=0.2, perpendicular=0.15, length=2.7, decay=0.8),
        Bond("O-O", parallel=0.05, perpendicular=0.02, fourth=-0.1, length=2.9, decay=0.7),
    ], cutoff=4.5)


def charges():
    return FixedCharges({"Ba": 2.0, "Ti": 4.0, "O": -2.0})


def born():
    rng = np.random.default_rng(2)
    return FixedBornCharges({"Ba": 2.7, "Ti": 7.0 * np.eye(3) + rng.normal(size=(3, 3)), "O": np.diag([-2.0, -2.1, -5.6])})


MODELS = [charges, born, bonds]


class Evaluated:
    """One model on one structure, evaluated anywhere: images are kept, so that polarization never jumps."""

    def __init__(self, model, atoms):
        self.atoms, self.state = atoms, state_from_atoms(atoms)
        model.bind(self.state.species_names)
        domain = Domain(self.state, model.capabilities().cutoff, 0.3, sort=False)
        self.forces = Forces(self.state, domain, {"model": model})
        self.at(atoms.positions, atoms.cell[:], FIELD)
        wrapped = self.state.positions[: self.state.n].copy()
        self.shift = np.round((wrapped - atoms.positions) @ np.linalg.inv(atoms.cell[:]))

    def at(self, positions, cell, field, needs=ALL):
        state = self.state
        shift = getattr(self, "shift", np.zeros((state.n, 3)))
        state.cells = np.array(cell)[None]
        state.set("positions", positions + shift @ cell)
        self.forces.inputs.field = np.array(field)[None]
        self.forces.domain.invalidate()
        return self.forces(needs)

    def energy(self, positions, cell, field):
        return float(self.at(positions, cell, field, frozenset({"energy"})).energy[0])


def slope(function, step):
    """Central difference of sixth order."""
    weights = {1: 45.0, 2: -9.0, 3: 1.0}
    return sum(w * (function(k * step) - function(-k * step)) for k, w in weights.items()) / (60.0 * step)


@pytest.fixture(params=MODELS, ids=["charges", "born", "bonds"])
def case(request):
    return Evaluated(request.param(), crystal())


def copies(out):
    return {name: array.copy() for name, array in out.items()}


def test_forces_and_polarization_are_the_slopes_of_the_enthalpy(case):
    x, h = case.atoms.positions, case.atoms.cell[:]
    out = copies(case.at(x, h, FIELD))
    n = len(x)
    for i, a in [(0, 0), (1, 2), (2, 1), (4, 0)]:
        d = np.zeros((n, 3))
        d[i, a] = 1
        assert out["forces"][i, a] == pytest.approx(-slope(lambda s, d=d: case.energy(x + s * d, h, FIELD), 2e-3), abs=1e-8)
    for a in range(3):
        d = np.eye(3)[a]
        assert out["polarization"][0, a] == pytest.approx(-slope(lambda s, d=d: case.energy(x, h, FIELD + s * d), 2e-2), abs=1e-8)


def test_born_charges_and_polarizability_are_the_slopes_of_the_polarization(case):
    x, h = case.atoms.positions, case.atoms.cell[:]
    out = copies(case.at(x, h, FIELD))
    P = lambda x, E: case.at(x, h, E).polarization[0].copy()
    for i, b in [(0, 1), (1, 2), (3, 0), (4, 2)]:
        d = np.zeros(x.shape)
        d[i, b] = 1
        assert np.allclose(out["born_charges"][i, :, b], slope(lambda s, d=d: P(x + s * d, FIELD), 2e-3), atol=1e-8)
    for b in range(3):
        assert np.allclose(out["polarizability"][0, :, b], slope(lambda s, b=b: P(x, FIELD + s * np.eye(3)[b]), 2e-2), atol=1e-8)


def test_the_slope_of_the_polarizability_is_that_of_the_born_charges_in_a_field(case):
    """∂α/∂R, Raman, as −∂³F/∂E∂E∂R either way."""
    x, h = case.atoms.positions, case.atoms.cell[:]
    alpha = lambda x: case.at(x, h, FIELD).polarizability[0].copy()
    charges = lambda E: case.at(x, h, E).born_charges[: len(x)].copy()
    by_field = np.stack([slope(lambda s, c=c: charges(FIELD + s * np.eye(3)[c]), 2e-2) for c in range(3)], -1)
    assert np.allclose(by_field, by_field.transpose(0, 3, 2, 1), atol=1e-8)  # [atom, field, displacement, field]
    for i, b in [(0, 1), (1, 2), (3, 0), (4, 2)]:
        d = np.zeros(x.shape)
        d[i, b] = 1
        assert np.allclose(by_field[i, :, b], slope(lambda s, d=d: alpha(x + s * d), 2e-3), atol=1e-8)


def test_virial_is_the_strain_derivative_at_fixed_voltages_and_symmetric(case):
    x, h = case.atoms.positions, case.atoms.cell[:]
    out = copies(case.at(x, h, FIELD))
    for a in range(3):
        for b in range(3):
            unit = np.zeros((3, 3))
            unit[a, b] = 1

            def energy(s, unit=unit):
                m = np.eye(3) + s * unit
                return case.energy(x @ m, h @ m, np.linalg.solve(h @ m, h @ FIELD))

            assert out["virial"][0, a, b] == pytest.approx(-slope(energy, 1e-3), abs=1e-8)
    assert np.allclose(out["virial"][0], out["virial"][0].T, atol=1e-12)


def test_sum_rule_and_reciprocity(case):
    x, h = case.atoms.positions, case.atoms.cell[:]
    out = copies(case.at(x, h, FIELD))
    assert np.allclose(out["born_charges"][: len(x)].sum(0), 0, atol=1e-12)
    d = 1e-4 * np.array([0.3, -0.5, 0.2])
    up, down = (case.at(x, h, FIELD + sign * d).forces[: len(x)].copy() for sign in (1, -1))
    assert np.allclose((up - down) / 2, np.einsum("a,nab->nb", d, out["born_charges"][: len(x)]), atol=1e-11)


def test_turning_everything_turns_the_results():
    """Structure and field together; fixed tensors are not part of this, for they belong to one orientation."""
    R = random_rotation(4)
    atoms = crystal()
    turned = atoms.copy()
    turned.set_cell(atoms.cell[:] @ R.T)
    turned.positions = atoms.positions @ R.T
    for model in (charges, bonds):
        here = Evaluated(model(), atoms)
        a = copies(here.at(atoms.positions, atoms.cell[:], FIELD))
        there = Evaluated(model(), turned)
        b = copies(there.at(turned.positions, turned.cell[:], R @ FIELD))
        assert a["energy"][0] == pytest.approx(b["energy"][0], abs=1e-11)
        n = len(atoms)
        assert np.allclose(a["forces"][:n] @ R.T, b["forces"][:n], atol=1e-11)
        assert np.allclose(R @ a["polarizability"][0] @ R.T, b["polarizability"][0], atol=1e-11)
        assert np.allclose(np.einsum("ab,nbc,dc->nad", R, a["born_charges"][:n], R), b["born_charges"][:n], atol=1e-11)


def test_polarization_of_charges_follows_them_through_the_boundary():
    case = Evaluated(charges(), crystal())
    x, h = case.atoms.positions, case.atoms.cell[:]
    start = case.at(x, h, FIELD).polarization[0].copy()
    state, move = case.state, np.array([0.31, 0.0, -0.17])
    for k in range(40):  # Ti crosses the cell about three times
        state.positions[1] += move
        case.forces.domain.invalidate()
        P = case.forces(ALL).polarization[0]
        assert np.allclose(P, start + 4.0 * (k + 1) * move, atol=1e-10)
    assert state.images[1].any()


OPEN = {"vacuum": ([20, 20, 20], [1, 1, 0]), "slab": ([20, 20, 0], [1, 1, 0]), "wire": ([20, 0, 0], [1, 0, 0]),
        "standing wire": ([0, 0, 20], [0, 0, 1]), "molecule": (None, [0, 0, 0])}


@pytest.mark.parametrize("kind", OPEN)
@pytest.mark.parametrize("file", [False, True], ids=["", "file"])
def test_sites_stay_where_no_vector_of_the_cell_holds_them(kind, file, tmp_path):
    """An open direction may have a vector that spans the atoms of the moment, or one that they leave behind."""
    cell, pbc = OPEN[kind]
    atoms = Atoms("NaCl", positions=[[5, 5, 0], [5, 5, 3.0]], cell=cell, pbc=pbc)
    moved, sites = np.zeros(3), None
    if file:  # sites of another image along periodic directions, and really elsewhere along open ones
        moved = np.where(pbc, 1.0, 14.0)
        sites = atoms.copy()
        sites.positions -= np.array([[0, 0, 0], moved])
        sites.positions[0] += 20.0 * np.array(pbc)
        sites.write(tmp_path / "sites.xyz")
    model = FixedBornCharges({"Na": 1.0, "Cl": -1.0}, file=str(tmp_path / "sites.xyz") if file else None)
    sim = Simulation(state_from_atoms(atoms), {"born": model}, NVE(timestep=1.0), fields=[Constant([0.03, 0.02, 0.1])])
    sim.begin_stage(0, 0)
    sim.proceed()
    for step in ([0, 0, 2.0], [1.0, 0.5, 0], [-3.0, 0, 1.5]):
        assert np.allclose(sim.quantity("polarization")[0], -moved, atol=1e-10)
        assert sim.quantity("energy")[0] == pytest.approx(moved @ [0.03, 0.02, 0.1])
        moved = moved + step
        sim.state.positions[np.argmax(sim.state.tags[:2])] += step
        sim.domain.invalidate()
        sim.forces.stale = True


def test_two_sets_of_born_charges_add():
    """Each has sites and charges of its own."""
    atoms = Atoms("NaCl", positions=[[5, 5, 0], [5, 5, 3.0]], cell=[20, 20, 20], pbc=True)
    models = {name: FixedBornCharges({"Na": q, "Cl": -q}) for name, q in (("one", 1.0), ("three", 3.0))}
    sim = Simulation(state_from_atoms(atoms), models, NVE(timestep=1.0), fields=[Constant([0, 0, 0.1])])
    sim.run(1)
    assert np.allclose(sim.array("born_charges")[0], 4.0 * np.eye(3), atol=1e-12)


def test_bonds_of_other_species_are_refused():
    with pytest.raises(InputError, match="none of Na-CL is among the species Na, Cl"):
        PolarizableBonds([Bond("Na-CL", charge=1.0)]).bind(["Na", "Cl"])


def test_a_field_must_be_felt_in_the_levels_of_its_stage():
    atoms = Atoms("NaCl", positions=[[5, 5, 0], [5, 5, 3.0]], cell=[20, 20, 20], pbc=True)
    core = Morse(depth=1.0, alpha=1.3, r0=2.4, cutoff=8.0, truncation="force-shifted")
    sim = Simulation(state_from_atoms(atoms), {"core": core, "born": FixedBornCharges({"Na": 1.0, "Cl": -1.0})},
                     NVE(timestep=1.0), fields=[Constant([0, 0, 0.1])])
    sim.set_levels([{"core": 1.0}], [1])
    with pytest.raises(InputError, match="no potential takes one"):
        sim.run(1)
    sim.electric.fields[0].stages = [1]  # it acts later, where the levels may be others
    sim.run(1)


def test_energy_of_born_charges_at_a_surface_is_conserved():
    state = state_from_atoms(Atoms("NaCl", positions=[[5, 5, 0], [5, 5, 3.0]], cell=[20, 20, 0], pbc=[True, True, False]))
    thermalise(state, 2000, 3)
    core = Morse(depth=1.0, alpha=1.3, r0=2.4, cutoff=8.0, truncation="force-shifted")
    sim = Simulation(state, {"core": core, "born": FixedBornCharges({"Na": 1.0, "Cl": -1.0})}, NVE(timestep=0.5),
                     fields=[Constant([0, 0, 0.3])])
    conserved = []
    sim.attach(lambda s: conserved.append(s.conserved()[0]), needs={"energy"})
    sim.run(400)
    assert sim.domain.rebuilds > 1 and np.ptp(conserved) < 1e-3


@pytest.mark.parametrize("charge", ["one", [1.0, [2.0]], [[1.0, 2.0], [3.0]], [1.0, 2.0, 3.0], float("nan"), None])
def test_a_born_charge_is_a_number_or_a_tensor(charge):
    with pytest.raises(InputError, match="born_charges.Na = .*must be a number"):
        FixedBornCharges({"Na": charge}).bind(["Na"])


@pytest.mark.parametrize("model", [FixedCharges(), FixedCharges({"Na": 0.0}), FixedBornCharges({"Na": 1.0})],
                         ids=["none", "zero", "neutral"])
def test_charges_that_are_all_zero_are_refused(model):
    with pytest.raises(InputError, match="all charges are zero"):
        evaluate(model, Atoms("Na2", positions=[[0, 0, 0], [0, 0, 2.0]]), {"energy"})


def test_files_of_sites_are_checked(tmp_path):
    atoms = Atoms("NaCl", positions=[[0, 0, 0], [0, 0, 2.0]], cell=[5, 5, 5], pbc=True)

    def refused(match, change, **column):
        sites = atoms.copy()
        for name, values in column.items():
            sites.set_array(name, np.array(values))
        change(sites)
        sites.write(tmp_path / "sites.xyz")
        with pytest.raises(InputError, match=match):
            evaluate(FixedBornCharges(file=str(tmp_path / "sites.xyz")), atoms, {"energy"})

    refused("no column born_charge", lambda a: None)
    refused("nine finite numbers", lambda a: None, born_charge=[1.0, -1.0])
    refused("nine finite numbers", lambda a: None, born_charge=np.full((2, 9), np.nan))
    refused("no cell vector", lambda a: (a.set_cell(None), a.set_pbc(False)), born_charge=np.eye(3).ravel() * [[1.0], [-1.0]])


def test_isolated_bond_has_the_values_of_its_table():
    atoms = Atoms("TiO", positions=[[0, 0, 0], [0, 0, 2.0]], pbc=False)
    model = PolarizableBonds([Bond("Ti-O", charge=0.8, parallel=0.31, perpendicular=0.12, length=2.0, decay=0.6)], cutoff=4.5)
    state = state_from_atoms(atoms)
    model.bind(state.species_names)
    forces = Forces(state, Domain(state, 4.5, 0.3), {"m": model})
    out = forces(ALL - {"virial"})
    damping = (1 - 4.0 / 4.5**2) ** 3
    assert np.allclose(out.polarization[0], [0, 0, 0.8 * 2.0 * damping])
    assert np.allclose(np.diag(out.polarizability[0]), np.array([0.12, 0.12, 0.31]) * damping)
