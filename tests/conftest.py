"""What tests of several rooms share."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from engine.parallel import launched

# one thread for each numerical library: the tests are small, and machines that run them are often shared
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")



def pytest_configure(config):
    if launched():  # mpiexec -n 2 python -m pytest
        import lockstep

        plugin = lockstep.Lockstep(lockstep.start())
        config.pluginmanager.register(plugin)


SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of other people's reference data, which is not part of the project; tests skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference data at {SHARED}")
    return SHARED


@pytest.fixture
def rng():
    return np.random.default_rng(20240)


def contents(path):
    """{name: array} of all data in an HDF5 file."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def rattled(atoms, amplitude=0.1, seed=1):
    """A copy of ASE atoms with every coordinate moved by a normal number times `amplitude` Å."""
    out = atoms.copy()
    out.positions += np.random.default_rng(seed).normal(scale=amplitude, size=out.positions.shape)
    return out


def sheared(atoms, seed=2, amplitude=0.08):
    """A copy in a triclinic cell: cell and atoms strained by a random matrix."""
    out = atoms.copy()
    out.set_cell(out.cell[:] @ (np.eye(3) + np.random.default_rng(seed).uniform(-amplitude, amplitude, (3, 3))), True)
    return out


def virial_by_strain(simulation, strain, step):
    """(virial, −∂U/∂ε by differences of `step`), (3, 3) eV, of a simulation after a `strain` of its cell and atoms, by which a
    prescribed field stays what it is; the strain stays."""
    state, one = simulation.state, np.eye(3)
    cells, positions = state.cells.copy(), state.positions[: state.n].copy()

    def energy(strain):
        state.cells, state.positions[: state.n] = cells @ (one + strain), positions @ (one + strain)
        simulation.domain.stale = simulation.forces.stale = True
        return simulation.potential_energy()[0]

    found = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        more = np.zeros((3, 3))
        more[a, b] = step
        up, down = (energy((one + strain) @ (one + s * more) - one) for s in (1, -1))
        found[a, b] = -(up - down) / (2 * step)
    energy(strain)
    return simulation.quantity("virial")[0].copy(), found
