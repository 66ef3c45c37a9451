"""Latent charges: derivatives through network and mesh, 1/r, what training finds, one rank and two, refusals."""

import warnings
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from test_kernel import SMALL, box

from engine import testing, units
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.equivariant import ahead, derivatives, folder, graphs
from plugins.equivariant.data import frames, splits, store
from plugins.equivariant.description import Description
from plugins.equivariant.lattice_sum import Lattice
from plugins.equivariant.models import build
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.torch_runner import TorchRunner
from plugins.equivariant.training import batches
from plugins.equivariant.training.batches import BatchSize
from plugins.equivariant.training.loop import Optimizer
from plugins.equivariant.training.stage import Train
from plugins.equivariant.training.step import Step
from potentials.coulomb.ewald import Ewald

CHARGED = {**SMALL, "charges": True, "l_max": 1}
NEEDS = {"energy", "forces", "virial", "atom_energy"}


def save(path, **changes):
    """A folder with a model whose charges are large enough to matter (base charges of half an e)."""
    torch.manual_seed(7)
    model = build(Description(**{**CHARGED, **changes}))
    with torch.no_grad():
        model.latent.base[:] = torch.tensor([-0.6, 0.4])
    model.scales[:] = torch.tensor([1.3, 0.7])
    folder.save(path, model.description, folder.from_model(model))
    return model


def in_torch(model, atoms):
    """energy, forces, virial of the model with the lattice sum that training uses."""
    d = model.description
    species = np.array([d.species.index(s) for s in atoms.symbols])
    frame = SimpleNamespace(positions=atoms.positions, cell=np.array(atoms.cell), periodic=atoms.pbc, source="made")
    batch = graphs.join([graphs.build(frame.positions, frame.cell, frame.periodic, species, d.cutoff)], d.cutoff, torch.float64)
    lattice = Lattice([frame], d.smearing, 1e-12).tensors([frame], len(atoms), 1, torch.float64)
    found = derivatives.evaluate(model, dict(model.named_parameters()), *batch.tensors()[:5], 1, True, lattice)
    return [x.detach().numpy() for x in found[:3]]


@pytest.mark.parametrize("changes", [
    dict(), dict(neutral=False, readout_depth=0, smearing=1.4), dict(layers=1, readout_depth=2, latent_depth=0),
    dict(architecture="message-passing"), dict(architecture="message-passing", neutral=False)])
def test_kernel_mesh_and_lattice_sum_say_the_same(changes, tmp_path):
    model, atoms = save(tmp_path, **changes), box()
    energy, forces, virial = in_torch(model, atoms)
    bare = Description(**{**model.description.__dict__, "charges": False})
    arrays = folder.from_model(model)
    last = f"readout.layers.{bare.readout_depth}.weight" if bare.architecture == "local" else "readout.1.weight"
    folder.save(tmp_path / "bare", bare, {k: v[:, :1] if k == last else v for k, v in arrays.items() if k != "latent.base"})
    without = testing.evaluate(Equivariant(str(tmp_path / "bare"), backend="torch"), atoms, {"forces"}).forces
    assert np.abs(without - forces).max() > 0.05  # the charges do something
    for backend in ("kernel", "torch") if bare.architecture == "local" else ("torch",):
        out = testing.evaluate(Equivariant(str(tmp_path), backend=backend, spacing=0.25), atoms, NEEDS)
        assert np.allclose(out.energy, energy, atol=1e-6) and np.allclose(out.atom_energy.sum(), energy, atol=1e-6)
        assert np.allclose(out.forces, forces, atol=1e-6) and np.allclose(out.virial[0], virial[0], atol=1e-5)


class TestLocalContract(testing.PotentialContract):
    open_directions = False
    settings = {}

    @pytest.fixture(autouse=True)
    def _model(self, tmp_path):
        save(tmp_path, **self.settings)
        self.path = str(tmp_path)

    def potential(self):
        return Equivariant(self.path, backend="kernel", spacing=0.1)

    def structures(self):
        return [box(), Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.1]], cell=np.eye(3) * 6, pbc=True)]

    def test_atoms_sum_to_the_whole(self):
        """Momentum is kept as well as the mesh is fine, which the contract's own test does not forgive."""
        for atoms in self.structures():
            out = testing.evaluate(self.potential(), atoms)
            assert np.abs(out.forces.sum(0)).max() < 1e-9 and abs(out.atom_energy.sum() - out.energy[0]) < 1e-10
            if hasattr(out, "atom_virial"):
                assert np.allclose(out.atom_virial.sum(0), out.virial[0], atol=1e-9)


class TestMessagePassingContract(TestLocalContract):
    settings = dict(architecture="message-passing", neutral=False)

    def potential(self):
        return Equivariant(self.path, backend="torch", spacing=0.1)


def test_far_apart_clusters_attract_and_repel_as_charges_do(tmp_path):
    """Forces between whole clusters fall as 1/r², which no term inside a cutoff can give."""
    save(tmp_path, neutral=False)
    potential = Equivariant(str(tmp_path))
    length, water = 70.0, np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])

    def pull(distance, second):
        """(eV/Å by which the second cluster is pushed away, product of the charges)."""
        x = np.vstack([water, water[: len(second)] + [distance, 0, 0]]) + 3
        atoms = Atoms("OH2" + second, x, cell=np.eye(3) * length, pbc=True)
        out = testing.evaluate(potential, atoms, {"forces"})
        point = atoms.copy()
        point.set_initial_charges(charges_of(potential, atoms))
        expected = testing.evaluate(Ewald(cutoff=9.0, accuracy=1e-9), point, {"forces"}).forces
        charges = point.get_initial_charges()
        assert np.allclose(out.forces[3:].sum(0), expected[3:].sum(0), atol=2e-5)
        return out.forces[3:, 0].sum(), charges[:3].sum() * charges[3:].sum()

    near, product = pull(10.0, "OH2")
    far, _ = pull(14.0, "OH2")
    assert product > 0.01 and abs(near / (units.coulomb * product / 10.0**2) - 1) < 0.15
    assert abs(near / far / 1.4**2 - 1) < 0.15 and near > 0
    opposite, product = pull(10.0, "O")
    assert product < 0 and abs(opposite / (units.coulomb * product / 10.0**2) - 1) < 0.25


def charges_of(potential, atoms):
    """Charges in the structure's order."""
    from engine.build import state_from_atoms

    forces = testing._forces(potential, atoms, 0.5)
    forces(frozenset({"forces"}))
    state = forces.state
    assert state.species_names == state_from_atoms(atoms).species_names
    out = np.empty(state.n)
    out[state.tags[: state.n]] = potential.charges
    return out


def ions(seed, cell=(11.0, 11.0, 11.0), count=2, least=3.6):
    """Molecules CO and CF, `count` of each; only the carbons are charged, +1 beside oxygen and −1 beside fluorine."""
    rng, cell, places = np.random.default_rng(seed), np.array(cell), []
    while len(places) < 2 * count:
        trial = rng.uniform(0, cell)
        d = np.array([trial - p for p in places]).reshape(-1, 3)
        if (np.linalg.norm(d - cell * np.round(d / cell), axis=1) > least).all():
            places.append(trial)
    return molecules(np.array(places), cell, rng)


def molecules(places, cell, rng):
    axes = rng.normal(size=places.shape)
    ends = places + 1.2 * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    names = ["C", "O", "C", "F"] * (len(places) // 2)
    atoms = Atoms(names, np.stack([places, ends], 1).reshape(-1, 3), cell=cell, pbc=True)
    atoms.set_initial_charges([1.0, 0.0, -1.0, 0.0] * (len(places) // 2))
    out = testing.evaluate(Ewald(cutoff=5.0, accuracy=1e-8), atoms, {"energy", "forces"})
    atoms.calc = SinglePointCalculator(atoms, energy=float(out.energy[0]), forces=out.forces)
    return atoms


def train(tmp_path, **changes):
    write(tmp_path / "ions.xyz", [ions(seed) for seed in range(24)], format="extxyz")
    model = dict(cutoff=2.0, l_max=0, layers=1, channels=4, features=8, embedding_width=8, latent_width=8, readout_width=8,
                 charges=True)
    Train(frames.Source([str(tmp_path / "ions.xyz")]), {**model, **changes}, str(tmp_path / "model"), epochs=60,
          split=splits.Split("frame", 0.1, 0.0), loss=batches.Loss(0.1, 1.0), compile=False, batch=BatchSize(4),
          shifts="mean", optimizer=Optimizer(rate=0.03, warmup=10)).train(quiet=True)
    return str(tmp_path / "model")


def test_training_on_point_charges_recovers_their_asymptote(tmp_path):
    """From frames in which molecules are 3.6 to 9 Å apart, with a network that sees 2 Å, to 12 and 20 Å: and the network
    has to learn from its neighbour which carbon has which charge."""
    path, energies = train(tmp_path), []
    for distance in (12.0, 20.0):
        places = np.array([[5.0, 6, 6], [5.0 + distance, 6, 6]])
        atoms = molecules(places, np.array([50.0, 12, 12]), np.random.default_rng(5))
        found = testing.evaluate(Equivariant(path), atoms, {"energy"}).energy[0]
        energies.append((found, atoms.get_potential_energy()))
    (near, near_), (far, far_) = energies
    assert abs(far_ - near_) > 0.3 and abs((far - near) - (far_ - near_)) < 0.05 * abs(far_ - near_)


def labelled_ions():
    """A model, labels of three frames of different cells (one with fewer atoms), and a function that gives their step."""
    torch.manual_seed(0)
    d = Description(species=["C", "F", "O"], cutoff=2.0, l_max=1, layers=1, channels=4, features=8, embedding_width=8,
                    latent_width=8, readout_width=8, charges=True, dtype="float64")
    found, model = [], build(d)
    for seed, length in enumerate((11.0, 12.0, 9.0)):
        atoms = ions(seed, (length, 11.0, 11.5), count=2 if length > 10 else 1)
        found.append(frames.Frame(np.array(atoms.get_chemical_symbols()), atoms.positions, np.array(atoms.cell), atoms.pbc,
                                  atoms.get_potential_energy(), atoms.get_forces(), np.zeros((3, 3)), "made"))
    graphs_ = store.GraphStore(found, d.species, d.cutoff)
    labels = batches.Labels(found, graphs_, np.zeros(3), batches.Loss(1, 1, 1), d.cutoff, torch.float64, Lattice(found, 1.0))
    names, parameters = zip(*model.named_parameters())

    def step(compiled, rank=0, size=1):
        how = Step(model, names, True, compiled)
        shape = batches.shape_for(graphs_, [8, 8, 4], range(3), BatchSize(3), size)
        gradients, loss = how(list(parameters), labels.batch([0, 1, 2], shape, rank, size))
        return how.note, [*gradients, loss]
    return model, labels, step


def test_batches_of_unlike_cells_and_their_parts_add_up():
    """Frames of unlike cells in one batch: two processes' gradients add up to those of one."""
    model, labels, step = labelled_ions()
    whole, *parts = step(False)[1], step(False, 0, 2)[1], step(False, 1, 2)[1]
    for a, *both in zip(whole, *parts):
        assert torch.allclose(a, sum(both), rtol=1e-9, atol=1e-10)
    assert all(float(g.abs().max()) > 0 for g in whole)


@pytest.mark.slow
def test_the_training_step_compiles():
    _, _, step = labelled_ions()
    (_, plain), (note, fast) = step(False), step(True)
    assert note == "compiled" and all(torch.allclose(a, b, atol=1e-9) for a, b in zip(plain, fast))


def test_energy_is_conserved_and_a_checkpoint_keeps_the_mesh(tmp_path):
    save(tmp_path)
    make = lambda: Simulation.from_atoms(box(), Equivariant(str(tmp_path)), NVE(timestep=0.25),
                                         temperature=100, seed=1)
    sim = make()
    sim.run(0)
    start = sim.conserved()[0]
    sim.run(50)
    assert abs(sim.conserved()[0] - start) < 1e-3 * sim.kinetic_energy()[0] + 1e-4
    tree = deepcopy(sim.state_dict())
    sim.run(20)
    other = make()
    other.load_state_dict(tree)
    other.run(20)
    assert np.array_equal(sim.state.positions, other.state.positions)


def test_a_committee_with_and_without_charges(tmp_path):
    """What is far reaches through the average; the checkpoint has every member's mesh."""
    from plugins.equivariant.committee import Committee

    save(tmp_path / "a")
    save(tmp_path / "b", architecture="message-passing", neutral=False)
    save_short(tmp_path / "c")
    names = [str(tmp_path / name) for name in "abc"]
    each = [testing.evaluate(Equivariant(n, backend="torch"), box(), {"energy", "forces"}) for n in names]
    committee = Committee(names)
    committee._members = [Equivariant(n, backend="torch") for n in names]
    assert committee.capabilities().reach == "global" and not committee.capabilities().heat_flux
    out = testing.evaluate(committee, box(), {"energy", "forces"})
    assert np.allclose(out.forces, np.mean([e.forces for e in each], 0), atol=1e-10)
    tree = committee.state_dict()
    assert set(tree["0"]) == set(tree["1"]) == {"mesh"} and tree["2"] == {}
    committee.load_state_dict(tree)


def save_short(path):
    model = build(Description(**{**CHARGED, "charges": False}))
    folder.save(path, model.description, folder.from_model(model))


@pytest.mark.parametrize("architecture", ["local", "message-passing"])
def test_segments_that_are_compiled_are_those_of_the_model(tmp_path, architecture):
    model = save(tmp_path, architecture=architecture)
    plain, other = (Equivariant(str(tmp_path), backend="torch") for _ in range(2))
    other._runner = TorchRunner(model, packages=ahead.functions(model.requires_grad_(False)))
    a, b = (testing.evaluate(p, box(), NEEDS) for p in (plain, other))
    assert np.allclose(a.energy, b.energy, atol=1e-12) and np.allclose(a.forces, b.forces, atol=1e-11)
    assert set(ahead.examples(model)) == set(ahead.functions(model))


def test_the_net_charge_that_counts_is_theirs(tmp_path):
    """Initial charges of the structure are not what is summed."""
    atoms = box()
    atoms.set_initial_charges([1.0] + [0.0] * (len(atoms) - 1))
    for neutral in (True, False):
        save(tmp_path, neutral=neutral)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            testing.evaluate(Equivariant(str(tmp_path)), atoms, {"energy"})
        assert any("net charge" in str(w.message) for w in said) != neutral


def test_what_latent_charges_cannot_do_is_said(tmp_path):
    save(tmp_path)
    with pytest.raises(InputError, match="summed over a periodic lattice, and this structure is open"):
        testing.evaluate(Equivariant(str(tmp_path)), Atoms("OH", [[0, 0, 0], [1, 0, 0]]), {"energy"})
    atoms = Atoms("OH", [[0, 0, 0], [1, 0, 0]], info={"REF_energy": -1.0})
    write(tmp_path / "open.xyz", [atoms] * 3, format="extxyz")
    stage = Train(frames.Source([str(tmp_path / "open.xyz")]), dict(CHARGED), str(tmp_path / "out"), shifts="mean",
                  split=splits.Split("frame", 0.3, 0.0))
    with pytest.raises(InputError, match="open.xyz, frame 0 is open in at least one direction; give it a cell"):
        stage.train(quiet=True)
    with pytest.raises(InputError, match="smearing = 9 Å must be between"):
        Description(**{**CHARGED, "smearing": 9})
    from plugins.dielectric.model import DielectricModel

    with pytest.raises(InputError, match="no latent charges"):
        DielectricModel(Description(**CHARGED))
