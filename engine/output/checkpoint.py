"""Checkpoints: the one state_dict tree, written whole; the last two are kept."""

from __future__ import annotations

from pathlib import Path

from engine.contracts import Hook
from engine.errors import InputError
from engine.output import tree
from engine.output.file import writing


def paths(base: Path):
    """``run.h5md`` → ``run.checkpoint-1.h5``, ``run.checkpoint-2.h5``."""
    return [base.with_suffix(f".checkpoint-{k}.h5") for k in (1, 2)]


class Checkpoint(Hook):
    """Writes every so many steps and when a run ends. On several ranks, every rank's tree goes into one file."""

    def __init__(self, every, base, resolved_input: str):
        self.every, self.base, self.input = every, Path(base), resolved_input
        self.trajectory = self.base.name  # another one where a run goes on that found its trajectory damaged
        self.last = None

    def act(self, simulation):
        self.write(simulation)

    def finish(self, simulation):
        if self.last != simulation.state.step:
            self.write(simulation)

    def write(self, simulation):
        step = simulation.state.step
        trees = simulation.comm.gather(simulation.state_dict(), root=0)
        self.last = step
        if simulation.comm.rank:
            return
        older = min(paths(self.base), key=_step_of)
        data = {"step": step, "input": self.input, "ranks": len(trees), "finished": simulation.finished,
                "trajectory": self.trajectory,
                "trees": {str(k): t for k, t in enumerate(trees)}}
        with writing(older):
            tree.save(data, older)


def _step_of(path):
    if not path.exists():
        return -2
    try:
        return int(_peek(path)["step"])
    except (OSError, KeyError):
        return -1


def _peek(path):
    import h5py

    with h5py.File(path, "r") as file:
        return dict(file.attrs)


def newest(base: Path):
    """The newest readable checkpoint of a run, as a tree, or None."""
    for path in sorted(paths(base), key=_step_of, reverse=True):
        if path.exists():
            try:
                return tree.load(path)
            except InputError:
                continue
    return None
