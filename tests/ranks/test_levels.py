"""Multiple time steps on 1, 2 and 4 ranks, classical and learned; and a run that dies inside an outer step."""

import pickle
import tomllib

import level_cases
import numpy as np
import pytest
from conftest import contents
from rank_launch import mpiexec

from engine.parallel import Serial
from engine.run import Run, from_checkpoint
from integrators.composition import Composition


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """An untrained small model and an untrained rest, in double precision, of a strength that bonds feel."""
    torch = pytest.importorskip("torch")
    from plugins.equivariant import folder
    from plugins.equivariant.description import Description
    from plugins.equivariant.models import build

    path = tmp_path_factory.mktemp("models")
    for name, cutoff, scale in (("small", 3.2, 0.3), ("rest", 4.2, 0.1)):
        torch.manual_seed(3)
        model = build(Description(species=["Cu"], cutoff=cutoff, l_max=1, layers=1, channels=4, features=8, neighbors=20.0,
                                  embedding_width=8, latent_width=8, readout_width=8, dtype="float64"))
        model.scales[:] = scale
        folder.save(path / name, model.description, folder.from_model(model))
    return path


@pytest.fixture(scope="module")
def alone(models):
    return level_cases.everything(Serial(), models)


def test_parts_are_the_whole(alone):
    for key, value in alone["bath"].items():
        if key != "rebuilds":  # counted by each simulation for itself
            assert np.array_equal(value, alone["bath, in two parts"][key]), key


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_levels_do_not_depend_on_ranks(ranks, models, alone, tmp_path):
    mpiexec(ranks, "-m", "level_cases", tmp_path / "found", models)
    together = pickle.loads((tmp_path / "found").read_bytes())
    for name, expected in alone.items():
        assert expected["rebuilds"] > 0 or "parts" in name, "nobody migrated"
        for key, value in together[name].items():
            if key != "rebuilds":
                scale = max(np.abs(expected[key]).max(), 1.0)
                assert np.abs(value - expected[key]).max() < 1e-9 * scale, f"{name}: {key}"
    for key in ("unwrapped", "velocities", "energy", "conserved"):  # resumed on these ranks: bit for bit
        assert np.array_equal(together["bath"][key], together["bath, in two parts"][key]), key


INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [3, 3, 3]
velocities = { temperature = 600 }
[potentials.eam]
kind = "eam/zhou"
[potentials.pair]
kind = "morse"
depth = 0.0302
alpha = 1.969
r0 = 3.009
cutoff = 3.3
truncation = "force-shifted"
[output]
file = "run.h5md"
thermo = 2
trajectory = 4
checkpoint = 5
[run]
seed = 7
[[stage]]
integrator = "langevin"
steps = 20
timestep = 2.0
temperature = 300
friction = 0.01
levels = [ { every = 1, potentials = { pair = 1 } }, { every = 4, potentials = { eam = 1, pair = -1 } } ]
"""


def test_dying_in_the_middle_of_an_outer_step(tmp_path, monkeypatch):
    """The third of four inner steps of step 13 fails; resume goes on from step 10, and every bit on disk is as if it had
    not. (Checkpoints are of whole outer steps; a run that is asked to stop finishes the one it is in.)"""
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    Run(tomllib.loads(INPUT), tmp_path / "whole").execute(quiet=True)
    monkeypatch.chdir(tmp_path / "parts")
    flight = Composition.flight

    class Lightning(Exception):
        pass

    def failing(self, simulation, dt):
        if simulation.state.step == 12 and self.inner == 2:
            raise Lightning
        flight(self, simulation, dt)
    monkeypatch.setattr(Composition, "flight", failing)
    run = Run(tomllib.loads(INPUT), tmp_path / "parts")
    with pytest.raises(Lightning):
        run.execute(quiet=True)
    run.file.close()
    monkeypatch.setattr(Composition, "flight", flight)
    run, tree = from_checkpoint(tmp_path / "parts/run.h5md")
    assert tree["step"] == 10
    run.execute(quiet=True, tree=tree)
    one, two = (contents(tmp_path / name / "run.h5md") for name in ("whole", "parts"))
    assert set(one) == set(two)
    assert all(np.array_equal(one[key], two[key]) for key in one)
