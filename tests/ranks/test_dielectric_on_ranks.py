"""A learned electric enthalpy in a pulse of E or D: polarization, forces and conserved energy on 2 ranks are those on one."""

import pickle

import numpy as np
import pytest
from dielectric_cases import everything
from rank_launch import mpiexec

from engine.parallel import Serial

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.mpi

SMALL = dict(species=["O", "H"], cutoff=3.4, neighbors=12.0, l_max=1, channels=4, features=8, embedding_width=8, latent_width=8,
             readout_width=8, dtype="float64")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    from plugins.dielectric.model import DielectricModel
    from plugins.dielectric.storage import write
    from plugins.equivariant.description import Description

    path = tmp_path_factory.mktemp("models")
    for form in ("quadratic", "full"):
        torch.manual_seed(3)
        write(path / "models" / form, DielectricModel(Description(**SMALL), form, field_scale=0.2))
    mpiexec(2, "-m", "dielectric_cases", path / "2", path / "models")
    return everything(Serial(), path / "models"), pickle.loads((path / "2").read_bytes())


@pytest.mark.parametrize("fixes", "ED")
@pytest.mark.parametrize("form", ["quadratic", "full"])
def test_as_on_one_rank(found, form, fixes):
    alone, together = (side[f"{form}, {fixes}"] for side in found)
    assert (together["owned"] > 0).all() and len(together["owned"]) == 2
    for name in ("forces", "born_charges", "polarizability", "positions", "record"):
        assert np.abs(together[name] - alone[name]).max() < 1e-8 * max(np.abs(alone[name]).max(), 1.0), name
    deposited, polarization = alone["record"][:, 1], alone["record"][:, 2:5]
    assert np.ptp(polarization, axis=0).min() > 1e-4 and np.ptp(deposited) > 1e-5 and np.abs(alone["forces"]).max() > 0.01
