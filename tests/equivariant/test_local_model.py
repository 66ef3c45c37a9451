"""The local model as physics: symmetry, smoothness, derivatives, and the operator form against plain tensor products."""

import numpy as np
import pytest
import torch

from plugins.equivariant import angular, derivatives, graphs, track
from plugins.equivariant.blocks import harmonics
from plugins.equivariant.description import Description
from plugins.equivariant.local import LocalModel

CUTOFF = 3.2


def description(**changes):
    settings = dict(species=["O", "H"], cutoff=CUTOFF, neighbors=6.0, channels=4, features=8, embedding_width=8,
                    latent_width=8, readout_width=8, dtype="float64")
    return Description(**{**settings, **changes})


def model(**changes):
    torch.manual_seed(3)
    return LocalModel(description(**changes))


def cluster(n=7, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        positions = rng.uniform(0, 4.2, (n, 3))
        d = np.linalg.norm(positions[:, None] - positions[None], axis=-1)[np.triu_indices(n, 1)]
        if d.min() > 0.9:
            return positions, rng.integers(0, 2, n)


def evaluate(m, positions, species, cell=None, pbc=(False,) * 3):
    cell = np.eye(3) * 50 if cell is None else cell
    graph = graphs.build(positions, cell, pbc, species, m.description.cutoff)
    batch = graphs.join([graph], m.description.cutoff, torch.float64)
    out = derivatives.evaluate(m, dict(m.named_parameters()), *batch.tensors()[:5], 1)
    return [x.detach().numpy() for x in out]


def rotation(seed=1, improper=False):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q)) * (-1 if improper else 1)


def test_harmonics_and_3j_are_those_of_e3nn():
    o3 = pytest.importorskip("e3nn.o3")
    for l1, l2, l3 in [(0, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 2), (3, 2, 1), (3, 3, 2), (2, 3, 4)]:
        assert np.allclose(angular.wigner_3j(l1, l2, l3), o3.wigner_3j(l1, l2, l3, dtype=torch.float64), atol=1e-12)
    n = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64), dim=-1)
    reference = o3.spherical_harmonics(list(range(5)), n, True, "component")
    assert torch.allclose(harmonics(n, 4), reference, atol=1e-12)
    assert np.allclose(angular.spherical_harmonics(n.numpy(), 4), reference, atol=1e-12)


def test_lowering_is_the_gradient_of_the_harmonics():
    n = torch.randn(3, dtype=torch.float64)
    for l in range(1, 5):
        jacobian = torch.autograd.functional.jacobian(lambda v, l=l: harmonics(v, l)[l * l:], n)
        lower = harmonics(n, l - 1)[(l - 1) ** 2:]
        rebuilt = torch.einsum("kij,i->kj", torch.tensor(angular.lowering(l)), lower)
        assert torch.allclose(jacobian, rebuilt, atol=1e-12)


def test_irreps_of_the_track_are_the_needed_ones():
    first, second, third = track.layers(2, True, 3)
    assert first.irreps_in == ((0, 1), (1, -1), (2, 1))
    assert set(first.irreps_out) == {(0, 1), (1, -1), (2, 1), (1, 1), (2, -1)}  # 0o leads to no scalar any more
    assert third.irreps_out == ((0, 1),)
    only = track.layers(2, False, 2)[0]
    assert len(only.values) == 83  # the number that the literature's dense 9 x 9 x 9 tensor hides


@pytest.mark.parametrize("settings", [dict(), dict(l_max=1, layers=1), dict(l_max=3, layers=3),
                                      dict(parity=False, layers=3), dict(embedding_depth=2, latent_depth=2)])
def test_operator_form_equals_edgewise_tensor_products(settings):
    """Every edge carries its tensor through all layers, densely, as in the paper."""
    m = model(**settings)
    d = m.description
    positions, species = cluster()
    graph = graphs.build(positions, np.eye(3) * 50, (False,) * 3, species, CUTOFF)
    batch = graphs.join([graph], CUTOFF, torch.float64)
    fast = m(batch.vectors, batch.species, batch.around).detach()

    v, centre = torch.tensor(graph.vectors), torch.tensor(graph.centre)
    r, slots = v.norm(dim=-1), torch.tensor(angular.degrees(d.l_max))
    y = harmonics(v / r[:, None], d.l_max)
    embedded = m.two_body(m.embedding((r / CUTOFF)[:, None], torch.tensor(graph.species[graph.centre])[:, None],
                                      torch.tensor(graph.species[graph.neighbour])[:, None]))[:, 0]

    def tensor(w):  # (E, channels·degrees) -> (E, channels, dim)
        return w.view(len(v), d.l_max + 1, d.channels)[:, slots].transpose(1, 2) * y[:, None]

    edge = tensor(m.initial(embedded))
    scalars, weights = m.split(m.first(embedded))
    found = [scalars]
    for product, latent in zip(m.products, m.latents):
        sums = torch.zeros(len(positions), d.channels, y.shape[1]).double().index_add(0, centre, tensor(weights))
        edge = torch.einsum("eui,euj,uijk->euk", edge, sums[centre] / d.neighbors**0.5, product())
        scalars, weights = m.split(latent(torch.cat(found + [edge[..., 0]], -1)))
        found.append(scalars)
    energy = m.readout(torch.cat(found, -1))[:, 0] / (2 * d.neighbors) ** 0.5
    slow = torch.zeros(len(positions)).double().index_add(0, centre, energy.detach())
    assert slow.abs().max() > 1e-3
    assert torch.allclose(fast, slow, atol=1e-12)


@pytest.mark.parametrize("improper", [False, True])
@pytest.mark.parametrize("settings", [dict(), dict(l_max=3, layers=3)])
def test_rotation_and_inversion(settings, improper):
    m = model(**settings)
    positions, species = cluster()
    q = rotation(improper=improper)
    e, f, w, each = evaluate(m, positions, species)
    e2, f2, w2, each2 = evaluate(m, positions @ q.T, species)
    assert np.allclose(each, each2, atol=1e-11) and np.allclose(f @ q.T, f2, atol=1e-10)
    assert np.allclose(q @ w @ q.T, w2, atol=1e-10)


def test_without_other_parity_inversion_still_holds():
    m = model(parity=False, layers=3)
    positions, species = cluster()
    assert np.allclose(evaluate(m, positions, species)[3], evaluate(m, -positions, species)[3], atol=1e-11)


def test_permutation_and_extensivity():
    m = model()
    positions, species = cluster()
    order = np.random.default_rng(2).permutation(len(species))
    e, f, _, _ = evaluate(m, positions, species)
    e2, f2, _, _ = evaluate(m, positions[order], species[order])
    assert np.allclose(e, e2, atol=1e-12) and np.allclose(f[order], f2, atol=1e-11)
    twice = evaluate(m, np.concatenate([positions, positions + 20]), np.concatenate([species, species]))
    assert np.allclose(twice[0], 2 * e, atol=1e-11)


def test_forces_and_virial_are_derivatives_of_the_energy():
    m = model()
    positions, species = cluster(8)
    cell, pbc, h = np.array([[4.6, 0, 0], [0.5, 4.4, 0], [0.2, -0.3, 4.8]]), (True,) * 3, 1e-4
    _, f, w, _ = evaluate(m, positions, species, cell, pbc)
    for atom, axis in [(0, 0), (3, 1), (7, 2)]:
        step = np.zeros_like(positions)
        step[atom, axis] = h
        up, down = (evaluate(m, positions + s * step, species, cell, pbc)[0][0] for s in (1, -1))
        assert abs(-(up - down) / (2 * h) - f[atom, axis]) < 1e-6
    for a, b in [(0, 0), (0, 1), (2, 1)]:
        strain = np.zeros((3, 3))
        strain[a, b] = h
        up, down = (evaluate(m, positions @ (np.eye(3) + s * strain), species, cell @ (np.eye(3) + s * strain), pbc)[0][0]
                    for s in (1, -1))
        assert abs(-(up - down) / (2 * h) - w[0, a, b]) < 1e-5


def test_energy_and_forces_vanish_smoothly_at_the_cutoff():
    m = model(cutoffs={"H-H": 2.0})
    for pair, cutoff in (((0, 0), CUTOFF), ((1, 1), 2.0)):
        for third in (np.zeros((0, 3)), np.array([[0.9, 0.8, 0.1]])):  # alone, and felt through another neighbour
            def at(r, pair=pair, third=third):
                out = evaluate(m, np.vstack([[0, 0, 0], [r, 0, 0], third]), np.array([*pair, *[0] * len(third)]))
                return out[0][0], out[1]
            near, beyond = at(cutoff - 1e-4), at(cutoff + 1e-4)
            work = -(near[1] + beyond[1])[1, 0] * 1e-4  # what the forces do over the step of 2e-4
            assert abs(beyond[0] - near[0] - work) < 1e-9 and np.abs(near[1] - beyond[1]).max() < 5e-3
            if not len(third):
                assert abs(beyond[0] - near[0]) < 1e-12 and np.abs(near[1]).max() < 1e-8 and not beyond[1].any()
            assert abs(at(cutoff - 0.5)[0] - beyond[0]) > 1e-7
