"""Edges packed without padding: the same energies, forces, stresses and gradients of a loss, compiled or not."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from plugins.equivariant import graphs
from plugins.equivariant.data import frames, store
from plugins.equivariant.description import Description
from plugins.equivariant.models import build
from plugins.equivariant.packing import Packed, room_for
from plugins.equivariant.training import batches
from plugins.equivariant.training.step import Step, predict


def gas(n=9, seed=0):
    """Atoms whose numbers of neighbours differ much."""
    rng = np.random.default_rng(seed)
    cell = np.diag([7.0, 8.0, 11.0]) + rng.uniform(-0.5, 0.5, (3, 3))
    places = np.stack(np.meshgrid(*[np.arange(3) / 3] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = rng.permutation(places)[:n] + rng.uniform(-0.08, 0.08, (n, 3))
    symbols = rng.choice(["Au", "Cu"], n)
    return frames.Frame(symbols, places @ cell, cell, np.ones(3, bool), float(rng.normal()), rng.normal(size=(n, 3)),
                        1e-3 * np.eye(3), "gas")


@pytest.fixture
def case():
    torch.manual_seed(0)
    d = Description(species=["Au", "Cu"], cutoff=4.5, neighbors=8.0, dtype="float64", l_max=2, layers=2, channels=4, features=8,
                    embedding_width=8, latent_width=8, readout_width=8)
    found = [gas(9, 0), gas(14, 1), gas(5, 2)]
    made = store.GraphStore(found, d.species, d.cutoff)
    labels = batches.Labels(found, made, np.zeros(2), batches.Loss(1.0, 1.0, 10.0), d.cutoff, torch.float64)
    shape = batches.shape_for(made, labels.sizes, range(3), batches.BatchSize(2), 1)
    return build(d), labels, shape


def test_nothing_changes(case):
    model, labels, shape = case
    batch = labels.batch([0, 1], shape)
    assert shape.edges < 0.8 * batch[1].numel()     # there is something to leave out
    present = int((batch[1] < batch[1].shape[0]).sum())
    parameters = dict(model.named_parameters())
    plain = predict(model, parameters, True, batch)
    gradients, loss = Step(model, list(parameters), True, False)(list(parameters.values()), batch)
    for room in (present, present + 7, shape.edges):
        with room_for(model, room):
            packed = predict(model, parameters, True, batch)
        for a, b in zip(plain, packed):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-13)
        mine, other = Step(model, list(parameters), True, False, edges=room)(list(parameters.values()), batch)
        assert float(other) == pytest.approx(float(loss), rel=1e-13)
        for a, b in zip(gradients, mine):
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-12 * float(a.abs().max()))
    assert model.room is None


def test_moving_back_is_the_transpose():
    atoms = bulk("Cu") * (2, 2, 1)
    atoms.rattle(0.3, seed=1)
    batch = graphs.join([graphs.build(atoms.positions, atoms.cell[:], atoms.pbc, [0] * 4, 4.0)], 4.0, torch.float64, 6)
    present = int((batch.neighbours < 6).sum())
    packed = Packed(batch.species, batch.around, batch.neighbours, present + 3, 8.0)
    x, y = torch.randn(*batch.neighbours.shape, 2, dtype=torch.float64), torch.randn(present + 3, 2, dtype=torch.float64)
    assert float((packed.pack(x) * y).sum()) == pytest.approx(float((x * packed.spread(y)).sum()))
    x.requires_grad_()
    assert torch.equal(torch.autograd.grad((packed.pack(x) * y).sum(), x)[0], packed.spread(y))
    there = packed.vectors(batch.vectors)
    assert torch.equal(packed.spread(there)[batch.neighbours < 6], batch.vectors[batch.neighbours < 6])
    assert (there.norm(dim=-1)[-3:] > 8.0).all()


def test_a_batch_of_too_many_edges_is_no_batch_with_fewer(case):
    model, labels, shape = case
    parameters = dict(model.named_parameters())
    with pytest.raises(ValueError, match="room for 5"):
        Step(model, list(parameters), True, False, edges=5)(list(parameters.values()), labels.batch([0], shape))


@pytest.mark.slow
def test_compiled(case):
    model, labels, shape = case
    batch = labels.batch([0, 1], shape)
    names, values = zip(*model.named_parameters())
    plain = Step(model, list(names), True, False)(list(values), batch)
    step = Step(model, list(names), True, True, edges=shape.edges)
    compiled = step(list(values), batch)
    assert step.note == "compiled"
    for a, b in zip(plain[0], compiled[0]):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11 * float(a.abs().max()))
