"""The learned enthalpy: all derivatives of one function, at random weights and in double precision."""

import numpy as np
import pytest
from ase import Atoms

torch = pytest.importorskip("torch")

from engine.build import state_from_atoms  # noqa: E402
from engine.errors import InputError  # noqa: E402
from engine.simulation import Simulation  # noqa: E402
from engine.testing import random_rotation  # noqa: E402
from plugins.dielectric.derivatives import evaluate  # noqa: E402
from plugins.dielectric.model import DielectricModel  # noqa: E402
from plugins.dielectric.potential import Dielectric  # noqa: E402
from plugins.dielectric.storage import write  # noqa: E402
from plugins.equivariant import graphs  # noqa: E402
from plugins.equivariant.description import Description  # noqa: E402
from plugins.equivariant.potential import Equivariant  # noqa: E402
from plugins.equivariant.shapes import shapes  # noqa: E402
from potentials.fields import Constant  # noqa: E402

SMALL = dict(species=["O", "Si"], cutoff=4.0, l_max=2, layers=2, channels=4, features=8, embedding_width=8, latent_width=8,
             readout_width=8, bessel=4, neighbors=20.0, dtype="float64")
ALL = frozenset({"virial", "born_charges", "polarizability", "raman"})
FIELD = np.array([0.05, -0.11, 0.08])


def crystal():
    s = [[0, 0, 0], [0.5, 0.5, 0.1], [0.5, 0.0, 0.5], [0.02, 0.5, 0.5], [0.3, 0.8, 0.7]]
    cell = [[4.1, 0.2, 0.1], [0.3, 4.4, -0.2], [-0.1, 0.4, 4.7]]
    return Atoms("SiO2SiO", scaled_positions=s, cell=cell, pbc=True)


@pytest.fixture(params=["quadratic", "full"])
def model(request):
    torch.manual_seed(3)
    return DielectricModel(Description(**SMALL), request.param, field_scale=0.2)


def batch_of(*structures):
    species = lambda a: np.array([SMALL["species"].index(s) for s in a.get_chemical_symbols()])
    built = [graphs.build(a.positions, a.cell[:], a.pbc, species(a), SMALL["cutoff"]) for a in structures]
    return graphs.join(built, SMALL["cutoff"], torch.float64)


def at(model, atoms, field, needs=frozenset()):
    return evaluate(model, batch_of(atoms), torch.tensor(np.atleast_2d(field)), needs)


def moved(atoms, i, a, h):
    out = atoms.copy()
    out.positions[i, a] += h
    return out


def slope(function, h):
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def test_a_folder_holds_what_its_form_asks_for(model, tmp_path):
    assert shapes(model.description, model.form) == {k: tuple(v.shape) for k, v in model.state_dict().items()}
    write(tmp_path, model)
    with pytest.raises(InputError, match="has an electric field in it; say kind = \"dielectric\""):
        Equivariant(str(tmp_path))


@pytest.mark.parametrize("field", [FIELD, np.zeros(3)], ids=["field", "zero"])
def test_everything_is_a_derivative_of_the_enthalpy(model, field):
    atoms = crystal()
    out = at(model, atoms, field, ALL)
    energy = lambda a, E: float(at(model, a, E).energy[0])
    P = lambda a, E: at(model, a, E).polarization[0].numpy()
    alpha = lambda a: at(model, a, field, frozenset({"polarizability"})).polarizability[0].numpy()
    for i, a in [(0, 0), (3, 2), (4, 1)]:
        pull = -slope(lambda h, i=i, a=a: energy(moved(atoms, i, a, h), field), 2e-3)
        assert float(out.forces[i, a]) == pytest.approx(pull, abs=1e-8)
        assert np.allclose(out.born_charges[i, :, a], slope(lambda h, i=i, a=a: P(moved(atoms, i, a, h), field), 2e-3), atol=1e-8)
        assert np.allclose(out.raman[i, :, :, a], slope(lambda h, i=i, a=a: alpha(moved(atoms, i, a, h)), 2e-3), atol=1e-7)
    for a in range(3):
        unit = np.eye(3)[a]
        dipole = -slope(lambda h, unit=unit: energy(atoms, field + h * unit), 2e-3)
        assert float(out.polarization[0, a]) == pytest.approx(dipole, abs=1e-8)
        assert np.allclose(out.polarizability[0, :, a], slope(lambda h, unit=unit: P(atoms, field + h * unit), 2e-3), atol=1e-8)
    assert float(out.polarization.abs().max()) > 1e-4 and float(out.polarizability.abs().max()) > 1e-4


def test_virial_holds_the_voltages_and_is_symmetric(model):
    atoms = crystal()
    out = at(model, atoms, FIELD, frozenset({"virial"}))
    for a, b in [(0, 0), (1, 2), (2, 1), (2, 0)]:
        def energy(s, a=a, b=b):
            strained, m = atoms.copy(), np.eye(3)
            m[a, b] += s
            strained.set_cell(atoms.cell[:] @ m, True)
            return float(at(model, strained, np.linalg.solve(m, FIELD)).energy[0])
        assert float(out.virial[0, a, b]) == pytest.approx(-slope(energy, 1e-3), abs=1e-7)
    assert np.allclose(out.virial[0], out.virial[0].T, atol=1e-11)


def test_sum_rule_and_symmetry_of_the_polarizability(model):
    out = at(model, crystal(), FIELD, ALL)
    assert np.allclose(out.born_charges.sum(0), 0, atol=1e-12)
    assert np.allclose(out.polarizability[0], out.polarizability[0].T, atol=1e-12)
    assert np.allclose(out.forces.sum(0), 0, atol=1e-12)


def test_rotation_and_inversion_of_structure_and_field(model):
    atoms = crystal()
    here = at(model, atoms, FIELD, ALL)
    for R in (random_rotation(2), -random_rotation(5)):
        turned = atoms.copy()
        turned.set_cell(atoms.cell[:] @ R.T, True)
        there = at(model, turned, R @ FIELD, ALL)
        assert float(there.energy[0]) == pytest.approx(float(here.energy[0]), abs=1e-10)
        assert np.allclose(there.polarization[0], R @ here.polarization[0].numpy(), atol=1e-10)
        assert np.allclose(there.polarizability[0], R @ here.polarizability[0].numpy() @ R.T, atol=1e-10)
        assert np.allclose(there.born_charges, np.einsum("ab,nbc,dc->nad", R, here.born_charges.numpy(), R), atol=1e-10)


def test_systems_feel_their_own_fields(model):
    one, two = crystal(), crystal()
    two.rattle(0.1, seed=1)
    fields = np.array([FIELD, -2 * FIELD])
    together = evaluate(model, batch_of(one, two), torch.tensor(fields), ALL)
    for s, atoms in enumerate((one, two)):
        alone = at(model, atoms, fields[s], ALL)
        rows = slice(5 * s, 5 * s + 5)
        for name in ("energy", "polarization", "polarizability", "virial"):
            assert np.allclose(getattr(together, name)[s], getattr(alone, name)[0], atol=1e-11)
        for name in ("forces", "born_charges", "raman"):
            assert np.allclose(getattr(together, name)[rows], getattr(alone, name), atol=1e-11)


def test_contracted_born_charges(model):
    batch, direction = batch_of(crystal()), torch.tensor([[0.3, -0.2, 0.7]], dtype=torch.float64)
    field = torch.tensor(FIELD[None])
    whole = evaluate(model, batch, field, ALL).born_charges
    part = evaluate(model, batch, field, directions=direction).born_charges
    assert np.allclose(part, np.einsum("a,nab->nb", direction[0], whole), atol=1e-12)


def test_polarization_is_continuous_through_the_boundary(model, tmp_path):
    """An atom carried by a whole cell: P changes by Z*·dr in every step, and is in the end what it was; no quantum is gained."""
    write(tmp_path, model)
    atoms = crystal()
    sim = Simulation(state_from_atoms(atoms), Dielectric(str(tmp_path), backend="torch"), fields=[Constant(FIELD)], skin=0.2)
    sim.electric.begin(sim)
    state, steps = sim.state, 80
    step = atoms.cell[0] / steps
    P, Z = [], []
    for _ in range(steps + 1):
        atom = int(np.flatnonzero(state.tags[: state.n] == 4)[0])
        Z.append(sim.quantity("born_charges")[atom].copy())
        P.append(sim.quantity("polarization")[0].copy())
        state.positions[np.flatnonzero(state.tags[: state.n] == 4)[0]] += step
        sim.forces.stale = True
    P, Z = np.array(P), np.array(Z)
    assert state.images[state.tags[: state.n] == 4, 0] == 1
    assert np.allclose(np.diff(P, axis=0), 0.5 * (Z[1:] + Z[:-1]) @ step, atol=1e-3 * np.ptp(P))
    assert np.allclose(P[-1], P[0], atol=1e-10)
