"""Checkpoints: the one state_dict tree of every rank in one file, written whole; the last two are kept.

Rank 0 writes, and holds no more of another rank's tree than one array at a time. Where a run goes on with as many ranks,
each reads its own tree only.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import InputError
from engine.output import tree
from engine.output.file import writing
from engine.output.writer import Writer
from engine.parallel import Serial


def paths(base: Path):
    """``run.h5md`` → ``run.checkpoint-1.h5``, ``run.checkpoint-2.h5``."""
    return [base.with_suffix(f".checkpoint-{k}.h5") for k in (1, 2)]


class Checkpoint(Writer):
    """Writes every so many steps and when a run ends."""

    def __init__(self, every, base, resolved_input: str):
        self.every, self.base, self.input = every, Path(base), resolved_input
        self.trajectory = self.base.name  # another one where a run goes on that found its trajectory damaged
        self.last = None

    def finish(self, simulation):
        if self.last != simulation.state.step:
            self.act(simulation)

    def write(self, simulation):
        comm, self.last = simulation.comm, simulation.state.step
        parts = comm.in_turn(list(tree.leaves(simulation.state_dict())))
        if comm.rank:
            for _ in parts:
                pass  # nothing comes here: it hands over
            return
        older = min(paths(self.base), key=_step_of)
        head = {"step": self.last, "input": self.input, "ranks": comm.size, "finished": simulation.finished,
                "trajectory": self.trajectory, "trees": {str(k): {} for k in range(comm.size)}}
        with writing(older), tree.replacing(older) as file:
            for names, value in tree.leaves(head):
                tree.put(file, names, value)
            for rank, (names, value) in parts:
                tree.put(file, ("trees", str(rank), *names), value)


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


def _newest_first(base):
    return [path for path in sorted(paths(base), key=_step_of, reverse=True) if path.exists()]


def trajectory(base: Path):
    """The name of the trajectory that the newest checkpoint goes with."""
    for path in _newest_first(base):
        try:
            return _peek(path)["trajectory"]
        except (OSError, KeyError):
            continue
    return base.name


def newest(base: Path, comm=None):
    """The newest checkpoint of a run that all ranks can read, or None: what ``Simulation.load_checkpoint`` takes, of as
    many ranks as wrote it this rank's tree only. Collective."""
    comm = comm or Serial()
    for path in _newest_first(base):
        try:
            mine = f"/trees/{comm.rank}" if int(_peek(path)["ranks"]) == comm.size else ""
            found = tree.load(path, lambda name, mine=mine: mine and name.startswith("/trees/") and
                              not f"{name}/".startswith(mine + "/"))
        except (InputError, OSError, KeyError):
            found = None
        if not comm.any(found is None):
            return found
    return None
