"""Models in use: trained, run and resumed from the command line, relaxed in batches, compiled ahead of time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import read, write
from test_kernel import SMALL, box, save
from test_training import MODEL, labelled

from engine import testing
from engine.cli import main
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.equivariant import ahead, convert, folder, screening, torch_runner, track
from plugins.equivariant.description import Description
from plugins.equivariant.models import build
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.screening import relax_files
from plugins.equivariant.torch_runner import TorchRunner


def toml(table):
    return "{ " + ", ".join(f"{k} = {v!r}" for k, v in table.items()).replace("'", '"') + " }"


def test_train_and_run_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("copper.xyz", labelled(6, symbols="Cu"), format="extxyz")
    (tmp_path / "train.toml").write_text(f"""
        [run]
        threads = 1
        [[stage]]
        kind = "train"
        folder = "copper"
        data = {{ files = ["copper.xyz"] }}
        split = {{ by = "frame", validation = 0.2, test = 0.2 }}
        model = {toml(MODEL)}
        loss = {{ stress = 1.0 }}
        epochs = 2
        compile = false
        """)
    with pytest.raises(SystemExit) as stop:
        main(["train", "train.toml", "--nonsense"])
    assert stop.value.code == 2
    main(["train", "train.toml", "--check"])
    main(["train", "train.toml", "-q"])
    assert (tmp_path / "copper/parity.png").stat().st_size > 1000 and (tmp_path / "copper/learning.png").exists()
    with pytest.raises(SystemExit) as stop:  # what is there is not overwritten
        main(["train", "train.toml", "-q"])
    assert stop.value.code == 2
    (tmp_path / "run.toml").write_text("""
        [system]
        crystal = { structure = "fcc", species = "Cu", a = 3.7 }
        replicate = [2, 2, 2]
        velocities = { temperature = 200 }
        [potential]
        kind = "equivariant"
        model = "copper"
        [output]
        thermo = 5
        [[stage]]
        integrator = "nve"
        steps = 10
        timestep = 1.0
        """)
    main(["run", "run.toml", "-q"])
    assert (tmp_path / "run.h5md").exists()


def test_energy_is_conserved_and_a_run_is_repeated_bit_for_bit(tmp_path):
    save(tmp_path, **{**SMALL, "dtype": "float32"})
    ends = []
    for _ in range(2):
        sim = Simulation.from_atoms(box(), Equivariant(str(tmp_path)), NVE(timestep=0.25), temperature=100, seed=1)
        sim.run(0)
        start = sim.conserved()[0]
        sim.run(200)
        assert abs(sim.conserved()[0] - start) < 2e-3 * sim.kinetic_energy()[0] + 1e-3
        ends.append(sim.state.positions[: sim.state.n].copy())
    assert np.array_equal(*ends)


def test_many_structures_relax_together(tmp_path):
    """One batch gives what each structure gives alone."""
    save(tmp_path / "model", **{**SMALL, "zbl": True})
    images = [box(12, seed=k) for k in (1, 2)] + [Atoms("OH2", [[0, 0, 0], [1.0, 0, 0], [-0.3, 0.95, 0]])]
    write(tmp_path / "in.xyz", images, format="extxyz")
    lines = list(relax_files([str(tmp_path / "in.xyz")], str(tmp_path / "model"), str(tmp_path / "out.xyz"), 0.05, None, 400))
    out = read(tmp_path / "out.xyz", ":")
    assert len(lines) == len(out) == 3 and all("in.xyz" in line for line in lines)
    for before, after in zip(images, out):
        found = testing.evaluate(Equivariant(str(tmp_path / "model")), after, {"energy", "forces"})
        assert np.allclose(found.energy, after.get_potential_energy(), atol=1e-4)
        assert found.energy < testing.evaluate(Equivariant(str(tmp_path / "model")), before, {"energy"}).energy
        if after.info["converged"]:
            assert np.linalg.norm(found.forces, axis=1).max() < 0.06
    assert any(after.info["converged"] for after in out)
    with pytest.raises(InputError, match="--overwrite"):
        list(relax_files([str(tmp_path / "in.xyz")], str(tmp_path / "model"), str(tmp_path / "out.xyz")))


def test_a_relaxed_structure_is_what_it_was_elsewhere(tmp_path):
    """Its constraints, its tags and what is written beside it; open directions stay open; its stress where the cell moves."""
    save(tmp_path / "model", **{**SMALL, "zbl": True})
    whole, slab = box(12, seed=1), box(12, seed=2)
    slab.pbc[2] = False
    slab.cell[2] = 0
    slab.set_constraint(FixAtoms([0, 3]))
    for k, atoms in enumerate((whole, slab)):
        atoms.info.update(id=f"mp-{k}", energy=-1.0, REF_energy=-1.0, virial=np.eye(3))  # labels of where it was are not kept
        atoms.set_tags(range(12))
    model = str(tmp_path / "model")
    write(tmp_path / "in.traj", [slab])
    list(relax_files([str(tmp_path / "in.traj")], model, str(tmp_path / "slab.xyz"), 0.05, None, 30))
    found = read(tmp_path / "slab.xyz")
    assert not {"REF_energy", "virial"} & set(found.info) and found.get_potential_energy() != -1.0
    assert found.info["id"] == "mp-1" and list(found.get_tags()) == list(range(12)) and not found.cell[2].any()
    assert list(found.constraints[0].index) == [0, 3] and np.allclose(found.positions[[0, 3]], slab.positions[[0, 3]])
    write(tmp_path / "whole.traj", [whole])
    list(relax_files([str(tmp_path / "whole.traj")], model, str(tmp_path / "whole.xyz"), 0.05, "flexible", 3))
    after = read(tmp_path / "whole.xyz")
    now = testing.evaluate(Equivariant(model), after, {"virial"})
    assert np.allclose(after.get_stress(voigt=False), -now.virial[0] / after.get_volume(), atol=1e-5)


def test_structures_that_fail_are_named_and_the_others_relax(tmp_path, monkeypatch, capsys):
    """On one place, of unknown species, without atoms, in a batch with good ones: whichever is asked first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(screening, "ATOMS", 60)
    save("model", **SMALL)
    close, strange = box(12, seed=3), box(12, seed=4)
    close.positions[7] = close.positions[2]
    strange.symbols[5] = "Na"
    write("in.xyz", [box(12, seed=1), close, box(12, seed=2), strange, box(12, seed=5), box(12, seed=6)], format="extxyz")
    with pytest.raises(SystemExit) as stop:
        main(["relax", "in.xyz", "--model", "model", "--output", "out.xyz", "--force", "5"])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert stop.value.code == 2 and "2 of 6 structures failed" in said.err and len(lines) == 6
    assert [line.split(":")[1] for line in lines if "failed" in line] == ["1", "3"] and "knows no Na" in lines[3]
    assert [a.info["source"] for a in read("out.xyz", ":")] == [f"in.xyz:{k}" for k in (0, 2, 4, 5)]
    assert not Path("out.part.xyz").exists()
    Path("out.part.xyz").write_text("of a run that was killed")
    for arguments, reason in ((["in.xyz", "--output", "out.xyz"], "out.xyz exists"),
                              (["in.xyz", "--output", "nowhere/out.xyz"], "nowhere/out.xyz cannot be written: No such file"),
                              (["in.xyz", "--output", "other.xyz", "--force", "-1"], "must be positive")):
        refused(capsys, ["relax", *arguments, "--model", "model"], reason)
    Path("out.xyz").unlink()
    refused(capsys, ["relax", "in.xyz", "--output", "out.xyz", "--model", "model"], "out.part.xyz exists")
    write("bad.xyz", strange, format="extxyz")
    refused(capsys, ["relax", "bad.xyz", "--output", "none.xyz", "--model", "model"], "all structures failed")
    assert not list(tmp_path.glob("none*"))


def refused(capsys, arguments, reason):
    """A command that ends with exit code 2 and one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and len(error.splitlines()) == 1 and reason in error, error


def damaged(path, architecture="local", **changed):
    """A model folder whose weights do not fit it: an array dropped (None), or another in its place."""
    model = build(Description(architecture=architecture, layers=1, **SMALL))
    arrays = folder.from_model(model) | changed
    folder.save(path, model.description, {name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("architecture, changed, reason", [
    ("local", {"first.weight": None}, "'first.weight' is not there"),
    ("local", {"readout.layers.1.weight": np.ones((8, 2))}, "is of shape (8, 2), and should be of shape (8, 1)"),
    ("message-passing", {"scales": None}, "'scales' is not there"),
    ("message-passing", {"embedding": None}, "Missing key(s) in state_dict: \"embedding\""),
    ("message-passing", {"readout.0.weight": np.ones((5, 9))}, "size mismatch for readout.0.weight"),
])
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, architecture, changed, reason, backend):
    damaged(tmp_path, architecture, **changed)
    with pytest.raises(InputError) as refusal:
        Equivariant(str(tmp_path), backend=backend).bind(["O", "H"])
    assert reason in str(refusal.value) and str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("text, reason", [("format = 1\nmodel = 3\n", "model = 3 must be a table"),
                                          ("format = 1\nabout = 3\n", "about = 3 must be a table"),
                                          ("format = 2\n", "this version reads 1"), ("format", "model.toml: ")])
def test_descriptions_that_are_none_are_refused_by_commands(tmp_path, monkeypatch, capsys, text, reason):
    monkeypatch.chdir(tmp_path)
    save("model", **SMALL)
    Path("model/model.toml").write_text(text)
    refused(capsys, ["compile", "model"], reason)


def test_a_compilation_replaces_nothing_but_a_package_and_only_when_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ahead, "_compile", lambda function, arguments, axes, path: path.write_bytes(b"new"))
    monkeypatch.setattr(ahead, "_difference", lambda *arguments: 0.0)
    save("water", **SMALL)
    held = {path.name for path in Path("water").iterdir()}
    refused(capsys, ["compile", "water", "--output", "water", "--force"], "water holds 'model.toml', so it is no package")
    refused(capsys, ["compile", "water", "--output", "water/model.toml"], "water/model.toml is a file")
    assert {path.name for path in Path("water").iterdir()} == held
    main(["compile", "water", "--output", "package"])
    Path("package/whole.pt2").write_bytes(b"old")
    refused(capsys, ["compile", "water", "--output", "package"], "package holds a package")
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "_difference", lambda *arguments: 1.0)
        refused(capsys, ["compile", "water", "--output", "package", "--force"], "differs from the plain one")
    assert Path("package/whole.pt2").read_bytes() == b"old"
    main(["compile", "water", "--output", "package", "--force"])
    assert Path("package/whole.pt2").read_bytes() == b"new"
    assert {path.name for path in tmp_path.iterdir()} == {"water", "package"}


def test_a_conversion_asks_before_it_replaces_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("theirs.ckpt").write_bytes(b"")
    save("model", **SMALL)
    refused(capsys, ["convert", "theirs.ckpt", "other", "--trust", "--python", "/nope"], "--python /nope: No such file")
    refused(capsys, ["convert", "theirs.ckpt", "model", "--trust"], "model holds a model; name another folder, or say --force")
    monkeypatch.setattr(convert, "read_foreign",
                        lambda *arguments: convert.read_arrays(Path(__file__).with_name("nequip_small.safetensors")))
    main(["convert", "theirs.ckpt", "model", "--trust", "--force"])
    assert folder.load("model")[0].architecture == "message-passing"


def test_compiled_code_is_for_one_device(tmp_path, monkeypatch, capsys):
    """What is made for a processor does not run on a GPU, whose own is kept beside it; a GPU takes all atoms at once."""
    save(tmp_path / "model", **SMALL)
    refused(capsys, ["compile", str(tmp_path / "model"), "--device", "cuda"], 'device = "cuda": torch sees no GPU')
    refused(capsys, ["compile", str(tmp_path / "model"), "--device", "gpu"], "--device gpu; allowed: cpu, cuda")
    with pytest.raises(InputError, match="torch sees no GPU"):
        testing.evaluate(Equivariant(str(tmp_path / "model"), device="cuda", backend="compiled"), box(), {"forces"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    here, there = ahead.machine(), ahead.machine("cuda")
    assert there["processor"] == "some GPU (9, 0)" and "threads" in here and "threads" not in there
    (tmp_path / "package.json").write_text(json.dumps(here))
    with pytest.raises(InputError, match="was compiled for device = cpu, here it is cuda"):
        ahead.load_packages(tmp_path, *folder.load(tmp_path / "model"), "cuda")
    assert len(torch_runner._cuts(1000, torch.device("cpu"))) > 1 and torch_runner._cuts(7, torch.device("cuda")) == [(0, 7)]


def test_foreign_arrays_become_ours_and_back(tmp_path):
    """`convert` undoes the order in which the other code stores weights: written by hand from a model of ours."""
    torch.manual_seed(4)
    d = Description(species=["Cu"], cutoff=4.0, l_max=2, channels=3, features=4, embedding_width=5, latent_width=6,
                    readout_width=7, neighbors=12.0, dtype="float64")
    ours = {k: v.numpy() for k, v in build(d).state_dict().items()}
    by_channel = np.arange(9).reshape(3, 3).T.ravel()  # (degree, channel) -> (channel, degree)

    def theirs(matrix, scalars=0):
        return np.concatenate([matrix[:, :scalars], matrix[:, scalars:][:, by_channel]], 1)
    arrays = {
        "radial_chemical_embed.type_embed.center_embed.weight": ours["embedding.centre"],
        "radial_chemical_embed.type_embed.neighbor_embed.weight": ours["embedding.neighbour"],
        "radial_chemical_embed.type_embed.basis_linear.mlp.0.weight": ours["embedding.radial.weight"],
        "scalar_embed_mlp.mlp_module.mlp.0.weight": ours["two_body.layers.0.weight"],
        "scalar_embed_mlp.mlp_module.mlp.2.weight": ours["two_body.layers.1.weight"],
        "tensor_embed.env_embed_linear.mlp.0.weight": theirs(ours["initial.weight"]),
        "allegro.first_layer_env_embed_projection.mlp.0.weight": theirs(ours["first.weight"], 4),
        "edge_readout.mlp_module.mlp.0.weight": ours["readout.layers.0.weight"],
        "edge_readout.mlp_module.mlp.2.weight": ours["readout.layers.1.weight"],
        "per_type_energy_scale_shift.scales": np.array([[1.0]]), "per_type_energy_scale_shift.shifts": np.array([[0.0]]),
    }
    for k in range(len(track.layers(2, True, 2))):
        arrays[f"allegro.tps.{k}.weights"] = ours[f"products.{k}.weight"]
        arrays[f"allegro.latents.{k}.mlp.0.weight"] = ours[f"latents.{k}.layers.0.weight"]
        last = ours[f"latents.{k}.layers.1.weight"]
        arrays[f"allegro.latents.{k}.mlp.2.weight"] = theirs(last, 4) if k == 0 else last
    hyper = {"_target_": "allegro.model.AllegroModel", "type_names": ["Cu"], "r_max": 4.0, "l_max": 2, "num_layers": 2,
             "num_tensor_features": 3, "num_scalar_features": 4, "scalar_embed_mlp_hidden_layers_depth": 1,
             "scalar_embed_mlp_hidden_layers_width": 5, "allegro_mlp_hidden_layers_depth": 1,
             "allegro_mlp_hidden_layers_width": 6, "readout_mlp_hidden_layers_depth": 1,
             "readout_mlp_hidden_layers_width": 7, "avg_num_neighbors": 12.0, "model_dtype": "float64",
             "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8}}
    found, converted = convert.translate(arrays, hyper)
    assert found == d and set(converted) == set(ours)
    assert all(np.array_equal(converted[k], ours[k]) for k in ours)
    with pytest.raises(InputError, match="pair_potential = 'ZBL' has no counterpart"):
        convert.translate(arrays, {**hyper, "pair_potential": "ZBL"})
    with pytest.raises(InputError, match="--trust"):
        convert.convert(tmp_path / "some.ckpt", tmp_path / "out")


def test_a_nequip_checkpoint_becomes_ours(tmp_path):
    """Of four layers with both parities and unlike numbers of channels; ``reference`` is what nequip 0.19 gives for `box`."""
    arrays, hyper, layers = convert.read_arrays(Path(__file__).with_name("nequip_small.safetensors"))
    energy, forces = (arrays.pop(f"reference.{name}") for name in ("energy", "forces"))
    d, ours = convert.translate(arrays, hyper, layers)
    assert (d.architecture, d.layers, d.l_max, d.parity, d.channels) == ("message-passing", 4, 1, True, 5)
    folder.save(tmp_path, d, ours)
    folder.to_model(tmp_path)
    out = testing.evaluate(Equivariant(str(tmp_path), backend="torch"), box(), {"energy", "forces"})
    assert np.allclose(out.energy, energy, atol=1e-7)
    assert np.abs(forces).max() > 0.05 and np.abs(out.forces - forces).max() < 1e-7  # positions were rounded
    for change in ({"pair_potential": "ZBL"}, {"readout_mlp_hidden_layers_depth": 1}, {"avg_num_neighbors": {"O": 1.0}}):
        with pytest.raises(InputError, match=f"{next(iter(change))} = .* has no counterpart"):
            convert.translate(arrays, hyper | change, layers)
    layers[2]["gains"]["scalars"][1][0] = "abs"
    with pytest.raises(InputError, match="activations silu, abs, silu, silu in layer 2 has no counterpart"):
        convert.translate(arrays, hyper, layers)


def test_packages_from_outside_need_trust_and_the_right_machine(tmp_path):
    save(tmp_path / "model", **SMALL)
    with pytest.raises(InputError, match="trust = true"):
        Equivariant(str(tmp_path / "model"), package=str(tmp_path / "package"))
    d, arrays = folder.load(tmp_path / "model")
    (tmp_path / "package").mkdir()
    with pytest.raises(InputError, match="package.json is missing"):
        ahead.load_packages(tmp_path / "package", d, arrays)
    about = {**ahead.machine(), "weights": ahead.weights_hash(d, arrays)}
    (tmp_path / "package/package.json").write_text("[]")
    with pytest.raises(InputError, match="was compiled for form = None"):
        ahead.load_packages(tmp_path / "package", d, arrays)
    (tmp_path / "package/package.json").write_text(json.dumps({**about, "torch": "1.0"}))
    with pytest.raises(InputError, match="compiled for torch = 1.0, here it is"):
        ahead.load_packages(tmp_path / "package", d, arrays)
    (tmp_path / "package/package.json").write_text(json.dumps(about))
    (tmp_path / "package/whole.pt2").write_bytes(b"PK truncated")
    with pytest.raises(InputError, match="whole.pt2 cannot be loaded"):
        ahead.load_packages(tmp_path / "package", d, arrays)


@pytest.mark.parametrize("tile", [5, 24])
@pytest.mark.parametrize("architecture", ["local", "message-passing"])
def test_segments_that_are_compiled_are_those_of_the_model(tmp_path, monkeypatch, architecture, tile):
    """What is compiled ahead of time, run uncompiled through the path that compiled code takes, in one tile and in several."""
    monkeypatch.setattr(torch_runner, "TILE", tile)
    settings = {k: v for k, v in SMALL.items() if k not in ("channels", "features")}
    model = build(Description(architecture=architecture, l_max=1, layers=2, channels=4, features=8, **settings))
    folder.save(tmp_path, model.description, folder.from_model(model))
    needs = {"energy", "forces", "virial"}
    plain, other = Equivariant(str(tmp_path), backend="torch"), Equivariant(str(tmp_path), backend="torch")
    packages = ahead.functions(model.requires_grad_(False))
    other._runner = TorchRunner(model, packages=packages)
    alone = Atoms("OHOHH", [[20.0 * k, 0, 0] for k in range(5)])
    for atoms in (box(), Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.1]]), alone):
        a, b = (testing.evaluate(p, atoms, needs if atoms.pbc.all() else {"energy", "forces"}) for p in (plain, other))
        assert np.allclose(a.energy, b.energy, atol=1e-12) and np.allclose(a.forces, b.forces, atol=1e-11)


def test_what_cannot_be_compiled_runs_eagerly_and_says_so(tmp_path, monkeypatch, capsys):
    model = build(Description(architecture="message-passing", l_max=1, layers=1, channels=4, **{
        k: v for k, v in SMALL.items() if k not in ("channels", "features")}))
    folder.save(tmp_path, model.description, folder.from_model(model))
    expected = testing.evaluate(Equivariant(str(tmp_path), backend="torch"), box(), {"forces"}).forces

    def fails(*arguments):
        raise RuntimeError("C++ compile error\nlong story")
    for name, replacement, reason in (("which", lambda *a, **k: None, "needs a C\\+\\+ compiler"),
                                      (None, fails, "RuntimeError: C\\+\\+ compile error\\)")):
        with monkeypatch.context() as patch:
            patch.setenv("ENGINE_CACHE", str(tmp_path / "cache"))
            patch.setattr(*((ahead.shutil, "which") if name else (ahead, "_compile")), replacement)
            out = testing.evaluate(Equivariant(str(tmp_path)), box(), {"forces"}).forces
            assert np.array_equal(out, expected) and "runs eagerly" in capsys.readouterr().out.replace("\n", " ")
            with pytest.raises(InputError, match=reason):
                testing.evaluate(Equivariant(str(tmp_path), backend="compiled"), box(), {"forces"})


@pytest.mark.parametrize("channels", range(1, 14))
def test_traced_sizes_are_like_no_other(channels):
    """Channels as many as the example has ghosts once gave a package for that number of ghosts or more."""
    model = build(Description(architecture="message-passing", l_max=2, layers=2, channels=channels, **{
        k: v for k, v in SMALL.items() if k not in ("channels", "features")}))
    sizes = ahead.free_sizes(model)
    assert len(set(sizes)) == 3 and not {1, 3, 9, channels} & set(sizes) and min(sizes) > 1


@pytest.mark.slow
@pytest.mark.parametrize("charges", [False, True])
@pytest.mark.parametrize("architecture", ["local", "message-passing"])
def test_compiled_ahead_of_time_equals_eager(tmp_path, architecture, charges):
    torch.manual_seed(0)
    settings = {k: v for k, v in SMALL.items() if k not in ("channels", "features")}
    model = build(Description(architecture=architecture, l_max=1, layers=2, channels=5, features=8, charges=charges, **settings))
    folder.save(tmp_path / "model", model.description, folder.from_model(model))
    ahead.compile_folder(tmp_path / "model", tmp_path / "package")
    needs = {"energy", "forces", "virial"}
    plain = testing.evaluate(Equivariant(str(tmp_path / "model"), backend="torch"), box(), needs)
    fast = testing.evaluate(Equivariant(str(tmp_path / "model"), package=str(tmp_path / "package"), trust=True), box(), needs)
    assert np.allclose(plain.forces, fast.forces, atol=1e-10) and np.allclose(plain.virial, fast.virial, atol=1e-10)


def test_copper_stays_a_crystal_of_the_right_size(tmp_path):
    """From labels of effective-medium theory to a lattice constant, with nothing else in between."""
    from plugins.equivariant.data import frames, splits
    from plugins.equivariant.training import batches
    from plugins.equivariant.training.batches import BatchSize
    from plugins.equivariant.training.loop import Optimizer
    from plugins.equivariant.training.stage import Train

    write(tmp_path / "cu.xyz", labelled(12, seed=3, symbols="Cu"), format="extxyz")
    Train(frames.Source([str(tmp_path / "cu.xyz")]), dict(MODEL, cutoff=4.5), str(tmp_path / "model"), epochs=30,
          split=splits.Split("frame", 0.1, 0.0), loss=batches.Loss(1.0, 1.0, 100.0), compile=False, batch=BatchSize(8),
          optimizer=Optimizer(rate=0.02, warmup=5)).train(quiet=True)
    write(tmp_path / "start.xyz", bulk("Cu", cubic=True, a=3.75), format="extxyz")
    list(relax_files([str(tmp_path / "start.xyz")], str(tmp_path / "model"), str(tmp_path / "end.xyz"), 0.01, "isotropic", 200))
    a = read(tmp_path / "end.xyz").cell[0, 0]
    assert abs(a - 3.59) < 0.06  # EMT's copper
