"""Training on labels made by an analytic model, and the trained model in molecular dynamics."""

import json
import os
import re
import signal
import tomllib
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from conftest import virial_by_strain
from torch_processes import histories

torch = pytest.importorskip("torch")

from elsewhere import DEVICE, Elsewhere  # noqa: E402

from engine import units  # noqa: E402
from engine.build import state_from_atoms, thermalise  # noqa: E402
from engine.cli import main  # noqa: E402
from engine.domain.domain import Domain  # noqa: E402
from engine.forces import Forces  # noqa: E402
from engine.run import Run  # noqa: E402
from engine.simulation import Simulation  # noqa: E402
from engine.testing import PotentialContract  # noqa: E402
from integrators.cell_rescaling import CellRescaling  # noqa: E402
from integrators.langevin import Langevin  # noqa: E402
from integrators.nve import NVE  # noqa: E402
from plugins.dielectric import frames as frames_  # noqa: E402
from plugins.dielectric import labels as labels_  # noqa: E402
from plugins.dielectric import storage, training  # noqa: E402
from plugins.dielectric.kernel_runner import KernelRunner  # noqa: E402
from plugins.dielectric.potential import Dielectric  # noqa: E402
from plugins.dielectric.stage import TrainDielectric  # noqa: E402
from plugins.equivariant import folder as folders  # noqa: E402
from plugins.equivariant.data.frames import Source  # noqa: E402
from plugins.equivariant.description import Description  # noqa: E402
from plugins.equivariant.training import processes  # noqa: E402
from plugins.equivariant.training.batches import BatchSize  # noqa: E402
from plugins.equivariant.training.loop import Optimizer, Trainer  # noqa: E402
from plugins.equivariant.training.processes import Processes  # noqa: E402
from potentials.dielectric_bonds import Bond, PolarizableBonds  # noqa: E402
from potentials.fields import Constant, GaussianPulse, Ramp  # noqa: E402
from potentials.pair.morse import Morse  # noqa: E402

SPECIES = ["Cl", "Na"]
SMALL = dict(species=SPECIES, cutoff=4.5, l_max=1, layers=1, channels=4, features=8, embedding_width=8, latent_width=8,
             readout_width=8, bessel=5, neighbors=14.0, dtype="float64")
NEEDS = frozenset({"energy", "forces", "virial", "polarization", "born_charges", "polarizability"})


def salt(seed, amplitude=0.15):
    atoms = Atoms("NaCl" * 4, cell=[5.0, 5.1, 5.2], pbc=True,
                  scaled_positions=[[0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0], [0.5, 0, 0.5], [0, 0, 0.5], [0, 0.5, 0.5],
                                    [0.5, 0.5, 0.5]])
    atoms.rattle(amplitude, seed=seed)
    return atoms


def labelled(seed, field=(0, 0, 0), charge=0.8, polar=0.0):
    """Labels of a Morse crystal with polarizable bonds, whose sublattices are `polar` Å apart along z; its polarization is given
    on some branch or other."""
    atoms = salt(seed)
    atoms.positions[1::2, 2] += polar
    potentials = {
        "core": Morse(depth=0.4, alpha=1.2, r0=2.5, cutoff=4.5, truncation="force-shifted"),
        "bonds": PolarizableBonds([Bond("Na-Cl", charge=charge, parallel=0.3, perpendicular=0.15, length=2.5)], cutoff=4.5),
    }
    state = state_from_atoms(atoms)
    for potential in potentials.values():
        potential.bind(state.species_names)
    forces = Forces(state, Domain(state, 4.5, 0.3, sort=False), potentials)
    forces.inputs.field = np.array([field], float)
    out, n = forces(NEEDS), len(atoms)
    whole = np.random.default_rng(seed).integers(-3, 4, 3)
    quantum = whole @ atoms.cell[:]
    atoms.info["whole"] = whole
    atoms.calc = SinglePointCalculator(atoms, energy=float(out.energy[0]), forces=out.forces[:n].copy(),
                                       stress=(-out.virial[0] / atoms.get_volume())[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    atoms.info.update(polarization=out.polarization[0] + quantum, polarizability=out.polarizability[0].copy(),
                      electric_field=np.array(field, float))
    atoms.arrays["born_charge"] = out.born_charges[:n].reshape(n, 9).copy()
    return atoms


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Frames at zero and at finite field, in the file that a user would have."""
    path = tmp_path_factory.mktemp("data") / "salt.xyz"
    write(path, [labelled(k, (0, 0, 0) if k % 3 else (0.1, -0.05, 0.2)) for k in range(12)])
    return str(path)


@pytest.fixture(scope="module")
def frames(file):
    return frames_.read(Source([file]))


def small(dtype="float64"):
    return {**{k: v for k, v in SMALL.items() if k != "species"}, "dtype": dtype}


def stage(file, folder, epochs, **changes):
    return TrainDielectric(**{**dict(
        data=Source([str(file)]), model=small(), folder=str(folder), epochs=epochs, test=0.34, field_scale=0.3,
        compile=False, batch=BatchSize(1), loss=labels_.Loss(stress=0.5),
        optimizer=Optimizer(rate=0.01, warmup=10, ema=0.995)), **changes})


def maes(errors):
    return {name: errors.mae(name) for name in errors.sums if " " not in name}


@pytest.fixture(scope="module", params=["quadratic", "full"])
def trained(request, file, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    it = stage(file, folder, 40, form=request.param)
    trainer, _ = it.begin(Processes(), lambda line: None)
    before = trainer.errors("test", trainer.parameters)
    return folder, maes(before), maes(it.train(quiet=True)["test"])


def test_labels_are_read_with_their_signs(frames):
    f, atoms = frames[0], labelled(0, (0.1, -0.05, 0.2))
    assert np.allclose(f.forces, atoms.calc.results["forces"], atol=1e-6)
    assert np.allclose(f.field, [0.1, -0.05, 0.2]) and np.allclose(frames[1].field, 0)
    assert np.allclose(f.born_charges, atoms.arrays["born_charge"].reshape(-1, 3, 3), atol=1e-6)
    assert np.allclose(f.stress, f.stress.T)


def test_every_error_falls(trained):
    _, before, after = trained
    assert set(after) == set(frames_.LABELS)
    for name, fraction in {"forces": 0.7, "polarization": 0.4, "born_charges": 0.3, "stress": 0.7}.items():
        assert after[name] < fraction * before[name], f"{name}: {before[name]:.4g} -> {after[name]:.4g}"


def test_missing_labels_do_not_train(tmp_path):
    atoms = [labelled(k) for k in range(5)]
    for a in atoms:
        del a.arrays["born_charge"], a.calc.results["energy"]
    write(tmp_path / "bare.xyz", atoms)
    found = maes(stage(tmp_path / "bare.xyz", tmp_path / "model", 1).train(quiet=True)["test"])
    assert set(found) == set(frames_.LABELS) - {"energy", "born_charges"}


def test_polarization_is_compared_modulo_its_quantum():
    cell = torch.tensor([[[4.0, 0.1, 0], [0.3, 5, 0.2], [0, 0, 6]]], dtype=torch.float64)
    small = torch.tensor([[0.2, -0.3, 0.5]], dtype=torch.float64)
    for n in ([0, 0, 0], [1, -2, 3], [5, 0, -1]):
        shifted = small + torch.tensor([n], dtype=torch.float64) @ cell[0]
        assert torch.allclose(labels_.wrapped(shifted, cell, torch.linalg.inv(cell)), small)


def ferroelectric(seed, size=4.0):
    """(own, labels, whole) in fractions: polarizations of many quanta, known modulo one, and a model's that are too small."""
    rng = np.random.default_rng(seed)
    true = np.concatenate([rng.normal([0, 0.3, size], [0.5, 0.5, 0.4], (30, 3)), rng.normal([0, 0, -1], 0.4, (6, 3))])
    whole = rng.integers(-3, 4, true.shape)
    return 0.8 * true + 0.03 * rng.normal(size=true.shape), true - whole, whole


@pytest.mark.parametrize("seed", range(5))
def test_branches_are_found_though_the_slopes_are_too_small(seed):
    own, labels, whole = ferroelectric(seed)
    found, factor, left = labels_.branches(own, labels)
    assert np.array_equal(found, whole) and factor == pytest.approx(1.25, abs=0.03) and left < 0.1
    assert not np.array_equal(np.round(own - labels), whole)  # the nearest branch is not the right one


def test_slopes_lead_to_the_branch(tmp_path):
    """Polarizations of up to two quanta with labels on any branch: Born charges come first, and all are put right."""
    atoms = [labelled(k, charge=1.6, polar=p) for k, p in enumerate(np.linspace(-0.5, 0.5, 10))]
    for a in atoms:
        a.info["smallest"] = a.info["polarization"] - a.info["whole"] @ a.cell[:]
    write(tmp_path / "polar.xyz", [*atoms, *atoms[:3]])  # the last three are held out, or seen by nobody
    spread = np.ptp([a.info["smallest"][2] / a.cell[2, 2] for a in atoms])
    assert spread > 1.5  # quanta
    said = []
    (tmp_path / "m").mkdir()
    it = stage(tmp_path / "polar.xyz", tmp_path / "m", 40, slopes=0.6, test=0.08)
    trainer, _ = it.begin(Processes(), said.append)
    trainer.fit()
    assert any("branches" in line for line in said)
    assert np.array_equal(trainer.labels.whole[:10], [-a.info["whole"] for a in atoms])
    again, _ = it.begin(Processes(), said.append)
    again.resume()
    assert np.array_equal(again.labels.whole, trainer.labels.whole)
    for mine, theirs in zip(trainer.inputs([1]), again.inputs([1]), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("at", [5, 9])  # of six batches in an epoch: before and after the polarizations join
def test_going_on_is_not_stopping(file, tmp_path, monkeypatch, at):
    """A signal in the middle of an epoch: what is resumed goes on with the next batch, to the same bits."""
    stage(file, tmp_path / "whole", 3).train(quiet=True)
    original, calls = Trainer.update, []

    def update(self, rows):
        calls.append(rows)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, rows)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", update)
        stage(file, tmp_path / "parts", 3).train(quiet=True)
    assert "stopped: SIGTERM" in (tmp_path / "parts/report.txt").read_text() and len(calls) == at
    stage(file, tmp_path / "parts", 3).train(quiet=True, resume=True)
    a, b = (folders.load(tmp_path / name)[1] for name in ("whole", "parts"))
    assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_compiled_step_is_the_plain_one(file, tmp_path):
    trainer, _ = stage(file, tmp_path, 1, compile=True).begin(Processes(), lambda line: None)
    batch, parameters = trainer.inputs([1]), [p.detach() for p in trainer.parameters]
    (plain, loss), (compiled, again) = trainer.step._plain(parameters, *batch), trainer.step(parameters, batch)
    assert trainer.step.note == "compiled" and float(again) == pytest.approx(float(loss), rel=1e-10)
    for a, b in zip(plain, compiled, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9 * float(a.abs().max()) + 1e-12)


@pytest.mark.parametrize("dtype, same", [("float64", 1e-9), ("float32", 1e-3)])
def test_two_processes_learn_what_one_does(file, tmp_path, dtype, same):
    """From the same directions of the field, before and after the polarizations join; the last batch has one frame."""
    code = f"stage({file!r}, sys.argv[1], 5, batch=BatchSize(5), model=small({dtype!r})).train(quiet=True)"
    one, two = histories(code, __file__, tmp_path)
    for a, b in zip(one, two, strict=True):
        assert abs(a["loss"] / b["loss"] - 1) < same
    assert len(one) == 5 and set(one[-1]) >= set(frames_.LABELS)
    assert all(abs(one[-1][name] / two[-1][name] - 1) < 10 * same for name in frames_.LABELS)


def test_hold_out_is_the_end_of_each_trajectory():
    rows = frames_.by_blocks(20, [12, 8], test=0.25, gap=1)
    assert rows["test"].tolist() == [9, 10, 11, 18, 19] and rows["train"].tolist() == [*range(8), *range(12, 17)]


def test_trained_model_runs_in_a_pulse(trained):
    """Its account closes at second order, and the virial that a barostat would use is that of its energy."""
    deviations = []
    for timestep in (1.0, 0.5):
        state = state_from_atoms(salt(3, 0.02))
        thermalise(state, 100, 1)
        pulse = GaussianPulse(amplitude=0.1, center=15, width=5, period=30.0, direction=[1, 1, 0])
        sim = Simulation(state, Dielectric(str(trained[0])), NVE(timestep=timestep), fields=[pulse])
        values = []
        sim.attach(lambda s, values=values: values.append(s.conserved()[0]), needs={"energy"})
        sim.run(round(40 / timestep))
        deviations.append(np.abs(np.array(values) - values[0]).max())
        assert abs(sim.account.entries["field"][0]) > 1e-5
    assert deviations[0] < 2e-3 and deviations[0] / deviations[1] == pytest.approx(4, rel=0.4)


@pytest.mark.parametrize("fixes", ["E", "D"])
def test_virial_of_a_learned_enthalpy_holds_what_is_reduced(trained, fixes):
    """In a cell that is not the one in which the field began: Ē = h·E is the same, or the charge through the faces is."""
    state = state_from_atoms(salt(3, 0.05))
    sim = Simulation(state, Dielectric(str(trained[0])), NVE(timestep=1.0), fields=[Constant([0.1, -0.05, 0.15], fixes=fixes)])
    sim.run(1)
    virial, found = virial_by_strain(sim, np.array([[0.02, 0.01, 0.0], [-0.02, 0.01, 0.0], [0.01, 0.0, -0.02]]), 1e-4)
    assert np.allclose(found, virial, atol=1e-6 * np.abs(virial).max() + 1e-6)
    assert np.allclose(virial, virial.T, atol=1e-9)


@pytest.mark.parametrize("field", [Constant([0.1, 0, 0.15]), Ramp(last=[0.1, 0.05, 0.2], start=5, end=100),
                                   Constant([0.1, 0, 0.15], fixes="D")], ids=["E", "ramp", "D"])
def test_learned_enthalpy_with_a_barostat_in_a_field(trained, field):
    """What the cell, the bath and the field give is all counted: the rest does not drift."""
    state = state_from_atoms(salt(3, 0.02))
    thermalise(state, 50, 1)
    sim = Simulation(state, Dielectric(str(trained[0])), fields=[field], seed=2)
    barostat = CellRescaling(pressure=0.0, time=500, compressibility=0.01, coupling="flexible", every=1)
    sim.set_integrator(Langevin(timestep=0.5, temperature=50, friction=0.01, barostat=barostat))
    values, start = [], state.cells.copy()
    sim.attach(lambda s: values.append(s.conserved()[0]), needs={"energy"})
    sim.run(250)
    values, half = np.array(values), 125
    assert np.abs(state.cells - start).max() > 0.01 and abs(sim.account.entries["barostat"][0]) > 1e-3
    assert np.ptp(values) < 5e-3
    assert abs(values[half:].mean() - values[:half].mean()) < 1e-3


def test_single_precision_finds_the_field_of_a_displacement(frames, tmp_path):
    storage.write(tmp_path, training.new_model(frames, Description(**{**SMALL, "dtype": "float32"}), "full", field_scale=0.3))
    state = state_from_atoms(salt(3, 0.02))
    displacement = np.array([0.1, 0.0, 0.2])
    sim = Simulation(state, Dielectric(str(tmp_path)), NVE(timestep=0.5), fields=[Constant(displacement.tolist(), fixes="D")])
    sim.run(3)
    P, E = sim.quantity("polarization")[0], sim.electric.inside(state)[0]
    assert np.allclose(E + P / (units.epsilon0 * state.volume[0]), displacement, atol=1e-5) and np.abs(P).max() > 1e-3


def test_levels_of_two_learned_enthalpies_at_a_displacement(frames, trained, tmp_path):
    """A small model corrected by a large one, each with a polarization of its own: the energy ledger is of second order."""
    storage.write(tmp_path, training.new_model(frames, Description(**SMALL), "quadratic", seed=8))
    deviations = []
    for timestep in (0.5, 0.25):
        state = state_from_atoms(salt(3, 0.02))
        thermalise(state, 50, 1)
        levels = [{"large": 0.9, "small": 0.02}, {"large": 0.1, "small": -0.02}]
        sim = Simulation(state, {"large": Dielectric(str(trained[0])), "small": Dielectric(str(tmp_path))}, levels=levels,
                         every=[1, 2], fields=[GaussianPulse(amplitude=0.1, center=15, width=5, period=30.0, fixes="D")])
        sim.set_integrator(NVE(timestep=timestep))
        values = []
        sim.attach(lambda s, values=values: values.append(s.conserved()[0]), needs={"energy"})
        sim.run(round(20 / timestep))
        deviations.append(np.abs(np.array(values) - values[0]).max())
    assert deviations[0] / deviations[1] == pytest.approx(4, rel=0.4)


def test_trained_model_restarts(trained):
    def fresh():
        state = state_from_atoms(salt(3, 0.02))
        thermalise(state, 100, 1)
        pulse = GaussianPulse(amplitude=0.1, center=15, width=5, period=30.0)
        integrator = Langevin(timestep=1.0, temperature=100, friction=0.01)
        return Simulation(state, Dielectric(str(trained[0])), integrator, fields=[pulse])

    whole, first, second = fresh(), fresh(), fresh()
    whole.run(20)
    first.begin_stage(0, 20)
    first.attach(lambda s: setattr(s, "stop_reason", "half" if s.state.step else None), every=9)
    first.proceed()
    first.hooks.clear()
    second.load_state_dict(first.state_dict())
    second.proceed()
    assert np.array_equal(whole.state.positions, second.state.positions)


TRAIN = """
[[stage]]
kind = "train-dielectric"
data.files = ["data.xyz"]
epochs = 1
compile = false
model.cutoff = 3.0
model.layers = 1
model.l_max = 1
model.channels = 2
model.latent_width = 4
"""


def pairs(count=6, pbc=True, labels=("forces", "polarization"), polarization=3):
    """Frames of two atoms with random labels: molecules, in crystals or alone."""
    rng, out = np.random.default_rng(0), []
    for _ in range(count):
        atoms = Atoms("NaCl", positions=rng.normal(size=(2, 3)) * 0.1 + [[1, 1, 1], [1, 1, 3.2]], pbc=pbc,
                      cell=np.diag(np.where(pbc, [6.0, 6, 6], 0.0)))
        if "forces" in labels:
            atoms.calc = SinglePointCalculator(atoms, energy=-1.0 + 0.1 * rng.normal(), forces=rng.normal(size=(2, 3)))
        if "polarization" in labels:
            atoms.info["polarization"] = rng.normal(size=polarization)
        out.append(atoms)
    return out


def strange(**info):
    atoms = pairs(1)[0]
    atoms.info.update(info)
    return atoms


def train(folder, frames, keys, monkeypatch):
    """`engine train` on them in a folder of its own."""
    monkeypatch.chdir(folder)
    if isinstance(frames, str):
        (folder / "data.xyz").write_text(frames)
    elif frames:
        write("data.xyz", frames)
    (folder / "train.toml").write_text(TRAIN + keys)
    main(["train", "train.toml", "--quiet"])


@pytest.mark.parametrize("frames, keys, said", [
    ([], "", "the file .*data.xyz does not exist"),
    ("not a number\nfoo\n", "", "data.xyz cannot be read"),
    (pairs(1), "", "of 1 frames none is left to train on"),
    (pairs(polarization=2), "", "data.xyz, frame 0: 'polarization' has 2 values; 3 numbers belong there"),
    ([*pairs(5), strange(field=np.full(3, np.nan))], "", "data.xyz, frame 5: 'field' is not made of numbers"),
    (pairs(), 'data.length_unit = "Bohr"', "length_unit = 'Bohr' goes with energies, forces and stresses alone"),
    (pairs(), 'model.architecture = "message-passing"', "strictly local"),
    (pairs(labels=()), "", "no frame has energy, forces, .* or polarizability under a name that is known"),
    (pairs(), "test = 2.0", "test = 2.0: must be less than 1"),
    (pairs(), "test = -1", "test = -1: must be greater than 0"),
    (pairs(), "trajectories = [0, 6]", "trajectories.0 = 0: must be greater than 0"),
    (pairs(), "batch = { frames = 0 }", "batch.frames = 0: must be greater than 0"),
    (pairs(), "optimizer = { rate = -1 }", "rate = -1: must be greater than 0"),
    (pairs(), 'optimizer = { schedule = "plateau" }', "waits for a validation, and no frames are set aside"),
    (pairs(), "loss = { forces = -1 }", "loss.forces = -1: must be greater than or equal to 0"),
    (pairs(), "loss = { dipole = 1 }", "dipole"),
    (pairs(), 'form = "full"\nfield_scale = 0', "field_scale = 0: must be greater than 0"),
    (pairs(), 'max_time = "soon"', "max_time = 'soon': must be hours:minutes"),
])
def test_training_says_in_a_line_what_is_wrong(frames, keys, said, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        train(tmp_path, frames, keys, monkeypatch)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and re.search(said, line)
    assert not (tmp_path / "model").exists()


def test_training_as_a_part_of_a_run(tmp_path, monkeypatch):
    """After a step of dynamics."""
    monkeypatch.chdir(tmp_path)
    write("data.xyz", pairs())
    (table,) = tomllib.loads(TRAIN)["stage"]
    argon = {"crystal": {"structure": "fcc", "species": "Ar", "a": 5.4}, "replicate": [2, 2, 2]}
    raw = {"system": argon, "potential": {"kind": "lj", "epsilon": 0.01, "sigma": 3.4, "cutoff": 5.0},
           "stage": [{"integrator": "nve", "timestep": 1.0, "steps": 1}, table]}
    assert Run(raw, ".").execute(quiet=True) is None and (tmp_path / "model/model.toml").exists()


def test_a_label_that_one_frame_has_does_not_take_all():
    found = [frames_.frame(Source([]), atoms, "here") for atoms in pairs()]
    found[0].polarizability = 0.3 * np.eye(3)
    found[0].polarizability[0, 0] = 0.2
    spread = labels_.spreads(found)
    assert spread["polarizability"] == pytest.approx(np.sqrt((found[0].polarizability**2).mean())) and spread["stress"] == 1


def test_what_is_learned_from_is_known_again(tmp_path, monkeypatch, capsys):
    """Other fields are other data, though all labels are the same."""
    atoms = pairs()
    train(tmp_path, atoms, "", monkeypatch)
    atoms[0].info["electric_field"] = [0.0, 0.0, 0.1]
    write("data.xyz", atoms)
    with pytest.raises(SystemExit):
        main(["train", "train.toml", "--quiet", "--resume"])
    assert "was made with another frames" in capsys.readouterr().err


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_molecules_and_slabs_have_no_quantum_along_open_directions(pbc, tmp_path, monkeypatch):
    """They train, without a warning, in whatever cell is given for an open direction; beside a crystal with a stress, too."""
    crystal = pairs(1)[0]
    crystal.calc = SinglePointCalculator(crystal, stress=0.01 * np.arange(6.0), **crystal.calc.results)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        train(tmp_path, [crystal, *pairs(pbc=pbc)], "batch = { frames = 2 }", monkeypatch)
    errors = json.loads((tmp_path / "model/report.json").read_text())["errors"]
    assert all(np.isfinite(e["mae"]) for part in errors.values() for e in part.values()) and "polarization" in errors["test"]
    open_ = ~np.broadcast_to(pbc, 3)
    cells = []
    for length in (0.0, 4.0):
        atoms = pairs(1, pbc=pbc)[0]
        atoms.cell[2] = [0, 0, length]
        cells.append(frames_.frame(Source([]), atoms, "here").quanta)
    assert np.array_equal(*cells) and not cells[0][open_].any()
    given, cell = np.array([7.0, 8.0, 9.0]), torch.tensor(cells[0][None])
    left = labels_.wrapped(torch.tensor(given[None]), cell, torch.linalg.pinv(cell))[0].numpy()
    assert np.allclose(left, np.where(open_, given, given - 6 * np.round(given / 6)))


class TestContract(PotentialContract):
    """Without a field a dielectric model is a potential like any other."""

    @pytest.fixture(autouse=True)
    def model(self, frames, tmp_path):
        model = training.new_model(frames, Description(**SMALL), "full", field_scale=0.3, seed=4)
        storage.write(tmp_path, model)
        self.folder = str(tmp_path)

    def potential(self):
        return Dielectric(self.folder)

    def structures(self):
        atoms = salt(5)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + [[0.02, 0.03, 0], [0, 0.01, -0.04], [0.02, 0, 0]]), True)
        return [atoms]


@pytest.mark.parametrize("form", ["quadratic", "full"])
@pytest.mark.parametrize("shape", [
    dict(readout_depth=0), dict(layers=1, latent_depth=0, embedding_depth=0),
    dict(layers=3, l_max=1, parity=True, latent_depth=2, embedding_depth=2, readout_depth=2)], ids=["bare", "shallow", "deep"])
def test_kernel_gives_what_torch_gives(frames, tmp_path, shape, form):
    """Enthalpies, forces, virial, P, Born charges and polarizability; two systems, two threads, species scaled differently."""
    description = Description(**{**SMALL, "l_max": 2, "layers": 2, **shape})
    model = training.new_model(frames, description, form, field_scale=0.3)
    model.scales[:] = torch.tensor([1.3, 0.6])
    if form == "quadratic":
        model.response_scales[:] = torch.tensor([1.0, 0.4, 0.2])
    storage.write(tmp_path, model)
    atoms = salt(7)
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + [[0.02, 0.06, 0], [0, 0.01, -0.04], [0.02, 0, 0]]), True)
    found = {}
    for backend in ("kernel", "torch"):
        state, potential = state_from_atoms([atoms, salt(8)]), Dielectric(str(tmp_path), backend=backend)
        potential.bind(state.species_names)
        if backend == "kernel":
            potential._runner = KernelRunner(None, description, potential.arrays, 2, form, 0.3)
        forces = Forces(state, Domain(state, SMALL["cutoff"], 0.4, sort=False), {"model": potential})
        forces.inputs.field = np.array([[0.1, -0.2, 0.15], [-0.05, 0.1, 0.3]])
        out = forces(NEEDS)
        found[backend] = {name: np.array(getattr(out, name))[: 2 * len(atoms)] for name in NEEDS}
    for name, value in found["torch"].items():
        assert np.allclose(found["kernel"][name], value, rtol=0, atol=1e-11 * np.abs(value).max()), name
        assert np.abs(value).max() > 1e-3


def test_a_training_on_a_device_is_the_training_here(file, tmp_path, monkeypatch):
    """With the branches of polarizations found on the way; nothing is left on the host."""
    monkeypatch.setattr(processes, "begin", lambda name, alone=False: DEVICE if name == "cuda" else torch.device(name))
    here = stage(file, tmp_path / "here", 4).train(quiet=True)["test"].sums
    with Elsewhere() as device:
        there = stage(file, tmp_path / "there", 4, device="cuda").train(quiet=True)["test"].sums
    assert device.count > 1000
    for name, sums in here.items():
        assert np.array_equal(there[name], sums), name
