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
