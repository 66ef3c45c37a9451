"""Committees and last-layer variances: averages of members, and more doubt where no frame was seen."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read
from safetensors.numpy import save_file
from test_kernel import MODELS, SMALL, box, save
from test_training import MODEL, labelled, stage

from engine import testing
from engine.errors import InputError
from engine.output.columns import choose
from engine.parallel import world
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.equivariant import folder, last_layer
from plugins.equivariant.committee import Committee
from plugins.equivariant.data import frames, store
from plugins.equivariant.description import Description
from plugins.equivariant.last_layer import features, fit, frame_features, last_linear, uncertainties
from plugins.equivariant.models import build
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.training import batches
from plugins.equivariant.uncertainty import Uncertainty


def test_a_committee_is_the_mean_of_its_members_and_knows_their_spread(tmp_path):
    for seed in (1, 2, 3):
        save(tmp_path / str(seed), seed=seed, **SMALL)
    paths = [str(tmp_path / str(seed)) for seed in (1, 2, 3)]
    atoms = box()
    each = [testing.evaluate(Equivariant(p), atoms) for p in paths]
    out = testing.evaluate(Committee(paths), atoms, {"energy", "forces", "virial", "variance", "atom_virial", "atom_variance",
                                                     "force_variance"})
    for name in ("energy", "forces", "virial", "atom_virial"):
        assert np.allclose(getattr(out, name), np.mean([getattr(e, name) for e in each], 0), atol=1e-12)
    assert np.allclose(out.variance, np.var([e.energy for e in each], axis=0, ddof=1))
    assert np.allclose(out.atom_variance, np.var([e.atom_energy for e in each], axis=0, ddof=1), atol=1e-14)
    assert np.allclose(out.force_variance, np.var([e.forces for e in each], axis=0, ddof=1).sum(1), atol=1e-12)
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


PASSING = dict(cutoff=4.0, l_max=1, layers=1, channels=4, latent_width=8, readout_width=8, architecture="message-passing",
               dtype="float64")


@pytest.mark.parametrize("model", [MODEL, {**MODEL, "charges": True}, PASSING], ids=["local", "charges", "message-passing"])
def test_a_training_keeps_what_tells_known_frames_from_strange_ones(tmp_path, model):
    from ase.io import write

    write(tmp_path / "alloy.xyz", labelled(10), format="extxyz")
    stage(str(tmp_path / "alloy.xyz"), tmp_path / "m", model=model, epochs=2).train(quiet=True)
    known = labelled(3, seed=5)
    strange = [atoms.copy() for atoms in known]
    for atoms in strange:
        atoms.set_cell(atoms.cell[:] * 0.75, scale_atoms=True)
    doubts = uncertainties(tmp_path / "m", [*known, *strange])
    assert (doubts > 0).all() and doubts[3:].min() > 2 * doubts[:3].max()
    with pytest.raises(InputError, match="knows no Ni"):
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
    known, new = (last.variance(frame_features(model, labels, rows, shape)[0] / 8) for rows in (range(10, 14), [14]))
    assert abs(np.mean(errors**2 / known) - 1) < 1e-6 and new[0] > 3 * known.max()
    atoms = frame_features(model, labels, range(10, 14), shape)[1]
    assert len(atoms) == 4 * 8 and abs(last.variance(atoms).max() / last.known**2 - 1) < 1e-9


def doubtful(path, seed=7, **settings):
    """A model folder with a covariance of its last weights, however it came to it."""
    model = save(path, **{**SMALL, **settings})
    weights = last_linear(model).weight.detach().numpy()
    spread = np.random.default_rng(seed).normal(size=(len(weights), len(weights)))
    save_file({"covariance": spread @ spread.T, "weights": weights, "known": np.array(0.4)}, path / last_layer.FILE)
    return model


@pytest.mark.parametrize("name", ["deep, no other parity", "linear", "charges"])
def test_kernel_and_torch_agree_in_variance(name, tmp_path):
    """The features from the generated kernel, which goes forward only, are those of the torch model, for every atom."""
    doubtful(tmp_path, **MODELS.get(name, dict(charges=True)))
    both = [testing.evaluate(Equivariant(str(tmp_path), backend=b), box(), {"variance", "atom_variance", "forces"})
            for b in ("kernel", "torch")]
    np.testing.assert_allclose(both[0].atom_variance, both[1].atom_variance, rtol=1e-8)
    np.testing.assert_allclose(both[0].variance, both[1].variance, rtol=1e-8)
    np.testing.assert_allclose(uncertainties(str(tmp_path), [box()])**2, both[0].variance, rtol=1e-8)
    assert both[0].atom_variance.min() > 0 and both[0].variance[0] < 14**2 * both[0].atom_variance.max()


def run(potential, hooks, steps=6, systems=1, **more):
    atoms = box(12)
    sim = Simulation.from_atoms([atoms.copy() for _ in range(systems)] if systems > 1 else atoms, potential, NVE(0.1),
                                temperature=100.0, hooks=hooks, **more)
    sim.run(steps)
    return sim


def test_frames_are_asked_for_where_no_limit_is_known(tmp_path):
    for name in "ab":
        save(tmp_path / name, **SMALL)
    committee = Committee([str(tmp_path / name) for name in "ab"])
    with pytest.raises(InputError, match=r"nothing would go into x.xyz; say warn = .. \(eV/Å\)"):
        run(committee, [Uncertainty(every=2, frames="x.xyz")])


def test_a_run_says_which_atom_its_model_does_not_know(tmp_path, capsys):
    doubtful(tmp_path / "m")
    hook = Uncertainty(every=2, warn=1e-6, frames=str(tmp_path / "strange.xyz"), apart=4)
    sim = run(Equivariant(str(tmp_path / "m")), [hook])
    doubt = np.sqrt(sim.array("atom_variance"))
    found = hook.result(sim)
    assert found["largest"].values.shape == (4,) and np.allclose(found["largest"].values[-1], doubt.max(), rtol=1e-9)
    assert np.allclose(found["mean"].values[-1], doubt.mean(), rtol=1e-9) and sim.stop_reason is None
    text = capsys.readouterr().out
    assert "warning: step 0: the model is uncertain by" in text and "the largest in frames it was tested on" in text
    assert "at 4 of 4 looks" in text
    images = read(tmp_path / "strange.xyz", ":")
    assert [a.info["step"] for a in images] == [0, 4]
    first = testing.evaluate(Equivariant(str(tmp_path / "m")), images[0], {"energy", "forces", "atom_variance"})
    assert np.allclose(images[0].get_forces(), first.forces, atol=1e-5)
    assert np.allclose(images[0].arrays["uncertainty"]**2, first.atom_variance, rtol=1e-5)
    column = choose(["uncertainty"], sim)[1]
    assert column.needs == {"atom_variance"} and np.allclose(column.value(sim), doubt.max())


def test_it_stops_or_keeps_quiet(tmp_path, capsys):
    doubtful(tmp_path / "m")
    limit = float(np.sqrt(testing.evaluate(Equivariant(str(tmp_path / "m")), box(12), {"atom_variance"}).atom_variance.max()))
    hook = Uncertainty(every=1, warn=10 * limit, stop=0.9 * limit)
    sim = run(Equivariant(str(tmp_path / "m")), [hook])
    assert sim.state.step <= 1 and "may be far outside its training data" in sim.stop_reason
    capsys.readouterr()
    quiet = Uncertainty(every=1, warn=10 * limit, stop=10 * limit)
    assert run(Equivariant(str(tmp_path / "m")), [quiet]).state.step == 6 and capsys.readouterr().out == ""
    usual = Uncertainty()  # without `warn`: what the training found in frames that it held out
    run(Equivariant(str(tmp_path / "m")), [usual], 0)
    assert usual.limit == 3 * 0.4
    save(tmp_path / "bare", **SMALL)
    with pytest.raises(InputError, match="do not know the uncertainty of energy"):
        run(Equivariant(str(tmp_path / "bare")), [Uncertainty()])


def test_committees_are_watched_by_their_forces(tmp_path):
    for seed in (1, 2):
        save(tmp_path / str(seed), seed=seed, **SMALL)
    hook = Uncertainty(every=2)
    sim = run(Committee([str(tmp_path / "1"), str(tmp_path / "2")]), [hook], systems=2)
    found = hook.result(sim)["largest"]
    assert found.unit == "eV/Å" and found.values.shape == (2, 4) and np.allclose(found.values[0, 0], found.values[1, 0])
    forces = np.sqrt(sim.array("force_variance"))
    assert np.allclose(found.values[:, -1], [forces[:12].max(), forces[12:].max()])


class TestHook(testing.HookContract):
    results = True
    steps = 12

    @pytest.fixture(autouse=True)
    def _model(self, tmp_path_factory):
        self.path = tmp_path_factory.mktemp("m")  # each rank's own
        doubtful(self.path)
        self.path = str(self.path)

    def hook(self):
        return Uncertainty(every=3)

    def simulation(self, hooks, comm=None):
        return Simulation.from_atoms(box(12), Equivariant(self.path), NVE(0.1), temperature=100.0, hooks=hooks,
                                     comm=comm or world())


def test_a_weight_enters_a_variance_squared(tmp_path):
    doubtful(tmp_path / "m")
    found = []
    for weight in (1.0, -2.0):
        forces = Simulation.from_atoms(box(12), {"a": Equivariant(str(tmp_path / "m"))}, levels=[{"a": weight}]).forces
        forces.all_levels({"energy", "forces", "variance", "atom_variance"})
        found.append(forces)
    for name, factor in (("energy", -2), ("forces", -2), ("variance", 4), ("atom_variance", 4)):
        np.testing.assert_allclose(found[1].total(name), factor * found[0].total(name), rtol=1e-9, atol=1e-12)
