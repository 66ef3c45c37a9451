"""The generated kernel: equal to the torch model whatever the description, and a potential like any other."""

import numpy as np
import pytest
import torch
from ase import Atoms

from engine import testing
from engine.errors import InputError
from plugins.equivariant import derivatives, folder, graphs
from plugins.equivariant import description as descriptions
from plugins.equivariant.core import closest, repulsion, subtract
from plugins.equivariant.data import frames, store
from plugins.equivariant.description import Description
from plugins.equivariant.local import LocalModel
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.shapes import shapes

SMALL = dict(species=["O", "H"], cutoff=3.4, neighbors=12.0, channels=5, features=10, embedding_width=12, latent_width=9,
             readout_width=8, dtype="float64")
MODELS = {
    "usual": SMALL,
    "l_max 3, three layers": {**SMALL, "l_max": 3, "layers": 3},
    "deep, no other parity": {**SMALL, "parity": False, "embedding_depth": 2, "latent_depth": 2, "readout_depth": 2,
                              "cutoffs": {"O-H": 3.0, "H-H": 2.2}},
    "linear": {**SMALL, "layers": 1, "embedding_depth": 0, "latent_depth": 0, "readout_depth": 0},
}


def save(path, seed=5, **settings):
    torch.manual_seed(seed)
    model = LocalModel(Description(**settings))
    model.scales[:] = torch.tensor([1.3, 0.7])
    model.shifts[:] = torch.tensor([-2.0, 0.5])
    folder.save(path, model.description, folder.from_model(model))
    return model


def box(n=14, seed=3):
    rng = np.random.default_rng(seed)
    cell = np.array([[5.2, 0.0, 0.0], [0.7, 4.9, 0.0], [-0.4, 0.5, 5.4]])
    positions = np.zeros((0, 3))
    while len(positions) < n:
        trial = rng.uniform(0, 1, 3) @ cell
        shifts = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ cell
        if not len(positions) or np.linalg.norm(trial - positions[:, None] - shifts, axis=-1).min() > 1.0:
            positions = np.vstack([positions, trial])
    return Atoms("OHH" * (n // 3) + "OHH"[:n % 3], positions, cell=cell, pbc=True)


@pytest.mark.parametrize("name", MODELS)
def test_kernel_equals_torch(name, tmp_path):
    model = save(tmp_path, **MODELS[name])
    atoms = box()
    out = testing.evaluate(Equivariant(str(tmp_path)), atoms)
    species = np.array([["O", "H"].index(s) for s in atoms.symbols])
    graph = graphs.build(atoms.positions, np.array(atoms.cell), atoms.pbc, species, model.description.cutoff)
    batch = graphs.join([graph], model.description.cutoff, torch.float64)
    energy, forces, virial, each = (x.detach().numpy() for x in derivatives.evaluate(
        model, dict(model.named_parameters()), *batch.tensors()[:5], 1))
    assert np.allclose(out.energy, energy + model.shifts.numpy()[species].sum(), atol=1e-11)
    assert np.abs(forces).max() > 1e-2 and np.allclose(out.forces, forces, atol=1e-10)
    assert np.allclose(out.virial, virial, atol=1e-10) and np.allclose(out.atom_virial.sum(0), virial[0], atol=1e-10)
    assert np.allclose(out.atom_energy, each + model.shifts.numpy()[species], atol=1e-11)


def test_single_precision(tmp_path):
    save(tmp_path / "double", **{**SMALL, "channels": 20})
    d, arrays = folder.load(tmp_path / "double")
    d.dtype = "float32"
    folder.save(tmp_path / "single", d, arrays)
    double, single = (testing.evaluate(Equivariant(str(tmp_path / n)), box()) for n in ("double", "single"))
    assert np.abs(double.forces - single.forces).max() < 2e-6 * np.abs(double.forces).max() + 1e-6
    assert abs(double.energy - single.energy).max() < 1e-5


class TestContract(testing.PotentialContract):
    @pytest.fixture(autouse=True)
    def _model(self, tmp_path):
        save(tmp_path, **SMALL)
        self.path = str(tmp_path)

    def potential(self):
        return Equivariant(self.path)

    def structures(self):
        return [box(), Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.1]], cell=np.eye(3) * 8, pbc=True)]


def test_atoms_that_the_model_does_not_know(tmp_path):
    save(tmp_path, **SMALL)
    with pytest.raises(InputError, match="knows no Na.*O, H"):
        testing.evaluate(Equivariant(str(tmp_path)), Atoms("Na"))


def test_damaged_folders_are_refused_in_one_line(tmp_path):
    save(tmp_path, **SMALL)
    weights = tmp_path / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        Equivariant(str(tmp_path))
    d, arrays = Description(**SMALL), {}
    weights.write_bytes(whole)
    _, arrays = folder.load(tmp_path)
    arrays["first.weight"] = arrays["first.weight"] * np.nan
    folder.save(tmp_path, d, arrays)
    with pytest.raises(InputError, match="first.weight.*NaN"):
        Equivariant(str(tmp_path))
    text = (tmp_path / "model.toml").read_text()
    (tmp_path / "model.toml").write_text(text.replace("l_max", "lmax"))
    with pytest.raises(InputError, match="unknown key 'lmax'.*did you mean 'l_max'"):
        Equivariant(str(tmp_path))
    (tmp_path / "model.toml").unlink()
    with pytest.raises(InputError, match="no trained model"):
        Equivariant(str(tmp_path))


@pytest.mark.parametrize("wrong", [dict(charges=1), dict(parity="yes"), dict(cutoff="4 A"), dict(cutoffs=3.0), dict(l_max=1.5),
                                   dict(cores={"O-H": "x"}), dict(smearing=True), dict(channels=True), dict(neighbors=None),
                                   dict(cutoff=np.inf), dict(species="O"),
                                   dict(species=3), dict(species=[1]), dict(species=["O", "H", "O"])])
def test_descriptions_of_the_wrong_kind_are_refused_in_one_line(wrong):
    with pytest.raises(InputError, match=f"model: {next(iter(wrong))} = ") as refusal:
        Description(**{**SMALL, **wrong})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("radius", [9.0, -1.0, 0.0, np.nan, np.inf])
def test_cores_end_inside_the_cutoff(radius):
    with pytest.raises(InputError, match="model: cores 'O-H' = .* must be positive and at most cutoff = 3.4"):
        Description(**SMALL, zbl=True, cores={"O-H": radius})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("charges", [False, True])
def test_shapes_are_those_of_the_torch_model(name, charges):
    d = Description(**MODELS[name], charges=charges)
    assert shapes(d) == {name: tuple(array.shape) for name, array in LocalModel(d).state_dict().items()}


def test_files_of_two_models_and_edited_ones_are_noticed(tmp_path):
    for name, seed in (("one", 1), ("other", 2)):
        save(tmp_path / name, seed, **SMALL)
    toml, weights = ((tmp_path / "one" / name) for name in ("model.toml", "weights.safetensors"))
    whole, text = weights.read_bytes(), toml.read_text()
    weights.write_bytes((tmp_path / "other/weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="not the file that model.toml was written with.* take the line `weights"):
        Equivariant(str(tmp_path / "one"))
    toml.write_text("".join(line for line in text.splitlines(True) if not line.startswith("weights")))
    Equivariant(str(tmp_path / "one"))
    weights.write_bytes(whole)
    edited = text.replace("cutoff = 3.4", "cutoff = 5.0")
    toml.write_text(edited)
    with pytest.raises(InputError, match="was edited after the model was made.* take the line `description"):
        Equivariant(str(tmp_path / "one"))
    toml.write_text("".join(line for line in edited.splitlines(True) if not line.startswith("description")))
    assert Equivariant(str(tmp_path / "one")).description.cutoff == 5.0
    toml.write_text(text.replace("\n\n", "\n# a remark\n"))
    Equivariant(str(tmp_path / "one"))


def test_a_write_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    save(tmp_path, 1, **SMALL)
    text = (tmp_path / "model.toml").read_text()

    def fails(*arguments):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(InputError, match="No space left"):
        save(tmp_path, 2, **SMALL)
    with pytest.raises(InputError, match="No space left"):
        descriptions.write(tmp_path, Description(**SMALL), {})
    assert (tmp_path / "model.toml").read_text() == text
    folder.load(tmp_path)


def test_a_local_model_through_torch_is_the_same(tmp_path):
    save(tmp_path, **SMALL)
    needs = {"energy", "forces", "virial"}
    a, b = (testing.evaluate(Equivariant(str(tmp_path), backend=name), box(), needs) for name in ("kernel", "torch"))
    assert np.allclose(a.energy, b.energy, atol=1e-11) and np.allclose(a.forces, b.forces, atol=1e-10)
    assert np.allclose(a.virial, b.virial, atol=1e-10)


def test_a_model_on_a_nuclear_core_is_the_sum_of_both(tmp_path):
    save(tmp_path / "bare", **SMALL)
    cored = save(tmp_path / "cored", **{**SMALL, "zbl": True, "cores": {"O-H": 1.6}}).description
    atoms = box()
    needs = {"energy", "forces", "virial"}
    bare, both = (testing.evaluate(Equivariant(str(tmp_path / n)), atoms, needs) for n in ("bare", "cored"))
    core = testing.evaluate(repulsion(cored), atoms, needs)
    assert core.energy[0] > 1.0 and np.allclose(both.energy, bare.energy + core.energy)
    assert np.allclose(both.forces, bare.forces + core.forces, atol=1e-12)
    frame = frames.Frame(np.array(atoms.get_chemical_symbols()), atoms.positions, np.array(atoms.cell), atoms.pbc,
                         float(both.energy[0]), both.forces, -both.virial[0] / atoms.get_volume(), "made")
    rest = next(subtract([frame], cored))
    assert abs(rest.energy - bare.energy[0]) < 1e-9 and np.allclose(rest.forces, bare.forces, atol=1e-10)
    graphs_ = store.GraphStore([frame], ["O", "H"], 3.4)
    ends = closest(graphs_, cored)
    cored.cores = ends
    assert set(ends) == {"O-O", "H-O", "H-H"} and testing.evaluate(repulsion(cored), atoms, needs).energy[0] == 0.0
    assert np.allclose(rest.stress, -bare.virial[0] / atoms.get_volume(), atol=1e-10)


def test_the_core_is_steep_where_no_bond_is():
    """Of hydrogens that may only touch, whole within a tenth of its radius; where atoms are bonded, within half."""
    d = Description(species=["H", "O"], zbl=True, cores={"H-H": 1.3, "H-O": 0.87})
    pairs = repulsion(d).pairs
    assert pairs["H-H"]["inner"] == pytest.approx(0.9 * 1.3) and pairs["O-H"]["inner"] == pytest.approx(0.5 * 0.87)
    assert pairs["O-H"]["cutoff"] == 0.87 and pairs["O-O"]["cutoff"] == 2.0
    energy = lambda r: testing.evaluate(repulsion(d), Atoms("H2", [[0, 0, 0], [r, 0, 0]]), {"energy"}).energy[0]
    assert energy(1.31) == 0 and energy(1.05) > 0.3 and energy(1.25) < 0.05
