"""Whole runs on several ranks: ``python rank_runs.py TASK FOLDER``. See test_runs.py for what each is good for."""

import os
import signal
import sys
import tomllib
from pathlib import Path

from engine.output import h5md, writer
from engine.run import Run, from_checkpoint

INPUT = """
[system]
crystal = { structure = "fcc", species = "Cu", a = 3.615 }
replicate = [3, 3, 3]
velocities = { temperature = 900 }
[potential]
kind = "eam/zhou"
[output]
file = "run.h5md"
thermo = 5
trajectory = 10
checkpoint = 20
fields = ["velocities", "images", "forces"]
[run]
seed = 7
skin = 0.4
[[stage]]
integrator = "langevin"
steps = 60
timestep = 2.0
temperature = { from = 900, to = 1200 }
friction = 0.01
barostat = { kind = "cell-rescaling", pressure = 0.5, time = 200 }
[[stage]]
integrator = "nve"
steps = 40
timestep = 2.0
[[hook]]
kind = "rdf"
every = 5
[[hook]]
kind = "msd"
every = 5
[[hook]]
kind = "profile"
every = 5
[[hook]]
kind = "vacf"
every = 4
lags = 9
origins = 3
[[hook]]
kind = "stress"
every = 4
lags = 9
"""

#: fewer atoms than ranks: relaxed with their cell, then in a bath and a flexible cell, with groups and hooks
FEW_ATOMS = """
[system]
structure = "structure.extxyz"
velocities = { temperature = 100 }
[system.groups.first]
index = [0, 1]
[potential]
kind = "eam/zhou"
[output]
file = "run.h5md"
thermo = 5
trajectory = 10
checkpoint = 20
fields = ["velocities", "images", "forces"]
[run]
seed = 7
skin = 0.4
[[stage]]
kind = "relax"
cell = "flexible"
pressure = 0.5
steps = 15
[[stage]]
integrator = "langevin"
steps = 40
timestep = 2.0
temperature = 300
friction = 0.01
barostat = { kind = "cell-rescaling", pressure = 0.5, time = 500, coupling = "flexible" }
""" + "".join(f"""
[[hook]]
kind = "{kind}"
every = {every}
stages = [1]
{more}
""" for kind, every, more in (("rdf", 5, ""), ("msd", 5, 'group = "first"'), ("profile", 5, 'group = "first"'),
                              ("vacf", 4, 'group = "first"\nlags = 9\norigins = 3'), ("stress", 4, "lags = 9")))

#: open along one direction, with a skin that is chosen while it runs
SLAB = """
[system]
structure = "structure.extxyz"
velocities = { temperature = 60 }
[system.groups.first]
index = [0, 1, 5, 9]
[potential]
kind = "lj"
epsilon = 0.0104
sigma = 3.4
cutoff = 8.5
truncation = "shifted"
[output]
file = "run.h5md"
thermo = 20
trajectory = 50
columns = ["step", "temperature", "total", "conserved"]
fields = ["velocities", "images"]
[run]
seed = 7
skin = "auto"
[[stage]]
kind = "relax"
method = "lbfgs"
steps = 60
force = 3e-2
[[stage]]
integrator = "nve"
steps = 200
timestep = 4.0
[[hook]]
kind = "msd"
every = 5
stages = [1]
group = "first"
"""

#: an ensemble that finds its Gaussian, which then moves by itself
QUANTUM = """
[system]
crystal = { structure = "fcc", species = "Ar", a = 5.31 }
copies = 20
[potential]
kind = "lj"
epsilon = 0.01042
sigma = 3.405
cutoff = 8.0
truncation = "force-shifted"
[output]
file = "run.h5md"
trajectory = false
thermo = 5
columns = ["step", "quantum_energy", "quantum_temperature", "cell_a"]
[run]
seed = 3
[[hook]]
kind = "gaussian"
every = 5
[[stage]]
kind = "scha"
start = "harmonic"
temperature = 10
tolerance = 0.05
steps = 2
cell = true
pressure = 0
stiffness = 4
stress_tolerance = 0.005
file = "run.scha.h5"
[[stage]]
integrator = "tdscha"
timestep = 4.0
steps = 10
"""


def prepare(folder, text=INPUT):
    folder.mkdir(exist_ok=True, parents=True)
    os.chdir(folder)
    return Run(tomllib.loads(text), folder)


def at_step(run, step, action):
    """Do `action` after `step`, on every rank; what it returns is a reason to stop."""
    opened = run.open_output

    def open_output(*arguments):
        opened(*arguments)
        act = run.watch.act

        def watched(simulation):
            act(simulation)
            if simulation.state.step == step:
                simulation.stop_reason = action(simulation)

        run.watch.act = watched

    run.open_output = open_output


def whole(folder):
    prepare(folder).execute(quiet=True)


def stop(folder, step=37):
    run = prepare(folder)
    at_step(run, step, lambda simulation: "the test")
    run.execute(quiet=True)
    assert run.simulation.state.step == step


def resume(folder):
    os.chdir(folder)
    run, tree = from_checkpoint(folder / "run.h5md")
    run.execute(quiet=True, tree=tree)


def in_pieces(folder):
    """As `whole`, with rank 0 holding fifty atoms at a time of a frame."""
    writer.PIECE = h5md.PIECE = 50
    whole(folder)


def extended_xyz(folder):
    """Copper, and again as two systems; rank 0 holds fifty atoms at a time of one system."""
    writer.PIECE = 50
    text = INPUT.split("[[stage]]")[0].replace("run.h5md", "run.xyz").split("fields =")[0]
    stage = '[run]\nseed = 7\n[[stage]]\nintegrator = "nve"\nsteps = 20\ntimestep = 2.0\n'
    for name, more in (("one", ""), ("two", "copies = 2\n")):
        prepare(folder / name, text.replace("velocities =", more + "velocities =") + stage).execute(quiet=True)


def whole_and_parts(folder):
    """A run at one go, and one that is stopped and resumed; and one that is only stopped."""
    whole(folder / "whole")
    stop(folder / "parts")
    resume(folder / "parts")
    stop(folder / "stopped")


def _die_at(folder, action):
    run = prepare(folder)
    at_step(run, 57, action)
    run.execute(quiet=True)


def raises(folder):
    def action(simulation):
        if simulation.comm.rank == 1:
            raise ZeroDivisionError("the one that matters")

    _die_at(folder, action)


def two_raise(folder):
    """Ranks 1 and 2 in the same step."""
    def action(simulation):
        if simulation.comm.rank:
            raise ZeroDivisionError("the one that matters")

    _die_at(folder, action)


def killed(folder):
    def action(simulation):
        if simulation.comm.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    _die_at(folder, action)


def not_a_number(folder):
    def action(simulation):
        if simulation.comm.rank == 1:
            simulation.state.velocities[0] = float("nan")

    from engine import parallel
    from engine.errors import EngineError

    try:
        _die_at(folder, action)
    except EngineError as error:
        parallel.end_all(error)
        raise


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]).resolve())
