"""Learned electric enthalpies in a pulse over ranks: ``mpiexec -n N python -m dielectric_cases FILE MODELS``.

MODELS is a folder with one model for each form of ``test_dielectric_on_ranks.py``.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
from charge_cases import liquid
from rank_tools import ordered

from engine.build import state_from_atoms, thermalise
from engine.parallel import world
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.dielectric.potential import Dielectric
from potentials.fields import GaussianPulse

STEPS = 30


def in_a_pulse(comm, model, fixes):
    """A step-by-step record, and atoms that change ranks."""
    state = state_from_atoms(liquid())
    thermalise(state, 2000, 3)
    pulse = GaussianPulse(amplitude=0.3, center=6.0, width=3.0, period=9.0, direction=[1, 1, 2], fixes=fixes)
    sim = Simulation(state, Dielectric(str(model)), NVE(timestep=0.5), fields=[pulse], skin=0.1, comm=comm)
    record = []
    sim.attach(lambda s: record.append(np.concatenate([
        s.conserved(), s.electric.deposited(s), s.quantity("polarization")[0], s.electric.inside(s.state)[0]])), needs={"energy"})
    sim.run(STEPS)
    assert sim.domain.rebuilds > 2
    arrays = {name: sim.quantity(name) for name in ("forces", "born_charges")} | {"positions": state.unwrapped()}
    return {**ordered(comm, state, arrays), "polarizability": sim.quantity("polarizability"), "record": np.array(record),
            "owned": np.array(comm.gather(state.n))}


def everything(comm, models):
    return {f"{path.name}, {fixes}": in_a_pulse(comm, path, fixes) for path in sorted(Path(models).iterdir()) for fixes in "ED"}


if __name__ == "__main__":
    comm = world()
    found = everything(comm, sys.argv[2])
    if comm.rank == 0:
        Path(sys.argv[1]).write_bytes(pickle.dumps(found))
