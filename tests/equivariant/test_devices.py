"""Training and runs on a device: the numbers of the host, and nothing left there. Without a GPU, by ``elsewhere``."""

import numpy as np
import pytest
import torch
from elsewhere import DEVICE, Elsewhere
from test_kernel import SMALL, box
from test_pair import together
from test_training import MODEL, file, stage  # noqa: F401

from engine import testing
from engine.errors import InputError
from plugins.equivariant import ahead, devices, folder, torch_runner
from plugins.equivariant.description import Description
from plugins.equivariant.models import build
from plugins.equivariant.potential import Equivariant
from plugins.equivariant.training import processes
from plugins.equivariant.training.loop import Optimizer


@pytest.fixture
def gpu(monkeypatch):
    """device = "cuda" is elsewhere."""
    begin = lambda name, alone=False: DEVICE if name == "cuda" else torch.device(name)
    for module in (processes, torch_runner):
        monkeypatch.setattr(module, "begin", begin)
    monkeypatch.setattr(devices, "at_hand", begin)


KINDS = {"local": dict(model=MODEL), "pair": dict(model=MODEL), "charges": dict(model=MODEL | dict(charges=True)),
         "messages": dict(model={k: v for k, v in MODEL.items() if k not in ("features", "embedding_width")}
                          | dict(architecture="message-passing", layers=2))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_there_is_the_training_here(file, tmp_path, gpu, kind):  # noqa: F811
    """Stopped and resumed on the way: weights and errors to the last bit."""
    def trained(device, epochs, resume=False):
        it = (together if kind == "pair" else stage)(file, tmp_path / device, epochs=epochs, device=device, **KINDS[kind],
                                                     optimizer=Optimizer(rate=0.04, warmup=2, schedule="constant"))
        return it, it.train(quiet=True, resume=resume)["train"].sums
    here, expected = trained("cpu", 3)
    with Elsewhere() as device:
        trained("cuda", 1)
        there, found = trained("cuda", 3, resume=True)
    assert device.count > 1000
    for name, sums in expected.items():
        assert np.array_equal(found[name], sums), name
    for name, array in folder.load(here.folder)[1].items():
        assert np.array_equal(array, folder.load(there.folder)[1][name]), name


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("settings", [dict(), dict(charges=True), dict(architecture="message-passing", layers=3)])
def test_a_run_there_is_the_run_here(tmp_path, gpu, settings, segments):
    """Eagerly, and by the functions that are compiled; features pass between images there."""
    torch.manual_seed(3)
    model = build(Description(**SMALL | dict(l_max=1) | settings))
    folder.save(tmp_path, model.description, folder.from_model(model))
    needs = {"energy", "forces", "virial", "atom_energy"}
    here = testing.evaluate(Equivariant(str(tmp_path), backend="torch"), box(), needs)
    with Elsewhere() as device:
        potential = Equivariant(str(tmp_path), backend="torch", device="cuda")
        if segments:
            model = model.to(DEVICE).requires_grad_(False)
            potential._runner = torch_runner.TorchRunner(model, "cuda", ahead.functions(model))
        there = testing.evaluate(potential, box(), needs)
    assert device.count > 100 and potential._runner.device == DEVICE
    for name in needs:
        assert np.allclose(getattr(here, name), getattr(there, name), atol=1e-12), name


def test_what_stays_on_the_host_is_noticed(tmp_path, gpu):
    """Or the tests above would say nothing."""
    with Elsewhere(), pytest.raises(RuntimeError, match="tensors of the host among those of a device"):
        torch.ones(3, device=DEVICE) + torch.ones(3)
    with Elsewhere(), pytest.raises((RuntimeError, TypeError)):
        torch.ones(3, device=DEVICE).numpy()


def test_processes_take_gpus_in_turn(monkeypatch):
    """In a run; in a training each has its own."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *a, **k: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    assert devices.begin("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", "3")
    assert devices.begin("cuda") == torch.device("cuda", 1) and chosen == [0, 1]
    with pytest.raises(InputError, match="process 4 of this machine needs a GPU of its own, and there are 2"):
        devices.begin("cuda", alone=True)
    assert devices.begin("cpu", alone=True) == torch.device("cpu")


def test_headers_of_pip_are_taken_where_there_is_no_toolkit(tmp_path, monkeypatch):
    from torch.utils import cpp_extension

    (tmp_path / "nvidia/cu13/include").mkdir(parents=True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path / "usr"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", "")
    devices.find_toolkit()
    assert cpp_extension.CUDA_HOME == str(tmp_path / "usr")
    (tmp_path / "nvidia/cu13/include/cuda.h").touch()
    devices.find_toolkit()
    assert cpp_extension.CUDA_HOME == str(tmp_path / "nvidia/cu13")
    (tmp_path / "usr/include").mkdir(parents=True)
    (tmp_path / "usr/include/cuda.h").touch()
    cpp_extension.CUDA_HOME = str(tmp_path / "usr")
    devices.find_toolkit()
    assert cpp_extension.CUDA_HOME == str(tmp_path / "usr")
