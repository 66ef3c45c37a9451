"""Committees and last-layer variances: averages of members, and more doubt where no frame was seen."""

import numpy as np
import pytest
import torch
from ase import Atoms
from test_kernel import SMALL, box, save
from test_training import MODEL, labelled, stage

from engine import testing
from engine.errors import InputError
from plugins.equivariant import folder
from plugins.equivariant.committee import Committee
from plugins.equivariant.data import frames, store
from plugins.equivariant.description import Description
from plugins.equivariant.last_layer import features, fit, frame_features, last_linear, uncertainties
from plugins.equivariant.models import build
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.training import batches


def test_a_committee_is_the_mean_of_its_members_and_knows_their_spread(tmp_path):
    for seed in (1, 2, 3):
        save(tmp_path / str(seed), seed=seed, **SMALL)
    paths = [str(tmp_path / str(seed)) for seed in (1, 2, 3)]
    atoms = box()
    each = [testing.evaluate(Equivariant(p), atoms) for p in paths]
    committee = Committee(paths, spread=True)
    out = testing.evaluate(committee, atoms, {"energy", "forces", "virial", "variance", "atom_virial"})
    for name in ("energy", "forces", "virial", "atom_virial"):
        assert np.allclose(getattr(out, name), np.mean([getattr(e, name) for e in each], 0), atol=1e-12)
    assert np.allclose(out.variance, np.var([e.energy for e in each], axis=0, ddof=1))
    spread = np.sqrt(np.var([e.forces for e in each], axis=0, ddof=1).sum(1))
    assert np.allclose(np.sort(committee.force_spread), np.sort(spread), atol=1e-12)
    with pytest.raises(InputError, match="at least two"):
        Committee(paths[:1])


class TestContract(testing.PotentialContract):
    @pytest.fixture(autouse=True)
    def _models(self, tmp_path):
        self.paths = [str(tmp_path / str(seed)) for seed in (1, 2)]
        for seed in (1, 2):
            save(tmp_path / str(seed), seed=seed, **SMALL)

    def potential(self):
        return Committee(self.paths)

    def structures(self):
        return [box()]


@pytest.mark.parametrize("more", [dict(), dict(charges=True), dict(architecture="message-passing", dtype="float64")])
def test_a_training_keeps_what_tells_known_frames_from_strange_ones(tmp_path, more):
    from ase.io import write

    write(tmp_path / "alloy.xyz", labelled(10), format="extxyz")
    stage(str(tmp_path / "alloy.xyz"), tmp_path / "m", model={**MODEL, **more}, epochs=2).train(quiet=True)
    known = labelled(3, seed=5)
    strange = [atoms.copy() for atoms in known]
    for atoms in strange:
        atoms.set_cell(atoms.cell[:] * 0.75, scale_atoms=True)
    doubts = uncertainties(tmp_path / "m", [*known, *strange])
    assert (doubts > 0).all() and doubts[3:].min() > 2 * doubts[:3].max()
    with pytest.raises(InputError, match="does not know Ni"):
        uncertainties(tmp_path / "m", [Atoms("Ni")])
    arrays = folder.load(tmp_path / "m")[1]
    name = max(k for k in arrays if k.startswith("readout"))
    folder.save(tmp_path / "m", folder.load(tmp_path / "m")[0], {**arrays, name: arrays[name] + 1})
    with pytest.raises(InputError, match="belongs to other weights"):
        uncertainties(tmp_path / "m", known)
    (tmp_path / "m/last_layer.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="truncated"):
        uncertainties(tmp_path / "m", known)


@pytest.mark.parametrize("architecture", ["local", "message-passing"])
def test_last_layer(architecture):
    found = []
    for atoms in labelled(14):
        found.append(frames.Frame(np.array(atoms.get_chemical_symbols()), atoms.positions, np.array(atoms.cell),
                                  atoms.pbc, atoms.get_potential_energy(), atoms.get_forces(), None, "made"))
    strange = frames.Frame(found[0].symbols, found[0].positions * 0.8, found[0].cell * 0.8, found[0].periodic, 0.0, None,
                           None, "squeezed")
    d = Description(species=["Au", "Cu"], cutoff=4.0, l_max=1, layers=1, channels=4, features=8, embedding_width=8,
                    latent_width=8, readout_width=8, neighbors=20.0, dtype="float64", architecture=architecture)
    torch.manual_seed(1)
    model = build(d)
    everything = [*found, strange]
    graphs = store.GraphStore(everything, d.species, d.cutoff)
    labels = batches.Labels(everything, graphs, np.zeros(2), batches.Loss(), d.cutoff, torch.float64)
    shape = batches.shape_for(graphs, [8] * 15, range(15), batches.BatchSize(4), 1)
    batch = labels.batch([0], shape)
    layer = last_linear(model)
    with torch.no_grad():
        weights = (layer.weight * layer.scale)[:, 0]
        factor = (2 * d.neighbors) ** -0.5 if architecture == "local" else 1.0
        direct = model(batch[0], batch[2], batch[3], batch[1])
    assert torch.allclose(features(model, batch) @ weights * factor, direct, atol=1e-12)
    errors = np.random.default_rng(0).normal(0, 0.01, 4)
    last = fit(model, labels, range(10), range(10, 14), shape, errors)
    known, new = (last.variance(frame_features(model, labels, rows, shape) / 8) for rows in (range(10, 14), [14]))
    assert abs(np.mean(errors**2 / known) - 1) < 1e-6 and new[0] > 3 * known.max()
