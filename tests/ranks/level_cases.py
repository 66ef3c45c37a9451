"""Two and three time steps on ranks: ``mpiexec -n N python -m level_cases FILE MODELS``; see test_levels.py.

MODELS is a folder with two trained models, ``small`` and ``rest``.
"""

import pickle
import sys

import numpy as np
from ase.build import bulk
from conftest import rattled
from rank_tools import ordered

from engine.build import state_from_atoms, thermalise
from engine.parallel import world
from engine.simulation import Simulation
from integrators.cell_rescaling import CellRescaling
from integrators.langevin import Langevin
from integrators.nve import NVE
from plugins.equivariant.potential import Equivariant
from potentials.eam.zhou import ZhouEAM
from potentials.pair.morse import Morse


def stiff():
    return Morse(depth=0.35, alpha=1.4, r0=2.8, cutoff=4.5)


def run(comm, atoms, potentials, levels, every, integrator, steps, parts=1):
    """A trajectory; with two parts, stopped and gone on with from every rank's state in a new simulation."""
    def make():
        state = state_from_atoms(atoms)
        thermalise(state, 400, 11)
        return Simulation(state, potentials(), integrator(), seed=11, comm=comm, skin=0.4, levels=levels, every=every)
    sim = make()
    sim.begin_stage(0, steps)
    if parts == 2:
        sim.attach(lambda s: setattr(s, "stop_reason", "enough") if s.state.step == steps // 2 else None)
        sim.proceed()
        tree, sim = sim.state_dict() | {"hooks": {}}, make()
        sim.load_state_dict(tree)
    sim.proceed()
    state = sim.state
    return {**ordered(comm, state, {"unwrapped": state.unwrapped(), "velocities": state.velocities}),
            "energy": sim.potential_energy(), "conserved": sim.conserved(), "cells": state.cells.copy(),
            "rebuilds": np.array(sim.domain.rebuilds)}


def cases(models):
    copper = rattled(bulk("Cu", cubic=True) * (5, 4, 4), 0.1)
    pair = [{"small": 1.0}, {"large": 1.0, "small": -1.0}]
    classical = lambda: {"small": stiff(), "large": ZhouEAM()}
    learned = lambda: {name: Equivariant(f"{models}/{name}") for name in ("small", "rest")}
    thermostat = lambda: Langevin(1.0, 400.0, 0.01, barostat=CellRescaling(0.0, 200.0, every=2))
    two = dict(atoms=copper, potentials=classical, levels=pair, every=[1, 4], steps=40)
    return {
        "energy kept": dict(two, integrator=lambda: NVE(1.5)),
        "bath": dict(two, integrator=thermostat),
        "three levels": dict(two, integrator=lambda: NVE(1.0), every=[1, 2, 6],
                             levels=[{"small": 1.0}, {"large": 0.5, "small": -0.5}, {"large": 0.5, "small": -0.5}]),
        "bath, in two parts": dict(two, integrator=thermostat, parts=2),
        "learned": dict(atoms=copper, potentials=learned, levels=[{"small": 1.0}, {"rest": 1.0}], every=[1, 3],
                        integrator=lambda: NVE(1.0), steps=15),
    }


def everything(comm, models):
    return {name: run(comm, **case) for name, case in cases(models).items()}


if __name__ == "__main__":
    comm = world()
    found = everything(comm, sys.argv[2])
    if comm.rank == 0:
        with open(sys.argv[1], "wb") as file:
            pickle.dump(found, file)
