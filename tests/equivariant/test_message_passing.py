"""Message passing as physics: symmetry, derivatives through neighbours' neighbours, smoothness, extensivity."""

import numpy as np
import pytest
import torch
from ase import Atoms
from test_kernel import SMALL, box
from test_local_model import CUTOFF, cluster, description, evaluate, rotation

from engine import testing
from engine.build import state_from_atoms
from engine.domain.domain import Domain
from engine.forces import Forces
from plugins import torch_halo
from plugins.equivariant import folder
from plugins.equivariant.description import Description
from plugins.equivariant.models import build
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.torch_runner import TorchRunner


def model(**changes):
    torch.manual_seed(2)
    return build(description(**{**dict(architecture="message-passing", layers=3, l_max=1), **changes}))


@pytest.mark.parametrize("settings", [dict(), dict(l_max=2, layers=2), dict(parity=False, layers=2)])
@pytest.mark.parametrize("improper", [False, True])
def test_rotation_and_inversion(settings, improper):
    m = model(**settings)
    positions, species = cluster()
    q = rotation(improper=improper)
    _, f, w, each = evaluate(m, positions, species)
    _, f2, w2, each2 = evaluate(m, positions @ q.T, species)
    assert np.ptp(each) > 1e-3 and np.allclose(each, each2, atol=1e-11)
    assert np.allclose(f @ q.T, f2, atol=1e-10) and np.allclose(q @ w @ q.T, w2, atol=1e-10)


@pytest.mark.parametrize("settings", [dict(), dict(l_max=2, layers=2), dict(parity=False, layers=2)])
def test_written_out_is_the_same_function(settings):
    """Messages written out for a compiler."""
    positions, species = cluster()
    m = model(**settings)
    plain = evaluate(m, positions, species)
    for layer in m.interactions:
        layer.unrolled = True
    for a, b in zip(plain, evaluate(m, positions, species)):
        assert np.allclose(a, b, atol=1e-12)


def test_derivatives_permutation_and_extensivity():
    m = model(layers=2)
    positions, species = cluster(8)
    cell, pbc, h = np.array([[4.6, 0, 0], [0.5, 4.4, 0], [0.2, -0.3, 4.8]]), (True,) * 3, 1e-4
    e, f, w, each = evaluate(m, positions, species, cell, pbc)
    for atom, axis in [(0, 0), (5, 2)]:
        step = np.zeros_like(positions)
        step[atom, axis] = h
        up, down = (evaluate(m, positions + s * step, species, cell, pbc)[0][0] for s in (1, -1))
        assert abs(-(up - down) / (2 * h) - f[atom, axis]) < 1e-6
    strain = np.zeros((3, 3))
    strain[0, 1] = h
    up, down = (evaluate(m, positions @ (np.eye(3) + s * strain), species, cell @ (np.eye(3) + s * strain), pbc)[0][0]
                for s in (1, -1))
    assert abs(-(up - down) / (2 * h) - w[0, 0, 1]) < 1e-5
    order = np.random.default_rng(2).permutation(len(species))
    assert np.allclose(each[order], evaluate(m, positions[order], species[order], cell, pbc)[3], atol=1e-12)
    doubled = np.vstack([positions, positions + cell[0]])
    assert np.allclose(evaluate(m, doubled, np.tile(species, 2), cell * [[2], [1], [1]], pbc)[0], 2 * e, atol=1e-11)


def test_layers_reach_further_than_the_cutoff_and_end_smoothly():
    m = model(layers=2)
    def energy_of_first(r):
        line = np.array([[0, 0, 0], [2.5, 0, 0], [2.5 + r, 0.3, 0]])
        return evaluate(m, line, np.array([0, 1, 0]))[3][0]
    assert abs(energy_of_first(2.4) - energy_of_first(2.0)) > 1e-7  # 4.9 Å away, through the atom in between
    edge = np.sqrt(CUTOFF**2 - 0.09)
    near, beyond = energy_of_first(edge - 1e-4), energy_of_first(edge + 1e-4)
    assert abs(near - beyond) < 1e-12 and energy_of_first(edge - 0.5) != beyond


class TestContract(testing.PotentialContract):
    """As a potential: features of ghosts come from their owners, gradients go back to them."""

    @pytest.fixture(autouse=True)
    def _model(self, tmp_path):
        m = build(Description(architecture="message-passing", layers=2, l_max=1, **{
            k: v for k, v in SMALL.items() if k not in ("embedding_width", "features")}))
        folder.save(tmp_path, m.description, folder.from_model(m))
        self.path = str(tmp_path)

    def potential(self):
        return Equivariant(self.path, backend="torch")

    def structures(self):
        return [box(), Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.1]], cell=np.eye(3) * 8, pbc=True)]


def test_segments_equal_the_whole(tmp_path):
    m = model(layers=3)
    m.shifts[:] = torch.tensor([1.0, 2.0])
    folder.save(tmp_path, m.description, folder.from_model(m))
    atoms = box()
    species = np.array([["O", "H"].index(s) for s in atoms.symbols])
    e, f, w, _ = evaluate(m, atoms.positions, species, np.array(atoms.cell), atoms.pbc)
    out = testing.evaluate(Equivariant(str(tmp_path), backend="torch"), atoms, {"energy", "forces", "virial"})
    assert np.allclose(out.energy, e + (species + 1).sum(), atol=1e-10)
    assert np.allclose(out.forces, f, atol=1e-10) and np.allclose(out.virial, w, atol=1e-10)


@pytest.mark.parametrize("architecture", ["local", "message-passing"])
def test_only_positions_go_to_a_device_between_rebuilds(tmp_path, monkeypatch, architecture):
    """The list goes over when it is made; features of images are copied where they are, and say what the halo's copies say."""
    m = build(description(architecture=architecture, layers=2, l_max=1, neighbors=12.0))
    folder.save(tmp_path, m.description, folder.from_model(m))
    state, potential = state_from_atoms(box()), Equivariant(str(tmp_path), backend="torch")
    potential.bind(state.species_names)
    domain = Domain(state, CUTOFF, skin=0.6, sort=False)
    forces = Forces(state, domain, {"model": potential})
    plain = forces().forces[:state.n].copy()
    monkeypatch.setattr(torch_halo, "shares_memory", lambda tensor: False)
    crossed, to_device = [], potential._runner._tensor
    monkeypatch.setattr(potential._runner, "_tensor", lambda array, *dtype: crossed.append(array) or to_device(array, *dtype))
    assert np.allclose(forces().forces[:state.n], plain, atol=1e-13)
    assert len(crossed) == 1 and crossed.pop() is state.positions
    state.positions[0] += 0.01
    lists = domain.neighbors
    moved = forces().forces[:state.n].copy()
    assert domain.neighbors is lists and len(crossed) == 1 and np.abs(moved - plain).max() > 1e-3
    domain.rebuild()
    assert np.allclose(forces().forces[:state.n], moved, atol=1e-12) and len(crossed) == 5


def test_arrays_are_taken_where_they_are():
    """By DLPack: nothing is copied that is where it is wanted."""
    runner, positions = TorchRunner(model(layers=1)), np.arange(12.0).reshape(4, 3)
    taken = runner._tensor(positions)
    positions[2, 1] = -1.0
    assert taken[2, 1] == -1.0 and taken.data_ptr() == positions.ctypes.data
