"""Two models trained as one, and one distilled from another: couplings of the losses, bits after a resume, use on two levels."""

import json

import numpy as np
import pytest
import torch
from ase.io import write
from test_training import MODEL, file, labelled, stage  # noqa: F401

from engine.build import state_from_atoms, thermalise
from engine.errors import InputError
from engine.simulation import Simulation
from engine.testing import evaluate
from integrators.nve import NVE
from plugins.equivariant import folder
from plugins.equivariant.data import frames, splits, store
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.training import batches
from plugins.equivariant.training.batches import BatchSize
from plugins.equivariant.training.pair import Cotrain, Together
from plugins.equivariant.training.processes import Processes
from plugins.equivariant.training.step import Evaluation, Step

SMALL = dict(MODEL, cutoff=3.0, channels=2, features=4)


def together(file, path, weight=1.0, **changes):  # noqa: F811
    how = dict(folder=str(path / "small"), model=dict(SMALL), epochs=4, weight=weight)
    return stage(file, path / "large", cotrain=Cotrain(**how | changes.pop("how", {})), **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, errors) of a pair that was trained without interruption."""
    path = tmp_path_factory.mktemp("pair")
    write(path / "alloy.xyz", labelled(), format="extxyz")
    return path, together(str(path / "alloy.xyz"), path, epochs=6).train(quiet=True)


def test_the_small_model_sees_only_its_own_neighbours_and_energies_add(file, tmp_path):  # noqa: F811
    """The pair's energy, forces and stress are those of its two folders, each run by itself with its own cutoff."""
    double = dict(dtype="float64")
    it = together(file, tmp_path, model=dict(MODEL, **double), how=dict(model=dict(SMALL, **double), epochs=1))
    it.cotrain.first(it, False, False, True)
    found, rows = it.gather()
    subject = Together(it, found, rows, Processes())
    subject.save(None, it.folder, {})
    names, parameters = zip(*subject.model.named_parameters())
    d = subject.description
    graphs = store.GraphStore(subject.frames, d.species, d.cutoff)
    labels = batches.Labels(subject.frames, graphs, subject.shifts.numpy(), it.loss, d.cutoff, torch.float64)
    batch = labels.batch([1], batches.shape_for(graphs, [8] * 8, [1], BatchSize(1), 1))
    _, (energy, forces, stress) = Evaluation(subject.model, names, True, subject.losses)(parameters, batch)
    atoms = labelled()[1]
    small, large = (evaluate(Equivariant(str(p)), atoms, {"energy", "forces", "virial"})
                    for p in (it.cotrain.folder, it.folder))
    assert np.abs(large.forces).max() > 1e-3 < np.abs(small.forces).max()
    np.testing.assert_allclose(float(energy[0]) + labels.base[1], small.energy[0] + large.energy[0], rtol=1e-9)
    np.testing.assert_allclose(forces.numpy(), small.forces + large.forces, atol=1e-8)
    np.testing.assert_allclose(stress[0].numpy(), -(small.virial + large.virial)[0] / atoms.get_volume(), atol=1e-9)


def test_the_losses_are_coupled(file, tmp_path):  # noqa: F811
    """The large model's gradient depends on the small one's weights through what is left; and the other way round; and
    the small one's own forces pull at it, in proportion to `weight`."""
    it = together(file, tmp_path, model=dict(MODEL, dtype="float64"), how=dict(model=dict(SMALL, dtype="float64"), epochs=1))
    it.cotrain.first(it, False, False, True)
    found, rows = it.gather()
    subject = Together(it, found, rows, Processes())
    pair, names = subject.model, [n for n, _ in subject.model.named_parameters()]
    d = subject.description
    graphs = store.GraphStore(subject.frames, d.species, d.cutoff)
    labels = batches.Labels(subject.frames, graphs, subject.shifts.numpy(), it.loss, d.cutoff, torch.float64)
    batch = labels.batch([0, 1], batches.shape_for(graphs, [8] * 8, [0, 1], BatchSize(2), 1))

    def gradients(scale, weight):
        pair.weight = weight
        values = [p * scale[n.split(".")[0]] for n, p in zip(names, pair.parameters())]
        found, _ = Step(pair, names, True, False, pair.losses)(values, batch)
        return {part: torch.cat([g.ravel() for g, n in zip(found, names) if n.startswith(part)]) for part in ("small", "large")}

    plain = gradients({"small": 1.0, "large": 1.0}, 0.0)
    other = gradients({"small": 3.0, "large": 1.0}, 0.0)
    assert (plain["large"] - other["large"]).norm() > 0.01 * plain["large"].norm()
    other = gradients({"small": 1.0, "large": 0.5}, 0.0)
    assert (plain["small"] - other["small"]).norm() > 0.01 * plain["small"].norm()
    once, twice = (gradients({"small": 1.0, "large": 1.0}, w) for w in (1.0, 2.0))
    torch.testing.assert_close(plain["large"], once["large"])  # the small one's own error does not see the large one
    torch.testing.assert_close(twice["small"] - plain["small"], 2 * (once["small"] - plain["small"]))
    assert (once["small"] - plain["small"]).norm() > 1e-3 * plain["small"].norm()


def test_the_large_model_is_scaled_by_what_the_small_one_leaves(trained):
    """Of all atoms, or of each species, with the weights that the small one had alone."""
    path, _ = trained
    found = {}
    for scales in ("one", "species"):
        it = together(str(path / "alloy.xyz"), path, scales=scales)
        data, rows = it.gather()
        subject = Together(it, data, rows, Processes())
        found[scales] = subject.model.large.scales.numpy()
    alone = Equivariant(str(path / "small/alone"))
    left = {"Au": [], "Cu": []}
    for row in rows["train"]:
        atoms = labelled()[row]
        error = evaluate(alone, atoms, {"forces"}, species=["Au", "Cu"]).forces - atoms.get_forces()
        for name, parts in left.items():
            parts.append(error[np.array(atoms.get_chemical_symbols()) == name])
    each = [float(np.sqrt((np.concatenate(parts) ** 2).mean())) for parts in left.values()]
    np.testing.assert_allclose(found["species"], each, rtol=1e-3)
    assert found["one"][0] == found["one"][1] and min(each) < found["one"][0] < max(each)


def test_both_are_better_than_the_small_one_and_reported(trained):
    path, errors = trained
    history = json.loads((path / "large/report.json").read_text())["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert errors["validation"].rmse("forces") < errors["small validation"].rmse("forces")
    text = (path / "large/report.txt").read_text()
    assert "small validation" in text and "every = 4, potentials = { rest = 1 }" in text
    assert (path / "small/alone/report.txt").exists()
    together_, alone = (folder.load(path / p)[1] for p in ("small", "small/alone"))
    assert any(not np.array_equal(together_[k], alone[k]) for k in alone)  # it went on learning


def test_resume_gives_the_same_bits(trained, tmp_path, monkeypatch):
    """Killed while the small one trains alone, and again while both do."""
    from plugins.equivariant.training.loop import Trainer

    path, _ = trained
    original, left = Trainer.update, [3, 100, 5]

    def interrupted(self, rows):
        if not left[0]:
            self.save()
            raise KeyboardInterrupt
        left[0] -= 1
        return original(self, rows)
    monkeypatch.setattr(Trainer, "update", interrupted)
    make = lambda: together(str(path / "alloy.xyz"), tmp_path, epochs=6)
    with pytest.raises(KeyboardInterrupt):
        make().train(quiet=True)
    assert not (tmp_path / "small/alone/model.toml").exists()
    left[:] = [11]  # the end of the first part (4 epochs of 2 batches), and some of the second
    with pytest.raises(KeyboardInterrupt):
        make().train(quiet=True, resume=True)
    assert (tmp_path / "small/alone/model.toml").exists() and not (tmp_path / "large/model.toml").exists()
    left[:] = [100]
    make().train(quiet=True, resume=True)
    for part in ("small", "large"):
        a, b = (folder.load(p / part)[1] for p in (path, tmp_path))
        assert all(np.array_equal(a[k], b[k]) for k in a)


def test_a_pair_runs_on_two_levels(trained):
    """Energy is conserved by small and rest together, at k = 1 as well as velocity Verlet on the sum does."""
    path, _ = trained
    energies = {}
    for every in (0, 1, 3):
        state = state_from_atoms(labelled()[0] * (2, 2, 1))
        thermalise(state, 300, 1)
        pair = {"small": Equivariant(str(path / "small")), "rest": Equivariant(str(path / "large"))}
        levels = [{"small": 1.0}, {"rest": 1.0}] if every else None
        sim, rows = Simulation(state, pair, NVE(1.0), levels=levels, every=[1, every] if every else None), []
        sim.attach(lambda s, rows=rows: rows.append(s.conserved()[0]), 1, {"energy"})
        sim.run(60 // max(every, 1))
        energies[every] = np.array(rows) - rows[0]
    np.testing.assert_allclose(energies[0], energies[1], atol=2e-4)
    assert np.ptp(energies[3]) < 0.05 and np.ptp(energies[3]) > 2 * np.ptp(energies[1])


def test_a_small_model_is_distilled_from_a_large_one(trained, tmp_path):
    """Its labels are the large one's predictions, on frames that need none; and it comes nearer to it by training."""
    path, _ = trained
    bare = labelled(10, seed=5)
    for atoms in bare:
        atoms.calc = None
    write(tmp_path / "bare.xyz", bare, format="extxyz")
    large = Equivariant(str(path / "small"))
    how = dict(split=splits.Split("frame", 0.2, 0.0), model=dict(SMALL), distill=str(path / "small"), epochs=12)
    it = stage(str(tmp_path / "bare.xyz"), tmp_path / "out", **how)
    found, _ = it.gather()
    one = evaluate(large, bare[4], {"energy", "forces", "virial"})
    np.testing.assert_allclose(found[4].forces, one.forces, atol=1e-6)
    np.testing.assert_allclose(found[4].stress, -one.virial[0] / bare[4].get_volume(), atol=1e-8)
    errors = it.train(quiet=True)
    rms = np.sqrt(np.mean([(f.forces**2).mean() for f in found]))
    assert errors["validation"].rmse("forces") < 0.8 * rms
    assert "{ large = 1, small = -1 }" in (tmp_path / "out/report.txt").read_text()


def test_pairs_that_cannot_be(file, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="folders of their own"):
        together(file, tmp_path, how=dict(folder=str(tmp_path / "large"))).train(quiet=True)
    with pytest.raises(InputError, match="cotrain.start"):
        together(file, tmp_path, start="x").train(quiet=True)
    with pytest.raises(InputError, match="no longer cutoff"):
        together(file, tmp_path, how=dict(model=dict(SMALL, cutoff=4.5), epochs=1)).train(quiet=True)
    with pytest.raises(InputError, match="zbl belongs to the small"):
        together(file, tmp_path / "z", model=dict(MODEL, zbl=True), how=dict(epochs=1)).train(quiet=True)
    with pytest.raises(InputError, match="to go on from"):
        together(file, tmp_path / "new").train(quiet=True, resume=True)
    assert isinstance(frames.read(frames.Source([file])), list)


def test_the_example_at_small_size(tmp_path, monkeypatch):
    """examples/water-mts/copper.toml, for fewer epochs; then its run.toml with copper in place of water."""
    import importlib.util
    import tomllib
    from pathlib import Path

    from engine import stages
    from engine.run import Run

    examples = Path(__file__).resolve().parents[2] / "examples"
    spec = importlib.util.spec_from_file_location("make", examples / "water-learned/make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.chdir(tmp_path)
    write("copper.xyz", make.frames(10), format="extxyz")
    table = tomllib.loads((examples / "water-mts/copper.toml").read_text())["stage"][0]
    table |= {"epochs": 2, "cotrain": table["cotrain"] | {"epochs": 2}}
    stages.make(table, 0, str(tmp_path)).train(quiet=True)
    raw = tomllib.loads((examples / "water-mts/run.toml").read_text())
    crystal = dict(structure="fcc", species="Cu", a=3.64)
    raw["system"] = dict(crystal=crystal, replicate=[3, 3, 3], velocities=dict(temperature=300))
    raw["stage"][0]["steps"] = 25
    run = Run(raw, tmp_path, "run.toml")
    sim = run.build()
    sim.begin_stage(0, 25)
    rows = []
    sim.attach(lambda s: rows.append(s.conserved()[0] / s.state.n), 5, {"energy"})
    sim.proceed()
    assert len(rows) == 6 and np.ptp(rows) < 2e-4


def test_the_shipped_settings_are_read():
    """train.toml as it stands: keys, models, and that the two fit each other."""
    import tomllib
    from pathlib import Path

    from engine import stages
    from plugins.equivariant.description import from_dict

    path = Path(__file__).resolve().parents[2] / "examples/water-mts/train.toml"
    it = stages.make(tomllib.loads(path.read_text())["stage"][0], 0, str(path.parent))
    small, large = (from_dict(dict(m, species=["H", "O"])) for m in (it.cotrain.model, it.model))
    assert small.cutoff < large.cutoff and small.zbl and not large.zbl and it.cotrain.weight == 1.0
