"""Learned models on 2 and 4 ranks say what they say on one: local and message passing, with latent charges and without,
variances of atoms included; the segments that are compiled; a committee; an electric enthalpy and its responses."""

import pickle

import numpy as np
import pytest
import torch
from charge_cases import everything
from rank_launch import mpiexec
from safetensors.numpy import save_file

from engine.parallel import Serial
from plugins.dielectric.model import DielectricModel
from plugins.dielectric.storage import write
from plugins.equivariant import folder
from plugins.equivariant.description import Description
from plugins.equivariant.last_layer import FILE, last_linear
from plugins.equivariant.models import build

pytestmark = pytest.mark.mpi

SMALL = dict(species=["O", "H"], cutoff=3.4, neighbors=12.0, l_max=1, channels=4, features=8, embedding_width=8, latent_width=8,
             readout_width=8)
MODELS = {f"{architecture}, {dtype}, {term}": dict(architecture=architecture, dtype=dtype, charges=term != "short", neutral=term
                                                   != "charged")
          for architecture in ("local", "message-passing") for dtype, term in (
              ("float32", "short"), ("float64", "neutral"), ("float64", "charged"))}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    for name, changes in MODELS.items():
        torch.manual_seed(3)
        model = build(Description(**SMALL, **changes))
        if model.description.charges:
            with torch.no_grad():
                model.latent.base[:] = torch.tensor([-0.6, 0.4])
        folder.save(path / "models" / name, model.description, folder.from_model(model))
        last = last_linear(model).weight.detach().numpy()  # variances are compared as well
        save_file({"covariance": 1e-4 * np.eye(len(last)), "weights": last}, path / "models" / name / FILE)
    torch.manual_seed(3)
    write(path / "models" / "dielectric", DielectricModel(Description(**SMALL, dtype="float64"), "full", field_scale=0.2))
    out = {1: everything(Serial(), path / "models")}
    for ranks in (2, 4):
        mpiexec(ranks, "-m", "charge_cases", path / str(ranks), path / "models")
        out[ranks] = pickle.loads((path / str(ranks)).read_bytes())
    return out


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", [*MODELS, "segments", "committee", "dielectric"])
def test_as_on_one_rank(found, name, ranks):
    alone, together = found[1][name], found[ranks][name]
    assert (together["owned"] > 0).all() and (together["pairs"] == alone["pairs"]).all()
    for key in set(alone) - {"owned", "pairs"}:
        allowed = 1e-5 if "float32" in name else 1e-9 * max(np.abs(alone[key]).max(), 1.0)
        assert np.abs(together[key] - alone[key]).max() < allowed, key
    assert np.abs(alone["forces"]).max() > 0.1
