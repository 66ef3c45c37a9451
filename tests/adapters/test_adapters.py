"""Other people's models against their own calculators, to the precision of their floats; skipped where a package is absent.

MACE pins another e3nn than nequip, so no one environment runs all of these.
"""

from pathlib import Path

import numpy as np
import pytest
import small_models
from ase.build import bulk

from engine.build import state_from_atoms, thermalise
from engine.errors import InputError
from engine.simulation import Simulation
from engine.testing import evaluate
from integrators.nve import NVE

SUMS = {"energy", "forces", "virial"}


def structures():
    """A small triclinic cell (edges to several images of one atom), and a larger one."""
    out = []
    for repeat, seed in ((1, 1), (2, 2)):
        atoms = bulk("CuAu", "rocksalt", a=5.1) * (repeat, repeat, 1)
        rng = np.random.default_rng(seed)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.uniform(-0.06, 0.06, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        out.append(atoms)
    return out


def agree(potential, calculator, tolerance):
    for atoms in structures():
        ours = evaluate(potential, atoms, SUMS, species=["Au", "Cu"])
        theirs = atoms.copy()
        theirs.calc = calculator
        scale = np.abs(theirs.get_forces()).max()
        assert scale > 1e-3, "a test on no forces"
        np.testing.assert_allclose(ours.energy[0], theirs.get_potential_energy(), rtol=tolerance)
        np.testing.assert_allclose(ours.forces, theirs.get_forces(), atol=tolerance * max(scale, 1))
        W = -theirs.get_stress(voigt=False) * theirs.get_volume()
        np.testing.assert_allclose(ours.virial[0], W, atol=tolerance * max(np.abs(W).max(), 1))
    both = evaluate(potential, structures(), SUMS, species=["Au", "Cu"])
    singles = [evaluate(potential, a, SUMS, species=["Au", "Cu"]) for a in structures()]
    np.testing.assert_allclose(both.energy, [s.energy[0] for s in singles], rtol=10 * tolerance)
    np.testing.assert_allclose(both.forces, np.concatenate([s.forces for s in singles]), atol=10 * tolerance)
    np.testing.assert_allclose(both.virial, np.concatenate([s.virial for s in singles]), atol=100 * tolerance)


def conserves(potential, steps=60, temperature=300):
    """A short NVE run keeps its energy, through list rebuilds; time in the adapter is said beside that in the model."""
    state = state_from_atoms(structures()[1], ["Au", "Cu"])
    thermalise(state, temperature, 1)
    sim, rows = Simulation(state, potential, NVE(0.5), skin=0.4), []
    sim.attach(lambda s: rows.append(s.conserved()[0]), 5, {"energy"})
    sim.run(steps)
    kinetic = 1.5 * state.n * 0.025
    assert np.ptp(rows) < 0.02 * kinetic
    assert 0 < potential.seconds_inside <= potential.seconds


# -- MACE -----------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def mace_file(tmp_path_factory):
    pytest.importorskip("mace", reason="mace-torch is not installed here")
    return small_models.mace(tmp_path_factory.mktemp("mace") / "small.model")


def test_mace(mace_file):
    from mace.calculators import MACECalculator

    from plugins.adapters.mace import MACE

    agree(MACE(mace_file), MACECalculator(mace_file, device="cpu", default_dtype="float64"), 1e-9)
    conserves(MACE(mace_file))


def test_mace_refusals(mace_file, tmp_path):
    from plugins.adapters.mace import MACE

    with pytest.raises(InputError, match="knows no Ni"):
        evaluate(MACE(mace_file), bulk("Ni", cubic=True), SUMS)
    with pytest.raises(InputError, match="no head is called 'dft'"):
        MACE(mace_file, head="dft")
    with pytest.raises(InputError, match="could not be loaded"):
        MACE(str(tmp_path / "absent.model"))


# -- nequip ---------------------------------------------------------------------------------------------------------------------
def test_nequip_graph(monkeypatch):
    """The adapter's graph and signs, on a model that was not compiled (compiling takes minutes)."""
    pytest.importorskip("nequip", reason="nequip is not installed here")
    import torch
    from nequip.data import AtomicDataDict
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.integrations.ase import NequIPCalculator

    from plugins.adapters.nequip import NequIP

    made = small_models.nequip()

    def load(self):
        self._model, self._keys, self.cutoff, self.species = made, AtomicDataDict, 4.0, ["Au", "Cu"]

    monkeypatch.setattr(NequIP, "load", load)
    mapper = ChemicalSpeciesToAtomTypeMapper(model_type_names=["Au", "Cu"])
    calculator = NequIPCalculator(made, "cpu", transforms=[mapper, NeighborListTransform(r_max=4.0)])
    torch.set_default_dtype(torch.float64)
    agree(NequIP("none"), calculator, 1e-8)
    conserves(NequIP("none"))


def test_nequip_file(tmp_path):
    """A ``.nequip.pt2`` file, compiled by their tool, against their calculator on the same file."""
    pytest.importorskip("nequip", reason="nequip is not installed here")
    import shutil

    from nequip.integrations.ase import NequIPCalculator

    from plugins.adapters.nequip import NequIP

    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler, which their compilation needs")
    path = small_models.nequip_file(tmp_path / "small.nequip.pt2", structures()[1])
    agree(NequIP(path), NequIPCalculator.from_compiled_model(path), 1e-8)
    conserves(NequIP(path))
    with pytest.raises(InputError, match="knows no Ni"):
        evaluate(NequIP(path), bulk("Ni", cubic=True), SUMS)
    (tmp_path / "cut.nequip.pt2").write_bytes(Path(path).read_bytes()[:2000])
    with pytest.raises(InputError, match="could not be loaded"):
        NequIP(str(tmp_path / "cut.nequip.pt2"))


# -- metatomic ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("full", [True, False])
def test_metatomic(tmp_path, full):
    """A pair model written in their format, with a full and with a half list; against their calculator."""
    pytest.importorskip("metatomic.torch", reason="metatomic-torch is not installed here")
    pytest.importorskip("metatomic_ase", reason="metatomic-ase is not installed here")
    from metatomic_ase import MetatomicCalculator
    from metatomic_pair import export

    from plugins.adapters.metatomic import Metatomic

    path = str(tmp_path / "pair.pt")
    export(path, full)
    agree(Metatomic(path), MetatomicCalculator(path), 1e-9)
    conserves(Metatomic(path))


# -- TorchSim -------------------------------------------------------------------------------------------------------------------
def test_torch_sim():
    """Their Lennard-Jones model through the adapter and called as they call it; its energy is ours. (In an orthogonal
    cell: TorchSim 0.3 misses pairs in sheared ones; and its pair forces come out doubled, so signs are tested below.)"""
    ts = pytest.importorskip("torch_sim", reason="torch-sim-atomistic is not installed here")
    import torch
    from torch_sim.models.lennard_jones import LennardJonesModel

    from plugins.adapters.torch_sim import TorchSim
    from potentials.pair.lennard_jones import LennardJones

    model = LennardJonesModel(
        sigma=3.4,
        epsilon=0.0104,
        cutoff=4.8,
        dtype=torch.float64,
        compute_forces=True,
        compute_stress=True,
        device=torch.device("cpu"),
    )
    atoms = bulk("Ar", cubic=True, a=5.3) * (2, 2, 2)
    atoms.positions += np.random.default_rng(3).normal(scale=0.1, size=atoms.positions.shape)
    theirs, ours = (evaluate(p, atoms, SUMS) for p in (TorchSim(model), LennardJones(epsilon=0.0104, sigma=3.4, cutoff=4.8)))
    np.testing.assert_allclose(theirs.energy, ours.energy, rtol=1e-10)
    direct = model(ts.initialize_state([atoms], torch.device("cpu"), torch.float64))
    np.testing.assert_allclose(theirs.forces, direct["forces"].numpy(), atol=1e-12)
    np.testing.assert_allclose(theirs.virial, -direct["stress"].numpy() * atoms.get_volume(), atol=1e-10)
    with pytest.raises(InputError, match="does not compute forces"):
        TorchSim(LennardJonesModel(compute_forces=False))
    with pytest.raises(InputError, match="module:Class"):
        TorchSim("nowhere:Model")


def test_torch_sim_in_sheared_cells_and_batches():
    """A model of their interface written here: forces and virial are derivatives, two systems are two systems."""
    pytest.importorskip("torch_sim", reason="torch-sim-atomistic is not installed here")
    import torch
    from torch_sim.models.interface import ModelInterface

    from engine.testing import check_forces, check_virial
    from plugins.adapters.torch_sim import TorchSim

    class Images(ModelInterface):
        """Σ (1 − r/4)³ over pairs and the nearest 7³ images."""

        def __init__(self):
            super().__init__()
            self._device, self._dtype = torch.device("cpu"), torch.float64
            self._compute_stress = self._compute_forces = True

        def forward(self, state, **_):
            images = torch.cartesian_prod(*[torch.arange(-3.0, 4.0, dtype=torch.float64)] * 3)
            energy, forces, stress = [], torch.zeros_like(state.positions), []
            for s in range(int(state.system_idx.max()) + 1):
                rows = state.system_idx == s
                x = state.positions[rows].clone().requires_grad_()
                strain = torch.eye(3, dtype=torch.float64, requires_grad=True)
                cell = state.row_vector_cell[s]
                r = ((x[None, :, None] - x[:, None, None] + images @ cell) @ strain).square().sum(-1)
                r = torch.sqrt(torch.where(r > 1e-9, r, torch.full_like(r, 25.0)))
                e = 0.5 * torch.where(r < 4.0, (1 - r / 4.0) ** 3, torch.zeros_like(r)).sum()
                dx, dstrain = torch.autograd.grad(e, (x, strain))
                energy.append(e.detach()), stress.append(dstrain / torch.det(cell).abs())
                forces[rows] = -dx
            return {"energy": torch.stack(energy), "forces": forces, "stress": torch.stack(stress)}

    potential = TorchSim(Images())
    for atoms in structures():
        check_forces(potential, atoms)
        check_virial(potential, atoms)
    both = evaluate(potential, structures(), SUMS, species=["Au", "Cu"])
    singles = [evaluate(potential, a, SUMS, species=["Au", "Cu"]) for a in structures()]
    np.testing.assert_allclose(both.forces, np.concatenate([s.forces for s in singles]), atol=1e-12)
    np.testing.assert_allclose(both.virial, np.concatenate([s.virial for s in singles]), atol=1e-12)
    conserves(potential)


@pytest.mark.parametrize("name, module", [("MACE", "mace"), ("NequIP", "nequip"), ("Metatomic", "metatomic")])
def test_absent_packages_are_named(name, module, tmp_path):
    import importlib.util

    if importlib.util.find_spec(module) is not None:
        pytest.skip("the package is here")
    made = getattr(__import__(f"plugins.adapters.{module}", fromlist=[name]), name)
    with pytest.raises(InputError, match="pip install"):
        made(str(tmp_path / "model"))
