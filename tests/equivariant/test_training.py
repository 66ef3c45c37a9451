"""Data and training: dialects, refusals, splits, the loss's gradient, resume to the same bits, processes that agree."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress
from torch_processes import histories

from engine.errors import InputError
from plugins.equivariant import folder
from plugins.equivariant.data import baseline, checks, frames, splits, store
from plugins.equivariant.training import batches
from plugins.equivariant.training.batches import BatchSize
from plugins.equivariant.training.loop import Optimizer, Trainer
from plugins.equivariant.training.processes import Processes
from plugins.equivariant.training.stage import Train
from plugins.equivariant.training.step import losses

MODEL = dict(cutoff=4.0, l_max=1, layers=1, channels=4, features=8, embedding_width=8, latent_width=8, readout_width=8)


def labelled(count=8, seed=0, symbols="CuAu"):
    """Rattled fcc alloys of varied composition, labelled by effective-medium theory."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True, a=3.8) * (1, 1, 2)
        atoms.set_chemical_symbols(rng.choice(["Cu", "Au"], len(atoms)) if symbols == "CuAu" else ["Cu"] * len(atoms))
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        results = dict(energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress())
        atoms.calc = SinglePointCalculator(atoms, **results)
        out.append(atoms)
    return out


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "alloy.xyz"
    write(path, labelled(), format="extxyz")
    return str(path)


def stage(file, out, **changes):
    return Train(**{**dict(data=frames.Source([file]), model=dict(MODEL), folder=str(out), epochs=4,
                           split=splits.Split("frame", 0.25, 0.0), loss=batches.Loss(1.0, 1.0, 1.0), compile=False,
                           batch=BatchSize(3), optimizer=Optimizer(rate=0.04, warmup=2)), **changes})


def test_labels_are_found_whatever_they_are_called(tmp_path, file):
    plain = frames.read(frames.Source([file]))
    renamed = []
    for atoms in labelled():
        results, atoms.calc = atoms.calc.results, None
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = results["energy"] * 23.060548, results["forces"] * 23.060548
        atoms.info["virial"] = -voigt_6_to_full_3x3_stress(results["stress"]) * atoms.get_volume()
        renamed.append(atoms)
    other = tmp_path / "other.xyz"
    write(other, renamed, format="extxyz")
    found = frames.read(frames.Source([str(other)], energy_unit="kcal/mol"))
    for a, b in zip(plain, found):
        assert abs(a.energy - b.energy) < 1e-6 and np.allclose(a.forces, b.forces, atol=1e-6)
        assert np.allclose(a.stress * 0.0433641, b.stress, atol=1e-6)  # the virial went through the same unit
    for atoms in renamed:
        atoms.info["dft_energy"] = 0.0
    write(other, renamed, format="extxyz")
    with pytest.raises(InputError, match="may be any of REF_energy, dft_energy, which differ"):
        frames.read(frames.Source([str(other)]))
    with pytest.raises(InputError, match="no 'E0' for energy; the frame has: .*dft_energy"):
        frames.read(frames.Source([str(other)], energy="E0"))


def test_stress_order_and_sign():
    tensor = frames._tensor([1, 2, 3, 4, 5, 6], "xx yy zz xy yz zx", "here")
    assert tensor[0, 1] == tensor[1, 0] == 4 and tensor[1, 2] == 5 and tensor[0, 2] == 6
    with pytest.raises(InputError, match="cannot be understood"):
        frames._tensor([1, 2, 3, 4, 5, 6], "xx yy zz xy xy zx", "here")


def test_a_stress_that_ase_has_put_in_order_keeps_it(tmp_path):
    """`stress_order` is that of six numbers of a file; ASE makes six of nine under the name 'stress' by itself."""
    tensor = np.array([[1.0, 4, 5], [4, 2, 6], [5, 6, 3]])
    atoms = bulk("Cu", cubic=True)
    order = "xx yy zz xy yz xz"
    for info in (dict(stress=tensor), dict(REF_stress=tensor), dict(REF_stress=np.array([1.0, 2, 3, 4, 6, 5]))):
        atoms.info = dict(energy=0.0, **info)
        write(tmp_path / "one.xyz", atoms, format="extxyz")
        found, = frames.read(frames.Source([str(tmp_path / "one.xyz")], stress_order=order))
        assert np.allclose(found.stress, tensor), info


def test_sign_of_stress_and_virial(tmp_path):
    atoms, tensor = bulk("Cu", cubic=True), np.diag([0.01, 0.02, 0.03])

    def read(given, other, **how):
        atoms.info = {name: value for name, value in (("REF_stress", given), ("virial", other)) if value is not None}
        write(tmp_path / "one.xyz", atoms, format="extxyz")
        return frames.read(frames.Source([str(tmp_path / "one.xyz")], **how))[0].stress
    virial = -tensor * atoms.get_volume()
    assert np.allclose(read(None, virial), tensor) and np.allclose(read(tensor, virial), tensor)
    assert np.allclose(read(None, -virial, stress_sign=-1), tensor)
    assert np.allclose(read(-tensor, -virial, stress_sign=-1), tensor)
    for wrong in (-virial, 160.2 * virial):
        with pytest.raises(InputError, match="one.xyz, frame 0: 'REF_stress' and 'virial' are not the same stress"):
            read(tensor, wrong)
        assert np.allclose(read(tensor, wrong, stress="REF_stress"), tensor)
        assert not np.allclose(read(tensor, wrong, virial="virial"), tensor)


@pytest.mark.parametrize("index", [":", "2::3", "-3:", "::-1", "5", "-1", "1:6:2"])
def test_frames_are_named_by_their_number_in_the_file(tmp_path, index):
    images = labelled(8)
    for number, atoms in enumerate(images):
        atoms.info["number"] = number
    write(tmp_path / "some.xyz", images, format="extxyz")
    found = frames.read(frames.Source([str(tmp_path / "some.xyz")], frames=index))
    assert [f.source for f in found] == [f"some.xyz, frame {f.info['number']}" for f in found] and found


UNITS = {"kcal/mol": dict(energy=23.0605, forces=23.0605), "Hartree/Bohr": dict(energy=1 / 27.2114, forces=1 / 51.4221),
         "GPa": dict(stress=160.2177), "kbar": dict(stress=1602.177), "Bohr": dict(positions=1.889726, cell=1.889726)}


def in_other_units(found, unit, which):
    for row in which:
        for name, factor in UNITS[unit].items():
            setattr(found[row], name, getattr(found[row], name) * factor)
    return checks.check(found).warnings


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("symbols", ["CuAu", "Cu"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_mixed_units_are_seen(tmp_path, unit, symbols, share):
    write(tmp_path / "some.xyz", labelled(30, symbols=symbols), format="extxyz")
    found = frames.read(frames.Source([str(tmp_path / "some.xyz")]))
    assert not checks.check(found).warnings
    which = sorted(np.random.default_rng(1).permutation(30)[:int(30 * share)])
    seen = [w for w in in_other_units(found, unit, which) if "of two kinds" in w and f"{unit} " in w.replace("/Å", "")]
    assert seen, "neither group is named"
    one, other = seen[0].split(": ", 1)[1].split("; and ")
    rest = [k for k in range(30) if k not in which]
    for group in (one, other):
        names = {int(part.split("frame ")[1].split()[0].strip(":,")) for part in group.split(".xyz, ")[1:]}
        assert names and (names <= set(which) or names <= set(rest))


@pytest.mark.parametrize("name", ["allegro-pol/BaTiO3_dev", "carbon-reduced/carbon_reduced_100", "cu-nequip/Cu-cubic",
                                  "mlearn/Cu_dev", "mlearn/Ni_dev", "mlearn/Si_train", "pbte-nep/PbTe_10",
                                  "solvent-xtb/solvent_train"])
def test_sets_in_their_units_are_not_suspected(shared_data, name):
    warnings = checks.check(frames.read(frames.Source([str(shared_data / f"06-mlip-data/{name}.xyz")]))).warnings
    assert not [w for w in warnings if "of two kinds" in w or "?" in w]


@pytest.mark.parametrize("unit, says", [("Bohr", "Bohr read as Å"), ("kbar", "GPa or kbar"), ("kcal/mol", "kcal/mol")])
def test_a_whole_set_in_other_units(tmp_path, unit, says):
    write(tmp_path / "some.xyz", labelled(12), format="extxyz")
    found = frames.read(frames.Source([str(tmp_path / "some.xyz")]))
    assert any(says in w for w in in_other_units(found, unit, range(12)))


def test_energies_of_all_electrons_tell_their_unit():
    """Water from a code that counts every electron, −76.42 Hartree, taken for eV."""
    def water(energy, shift):
        place = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.0]]) + shift
        return frames.Frame(np.array(list("OHH")), place, np.zeros((3, 3)), np.zeros(3, bool), energy, None, None, "water")
    for energy, says in ((-76.42, ["Hartree read as eV"]), (-76.42 * 2, ["Ry read as eV"]), (-76.42 * 27.2114, []),
                         (-76.42 * 627.509, ["kcal/mol read as eV"]), (-14.2, [])):
        found = [w for w in checks.check([water(energy, k) for k in range(3)]).warnings if "all electrons" in w]
        assert len(found) == len(says) and all(text in w for w, text in zip(found, says))


@pytest.mark.parametrize("energy, forces, says", [
    (1, 1, None), (1 / 27.2114, 1 / 51.4221, " times the work"), (1, -1, "wrong sign"), (23.06, 1, "units that do not fit")])
def test_energies_and_forces_belong_together(energy, forces, says):
    rng, found = np.random.default_rng(0), []
    for _ in range(8):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.positions += rng.normal(0, 0.01, atoms.positions.shape)
        atoms.calc = EMT()
        found.append(frames.Frame(np.array(atoms.get_chemical_symbols()), atoms.positions, np.array(atoms.cell), atoms.pbc,
                                  atoms.get_potential_energy() * energy, atoms.get_forces() * forces, None, "f"))
    warnings = checks.check(found).warnings
    assert says in " ".join(warnings) if says else not warnings


def test_checks_see_nan_duplicates_units_and_overlap(tmp_path):
    images = labelled(12)
    path = tmp_path / "bad.xyz"
    write(path, [*images, images[3]], format="extxyz")
    report = checks.check(frames.read(frames.Source([str(path)])))
    assert any("same positions" in w for w in report.warnings) and not report.refused
    report = checks.check(frames.read(frames.Source([str(path)], energy_unit="Hartree", length_unit="Bohr")))
    assert any("large" in w or "closer" in w for w in report.warnings)
    images[2].calc.results["forces"][1, 1] = np.nan
    write(path, images, format="extxyz")
    with pytest.raises(InputError, match="bad.xyz, frame 2: forces is not a number"):
        checks.check(frames.read(frames.Source([str(path)]))).require()


def test_scales_are_one_or_of_each_species():
    def frame(symbols, forces):
        n = len(symbols)
        forces = np.array(forces)[:, None] * np.ones(3)
        return frames.Frame(np.array(symbols), np.zeros((n, 3)), np.eye(3), np.zeros(3, bool), 0.0, forces, None, "f")
    found, names = [frame(["H", "O"], [2.0, 0.01]), frame(["H"], [1.0])], ["H", "O", "C"]
    one = (5.0001 / 3) ** 0.5
    assert np.allclose(baseline.scales(found, names), one) and np.allclose(baseline.scales(found, names, "one"), one)
    assert np.allclose(baseline.scales(found, names, "species"), [2.5**0.5, one / 10, one])
    assert np.allclose(baseline.scales(found, names, {"C": 3.0, "H": 1.0, "O": 2.0}), [1.0, 2.0, 3.0])
    assert np.allclose(baseline.scales([frame(["H"], [0.0])], names, "species"), 1.0)
    with pytest.raises(InputError, match="scales: none is given for C"):
        baseline.scales(found, names, {"H": 1.0, "O": 1.0})
    with pytest.raises(InputError, match="finite numbers above 0"):
        baseline.scales(found, names, {"H": 1.0, "O": 0.0, "C": 1.0})


@pytest.mark.parametrize("architecture", ["local", "message-passing"])
def test_scales_reach_the_model(file, tmp_path, architecture):
    from plugins.equivariant.training.processes import Processes

    model = dict(cutoff=4.0, l_max=1, layers=1, channels=4, architecture=architecture, species=["Au", "Cu", "Ni"])
    found = []
    for scales in ("one", "species", {"Au": 1.0, "Cu": 2.0, "Ni": 3.0}):
        it, said = stage(file, tmp_path / "m", model=model, shifts="mean", scales=scales), []
        trainer, subject = it.begin(Processes(), said.append)
        found.append(subject.model.scales.numpy())
        assert any("no frame to train on has Ni" in line for line in said)
    one, each, given = found
    data = [frames.read(frames.Source([file]))[r] for r in trainer.rows["train"]]
    gold, copper = (np.concatenate([f.forces[f.symbols == name] for f in data]) for name in ("Au", "Cu"))
    assert np.allclose(each, [(gold**2).mean() ** 0.5, (copper**2).mean() ** 0.5, one[0]]) and each[0] != each[1]
    assert len(set(one)) == 1 and list(given) == [1.0, 2.0, 3.0]


def test_splits_keep_units_whole_and_do_not_overlap(file):
    found = frames.read(frames.Source([file])) * 5
    for how in (splits.Split("frame"), splits.Split("block", block=4), splits.Split("composition")):
        parts = splits.split(found, how)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(found)))
    blocks = splits.split(found, splits.Split("block", block=4))
    assert all(set(rows // 4 * 4) <= set(rows) for rows in blocks.values())
    for by, key in (("group", "phase"), ("temperature", "phase"), ("temperature", None)):
        with pytest.raises(InputError, match=f"split by {by}: key = '{key or 'temperature'}' is not in every frame"):
            splits.split(found, splits.Split(by, key=key))
    for k, f in enumerate(found):
        f.info["temperature"] = 300 + 100 * (k % 8)  # eight frames, five times
    parts = splits.split(found, splits.Split("temperature", 0.2, 0.2))
    groups = [{int(k) % 8 for k in rows} for rows in parts.values()]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups)) == 8


def test_order_does_not_depend_on_ranks_and_weights_add_up(file):
    found = frames.read(frames.Source([file]))
    graphs = store.GraphStore(found, ["Au", "Cu"], 4.0)
    labels = batches.Labels(found, graphs, np.zeros(2), batches.Loss(1.0, 2.0, 3.0), 4.0, torch.float64)
    sizes = [len(f.symbols) for f in found]
    rows = batches.order(range(8), [(sizes, None)], 3, 1, 0)[0]
    alone = labels.batch(rows, batches.shape_for(graphs, sizes, rows, BatchSize(3), 1))
    shape = batches.shape_for(graphs, sizes, rows, BatchSize(3), 2)
    parts = [labels.batch(rows, shape, rank, 2) for rank in (0, 1)]
    for k in (8, 10, 12):  # energy, force, stress weights
        assert abs(alone[k].sum() - sum(p[k].sum() for p in parts)) < 1e-12
    assert abs(alone[8].sum() - 1.0) < 1e-12 and abs(3 * alone[10].sum() - 2.0) < 1e-12


def test_batches_by_atoms_and_edges(file):
    """No batch is over its limits unless a frame alone is; every frame comes once, in an order that limits do not change."""
    sizes, edges = np.array([8, 8, 16, 8, 40, 8, 8, 16]), np.array([100, 300, 50, 100, 100, 900, 100, 100])
    for most_atoms, most_edges in ((24, None), (None, 400), (24, 400), (None, None)):
        found = batches.order(range(8), [(sizes, most_atoms), (edges, most_edges)], 3, 5, 0)
        assert [r for b in found for r in b] == [r for b in batches.order(range(8), [], 99, 5, 0) for r in b]
        for batch in found:
            assert len(batch) <= 3
            for values, most in ((sizes, most_atoms), (edges, most_edges)):
                assert len(batch) == 1 or not most or values[batch].sum() <= most
    full = batches.order(range(8), [(edges, 400)], 3, 5, 0)
    assert any(edges[a + b[:1]].sum() > 400 for a, b in zip(full, full[1:]) if len(a) < 3)  # not split for nothing


def test_training_by_edges_holds_every_batch(file, tmp_path):
    seen, original = [], Trainer.update
    Trainer.update = lambda self, rows: (seen.append(sum(np.diff(self.labels.store.offsets)[rows])),
                                                original(self, rows))[1]
    try:
        stage(file, tmp_path / "out", epochs=1, batch=BatchSize(3, edges=300)).train(quiet=True)
    finally:
        Trainer.update = original
    assert len(seen) > 2 and max(seen) <= 300


def test_weights_of_frames(tmp_path):
    """A frame of weight 2 counts as if it stood there twice; names of others' weights are known; 0 takes a label out."""
    images = labelled(4)
    for atoms, weight in zip(images, (1.0, 2.0, 1.0, 1.0)):
        atoms.info["config_weight"] = weight
    images[2].info["config_forces_weight"] = 0.0
    path = tmp_path / "weighted.xyz"
    write(path, images, format="extxyz")
    found = frames.read(frames.Source([str(path)]))
    assert found[1].weights == {"energy": 2.0, "forces": 2.0, "stress": 2.0} and found[2].weights == {"forces": 0.0}
    assert frames.read(frames.Source([str(path)], weight=""))[1].weights == {}

    def weights(found, rows):
        graphs = store.GraphStore(found, ["Au", "Cu"], 4.0)
        labels = batches.Labels(found, graphs, np.zeros(2), batches.Loss(1.0, 2.0, 3.0), 4.0, torch.float64)
        batch = labels.batch(rows, batches.shape_for(graphs, [8] * len(found), rows, BatchSize(len(rows)), 1))
        return batch[8], batch[10], batch[12]
    energy, forces, _ = weights(found, [0, 1, 2])
    assert energy[1] == 2 * energy[0] and forces[8] == 2 * forces[0] and forces[16] == 0 and energy[2] == energy[0]
    images[3].info["config_weight"] = -1
    write(path, images, format="extxyz")
    with pytest.raises(InputError, match="frame 3: 'config_weight' = -1 must be a weight"):
        frames.read(frames.Source([str(path)]))
    with pytest.raises(InputError, match="no 'w' for its weight"):
        frames.read(frames.Source([str(path)], weight="w"))


def test_gradient_of_the_loss_is_its_derivative(file, tmp_path):
    """The double backward, through forces and stress, against finite differences of the loss."""
    from plugins.equivariant.description import Description
    from plugins.equivariant.models import build
    from plugins.equivariant.training.step import Step

    found = frames.read(frames.Source([file]))
    d = Description(species=["Au", "Cu"], neighbors=20.0, dtype="float64", **MODEL)
    torch.manual_seed(0)
    model = build(d)
    graphs = store.GraphStore(found, d.species, d.cutoff)
    labels = batches.Labels(found, graphs, np.zeros(2), batches.Loss(1.0, 1.0, 100.0), d.cutoff, torch.float64)
    batch = labels.batch([0, 3], batches.shape_for(graphs, [8] * 8, [0, 3], BatchSize(2), 1))
    names = [n for n, _ in model.named_parameters()]
    values = [p.detach().clone() for p in model.parameters()]
    gradients, loss = Step(model, names, True, False)(values, batch)
    for k in (0, 3, len(values) - 1):
        direction = torch.randn_like(values[k])
        moved = [[v + s * 1e-5 * direction if j == k else v for j, v in enumerate(values)] for s in (1, -1)]
        up, down = (float(losses(model, dict(zip(names, m)), True, batch)[0]) for m in moved)
        assert abs((up - down) / 2e-5 - float((gradients[k] * direction).sum())) < 1e-6 * (1 + abs(float(loss)))


def test_training_learns_and_resume_gives_the_same_bits(file, tmp_path):
    errors = stage(file, tmp_path / "whole", epochs=6).train(quiet=True)
    losses = [row["loss"] for row in history(tmp_path / "whole")]
    assert losses[-1] < 0.5 * losses[0]
    assert "forces Cu" in (tmp_path / "whole/report.txt").read_text() and (tmp_path / "whole/parity.png").exists()
    stage(file, tmp_path / "parts", epochs=6, max_time="0:00:00").train(quiet=True)  # stops within the first epoch
    stage(file, tmp_path / "parts", epochs=6).train(quiet=True, resume=True)
    stage(file, tmp_path / "again", epochs=6).train(quiet=True)
    whole, again, parts = (folder.load(tmp_path / n)[1] for n in ("whole", "again", "parts"))
    assert all(np.array_equal(whole[k], again[k]) and np.array_equal(whole[k], parts[k]) for k in whole)
    assert errors["train"].mae("forces") < 1.0
    with pytest.raises(InputError, match="--resume"):
        stage(file, tmp_path / "whole").train(quiet=True)


def test_a_cosine_ends_where_the_time_does(file, tmp_path):
    """A training that is stopped by the clock has come down to its lowest rate, as one that ends by its epochs has."""
    from plugins.equivariant.training.processes import Processes

    ticks = iter(range(10**6))
    trainer, _ = stage(file, tmp_path / "m", epochs=1000, max_time="0:00:30").begin(
        Processes(), lambda line: None, clock=lambda: float(next(ticks)))
    (tmp_path / "m").mkdir()
    assert trainer.fit() == "the time is up" and trainer.state["steps"] == 31
    rates = [row["rate"] for row in trainer.state["history"]]
    assert rates[0] > 0.9 * trainer.how.rate and rates[-1] < 0.02 * trainer.how.rate


def test_muon_goes_where_adam_does_not():
    """A product of two matrices, W x, with inputs that are nearly parallel, as radial functions are: Adam is slow there.

    An update's elements have the rate as their root mean square, and matrices in stacks are treated one by one.
    """
    from plugins.equivariant.training.muon import Muon, orthogonal

    torch.manual_seed(0)
    stack = torch.randn(3, 7, 12) @ torch.diag(torch.logspace(0, -1, 12))
    found = orthogonal(stack)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5 and values.max() < 1.3
    assert torch.allclose(found[1], orthogonal(stack[1]), atol=1e-5) and torch.allclose(orthogonal(stack.mT), found.mT, atol=1e-5)

    x = torch.randn(400, 16) @ torch.diag(torch.logspace(0, -1, 16)) @ torch.linalg.qr(torch.randn(16, 16))[0]
    target, vector = x @ torch.randn(16, 8), torch.tensor([0.3])
    left = {}
    for kind, make in (("muon", Muon), ("adam", torch.optim.Adam)):
        w, v = torch.nn.Parameter(torch.zeros(16, 8)), torch.nn.Parameter(vector.clone())
        optimizer = make([w, v], 0.02)
        for k in range(400):
            optimizer.param_groups[0]["lr"] = 0.02 * (1 - k / 400)
            optimizer.zero_grad()
            loss = (x @ w - target).square().mean() + (v - 1).square().sum()
            loss.backward()
            before = w.detach().clone()
            optimizer.step()
            if kind == "muon" and k == 0:
                assert 0.012 < (w - before).square().mean().sqrt() < 0.028
        with torch.no_grad():
            left[kind] = float((x @ w - target).square().mean())
            assert abs(float(v) - 1) < 0.02
    assert left["muon"] < 1e-3 * left["adam"], left


def stopping(monkeypatch, at):
    """Have a training get SIGTERM in step `at`."""
    original, calls = Trainer.update, []

    def update(self, rows):
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, rows)
    monkeypatch.setattr(Trainer, "update", update)


@pytest.mark.parametrize("at", [3, 4])  # of two batches in an epoch
def test_stop_between_batches_and_resume(file, tmp_path, monkeypatch, at):
    """Stopped by a signal, in the middle of an epoch or at its end, the next run continues with the very next batch."""
    stage(file, tmp_path / "whole", epochs=3).train(quiet=True)
    with monkeypatch.context() as patch:
        stopping(patch, at)
        stage(file, tmp_path / "parts", epochs=3).train(quiet=True)
    told = (tmp_path / "parts/report.txt").read_text()
    assert ("stopped: SIGTERM" in told) and folder.load(tmp_path / "parts")[0].species == ["Au", "Cu"]
    stage(file, tmp_path / "parts", epochs=3).train(quiet=True, resume=True)
    a, b = (folder.load(tmp_path / n)[1] for n in ("whole", "parts"))
    assert all(np.array_equal(a[k], b[k]) for k in a)


def history(path):
    return json.loads((path / "report.json").read_text())["history"]


def test_a_training_that_has_ended_does_not_go_on(file, tmp_path):
    """Stopped early, it is as long after --resume as before; with more patience it goes on."""
    short = dict(epochs=20, patience=1, optimizer=Optimizer(rate=0.3, warmup=0, schedule="constant"))
    stage(file, tmp_path / "m", **short).train(quiet=True)
    ended = len(history(tmp_path / "m"))
    assert ended < 20
    stage(file, tmp_path / "m", **short).train(quiet=True, resume=True)
    assert len(history(tmp_path / "m")) == ended
    stage(file, tmp_path / "m", **short | dict(patience=ended + 2, epochs=ended + 2)).train(quiet=True, resume=True)
    assert len(history(tmp_path / "m")) == ended + 2


@pytest.mark.parametrize("what, change", [
    ("seed", dict(seed=1)), ("loss", dict(loss=batches.Loss(1.0, 2.0, 1.0))), ("batch", dict(batch=BatchSize(2))),
    ("optimizer", dict(optimizer=Optimizer(rate=0.02, warmup=2))), ("split", dict(split=splits.Split("frame", 0.5, 0.0))),
    ("frames", dict(data="other")), ("model", dict(model={**MODEL, "cutoff": 4.2})),
    ("model", dict(shifts={"Cu": -3.0, "Au": 0.0})), ("model", dict(scales="species"))])
def test_a_training_goes_on_with_what_it_began_with(file, tmp_path, what, change):
    stage(file, tmp_path / "m", epochs=1).train(quiet=True)
    if what == "frames":
        other = labelled()
        other[3].calc.results["energy"] += 1e-3
        write(tmp_path / "other.xyz", other, format="extxyz")
        change = dict(data=frames.Source([str(tmp_path / "other.xyz")]))
    with pytest.raises(InputError, match=f"another {what}.*--force"):
        stage(file, tmp_path / "m", epochs=2, **change).train(quiet=True, resume=True)


def test_a_compiler_that_says_nothing_is_a_reason_as_well(file, tmp_path, monkeypatch):
    def fails(*given, **named):
        raise AssertionError
    monkeypatch.setattr(torch, "compile", fails)
    trainer, _ = stage(file, tmp_path / "m", compile=True).begin(Processes(), lambda line: None)
    trainer.step(trainer.parameters, trainer.labels.batch(trainer.order(0)[0], trainer.shape))
    assert trainer.step.note == "eager, as it could not be compiled (AssertionError: )"


def test_a_core_that_is_given_leaves_the_others_to_the_data(file, tmp_path):
    """Written in either order."""
    found = {}
    for name, cores in (("data", {}), ("one", {"Au-Cu": 1.5})):
        it = stage(file, tmp_path / name, model={**MODEL, "species": ["Cu", "Au"], "zbl": True, "cores": cores})
        found[name] = it.begin(Processes(), lambda line: None)[1].description.cores
    assert found["one"] == {**{k: v for k, v in found["data"].items() if k not in ("Au-Cu", "Cu-Au")}, "Au-Cu": 1.5}
    assert len(found["one"]) == 3


def test_keys_that_would_do_nothing(file, tmp_path):
    with pytest.raises(InputError, match="features, readout_depth would do nothing: message passing has"):
        stage(file, tmp_path / "m", model=dict(architecture="message-passing", features=64, readout_depth=2)).train(quiet=True)
    stage(file, tmp_path / "m", epochs=1).train(quiet=True)
    with pytest.raises(InputError, match="scales are those of start"):
        stage(file, tmp_path / "n", start=str(tmp_path / "m"), model={}, scales="species").train(quiet=True)


def test_labels_that_the_loss_asks_for(file, tmp_path, capsys):
    """Missing in a part: refused if nothing else is there to learn from or to judge by, else said."""
    bare = labelled(4, seed=1)
    for atoms in bare:
        del atoms.calc.results["forces"]
    write(tmp_path / "bare.xyz", bare, format="extxyz")
    source = frames.Source([str(tmp_path / "bare.xyz")])
    with pytest.raises(InputError, match="asks for forces, and no frame of the validation part"):
        stage(file, tmp_path / "x", loss=batches.Loss(0.0, 1.0), validation_data=source).train(quiet=True)
    with pytest.raises(InputError, match="asks for nothing"):
        stage(file, tmp_path / "x", loss=batches.Loss(0.0, 0.0)).train(quiet=True)
    stage(file, tmp_path / "x", epochs=1, validation_data=source, loss=batches.Loss(1.0, 1.0)).train()
    assert "no frame of the validation part has forces" in capsys.readouterr().out


def test_fine_tuning_starts_from_the_earlier_model(file, tmp_path):
    """Weights of the first; shifts and dtype too, unless others are asked for."""
    first = stage(file, tmp_path / "first", epochs=8).train(quiet=True)
    gently = dict(model={}, start=str(tmp_path / "first"), epochs=1, optimizer=Optimizer(rate=1e-6))
    tuned = stage(file, tmp_path / "tuned", **gently).train(quiet=True)
    assert abs(tuned["train"].rmse("forces") / first["train"].rmse("forces") - 1) < 0.1

    moved = labelled()  # the same, counted from other zeros
    for atoms in moved:
        atoms.calc.results["energy"] += sum({"Cu": -1000.0, "Au": -500.0}[s] for s in atoms.symbols)
    write(tmp_path / "moved.xyz", moved, format="extxyz")
    before = folder.load(tmp_path / "first")[1]["shifts"]
    for how in ("fit", {"Au": before[0] - 500.0, "Cu": before[1] - 1000.0}):
        found = stage(str(tmp_path / "moved.xyz"), tmp_path / "moved", shifts=how,
                      **gently | dict(model={"dtype": "float64"})).train(quiet=True, force=True)
        assert found["train"].rmse("energy") < 1.2 * first["train"].rmse("energy")
        d, arrays = folder.load(tmp_path / "moved")
        assert d.dtype == "float64" and all(a.dtype == np.float64 for a in arrays.values())
        assert np.allclose(arrays["shifts"], before - [500.0, 1000.0], atol=1.0)


def test_two_processes_give_the_same_losses(file, tmp_path):
    """Also where there is nothing for the second one, in the last batch and in validation."""
    code = ("how = dict(epochs=2, model=dict(MODEL, dtype='float64'), split=splits.Split('frame', 0.125, 0.0))\n"
            f"stage({file!r}, sys.argv[1], **how).train(quiet=True)")
    for a, b in zip(*histories(code, __file__, tmp_path), strict=True):
        assert abs(a["loss"] / b["loss"] - 1) < 1e-9 and abs(a["score"] / b["score"] - 1) < 1e-9


def test_wrong_input_is_one_line(file, tmp_path):
    with pytest.raises(InputError, match="unknown key 'lmax'.*l_max"):
        stage(file, tmp_path / "x", model=dict(MODEL, lmax=2)).train(quiet=True)
    with pytest.raises(InputError, match="does not know Au; it has: Cu"):
        stage(file, tmp_path / "x", model=dict(MODEL, species=["Cu"]), shifts={"Cu": 0.0}).train(quiet=True)
    with pytest.raises(InputError, match="does not exist"):
        stage("nothing.xyz", tmp_path / "x").train(quiet=True)
    write(tmp_path / "bare.xyz", Atoms("Cu"), format="extxyz")
    with pytest.raises(InputError, match="no frame has energy or forces"):
        stage(str(tmp_path / "bare.xyz"), tmp_path / "x", split=splits.Split("frame", 0, 0)).train(quiet=True)


def hostile(images, how):
    """Labels, cells and keys that somebody might write."""
    first = images[0]
    if how == "text for an energy":
        first.calc, first.info["REF_energy"] = None, "none"
    elif how == "a vector for an energy":
        first.calc, first.info["REF_energy"] = None, np.ones(2)
    elif how == "text for forces":
        first.calc = None
        first.arrays["REF_forces"] = np.full((len(first), 3), "much")
    elif how == "text for a stress":
        first.calc, first.info["REF_stress"] = None, "none"
    elif how in ("cell vectors on a line", "virial without a volume"):
        first.set_cell([[8, 0, 0], [4, 0, 0], [0, 0, 8]])
        if "virial" in how:
            first.info["virial"] = np.eye(3)


@pytest.mark.parametrize("how, says", [
    ("text for an energy", "frame 0: 'REF_energy' = 'none' is not made of numbers"),
    ("a vector for an energy", "frame 0: 'REF_energy' has shape"), ("text for forces", "'REF_forces' = "),
    ("text for a stress", "'REF_stress' = 'none'"), ("cell vectors on a line", "frame 0: cell vectors on one line"),
    ("virial without a volume", "frame 0: a virial needs a cell with a volume"),
    ("split = { seed = -1 }", "stage[0].split.seed = -1"), ("split = { train = -1 }", "stage[0].split.train = -1"),
    ("split = { train = 0 }", "stage[0].split.train = 0"), ("split = { test = -0.1 }", "stage[0].split.test = -0.1"),
    ("split = { validation = -0.5 }", "stage[0].split.validation = -0.5"),
    ("split = { block = 0 }", "stage[0].split.block = 0"),
    ("model = { species = [29, 79] }", "species = [29, 79] must be chemical symbols"),
    ("model = { species = ['Cu', 'Cu', 'Au'] }", "must be chemical symbols, each once"),
    ("model = { species = 'Cu' }", "must be chemical symbols"), ("scales = { Cu = 1.0 }", "scales: none is given for Au"),
    ("batch = { frames = 0 }", "stage[0].batch.frames"), ("seed = -1", "stage[0].seed"), ("epochs = 0", "stage[0].epochs"),
    ("patience = 0", "stage[0].patience"), ("max_time = 'soon'", "hours:minutes"), ("optimizer = { rate = -1 }", "rate"),
    ("optimizer = { ema = 2 }", "ema"), ("loss = { forces = -1 }", "forces"),
    ("scales = 'two'", "stage[0].scales"), ("data = { files = ['alloy.xyz'], frames = 'all' }", "frames = 'all' must be"),
])
def test_hostile_input_ends_in_one_line(tmp_path, monkeypatch, capsys, how, says):
    from engine.cli import main

    monkeypatch.chdir(tmp_path)
    images = labelled(6)
    hostile(images, how)
    write("alloy.xyz", images, format="extxyz")
    key = how.split(" = ")[0]
    lines = {"data": "data = { files = ['alloy.xyz'] }", "split": "split = { by = 'frame' }", "shifts": "shifts = 'mean'",
             "model": "model = { cutoff = 4.0, l_max = 1, layers = 1, channels = 4 }", "epochs": "epochs = 1"}
    text = "\n".join((lines | ({key: how} if "=" in how else {})).values())
    (tmp_path / "train.toml").write_text(f"[run]\nthreads = 1\n[[stage]]\nkind = 'train'\n{text}\n")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["train", "train.toml", "-q"])
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and says in error and "\n" not in error
