"""From an input file to a finished run: builds the parts, opens the files, goes through the stages, resumes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path

from engine import memory
from engine import stages as stages_
from engine.config import input as config
from engine.config import plugins
from engine.config.ramp import Ramp
from engine.config.system import build_state
from engine.contracts import Hook
from engine.errors import InputError
from engine.output import checkpoint, watch
from engine.output.extxyz import ExtXYZWriter
from engine.output.file import RunFile
from engine.output.h5md import H5MDWriter
from engine.output.screen import Screen
from engine.output.thermo import ThermoTable
from engine.parallel import share_cores, world
from engine.simulation import Simulation, refuse_ranks

H5MD = (".h5md", ".h5")


class Run:
    """One input file's run.

    raw : the tables of the input file;  folder : what its relative paths are relative to
    """

    def __init__(self, raw: dict, folder=".", name="input"):
        self.raw, self.folder, self.name = raw, str(Path(folder).resolve()), name
        self.comm = world()
        self.input = config.parse(raw, self.folder, name)
        self.stages = [stages_.make(table, k, self.folder) for k, table in enumerate(self.input.stage)]
        self.simulation = None
        self._names = [table.get("kind", "md") for table in self.input.stage]

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self):
        """The simulation: state, potentials, fields, updaters and the input's own hooks; no file is touched."""
        given = self.input
        if given.system is None:
            raise InputError(f"{self.name}: the table [system] is missing")
        named = given.named_potentials()
        if not named:
            raise InputError(f"{self.name}: the table [potential] (or [potentials.NAME]) is missing")
        place = "potential" if given.potential is not None else "potentials.{}"
        potentials = {
            name: plugins.make("potentials", table, place.format(name), self.folder) for name, table in named.items()
        }
        parts = {
            group: [plugins.make(group, table, f"{group[:-1]}[{k}]", self.folder) for k, table in enumerate(tables)]
            for group, tables in (("fields", given.field), ("updaters", given.updater), ("hooks", given.hook))
        }
        refuse_ranks(potentials, self.comm)
        self._check_stages([*zip(given.hook, parts["hooks"], strict=True), *zip(given.field, parts["fields"], strict=True)])
        share_cores(self.comm, given.run.threads)
        state = build_state(given.system, given.run.seed)
        self.simulation = Simulation(
            state, potentials, seed=given.run.seed, skin=given.run.skin, comm=self.comm, precision=given.run.precision, **parts
        )
        if self.simulation.domain.balance:
            self.simulation.domain.balance.by = given.run.tune
        self.simulation.to_come = frozenset(path.resolve() for path in self._of_stages())
        memory.refuse_what_cannot_fit(self.simulation)
        self.stages[0].prepare(self.simulation)
        return self.simulation

    def _check_stages(self, parts):
        """Refuse hooks and fields that name a stage which there is not, and on ranks stages without a system to divide."""
        for k, stage in enumerate(self.stages):
            if self.comm.size > 1 and not stage.needs_system:
                raise InputError(f"stage[{k}] (kind = '{self._names[k]}') has no system that ranks could share: run it "
                                 "by itself, `engine train` started with torchrun")
        for table, part in parts:
            for stage in getattr(part, "stages", None) or ():
                if not 0 <= stage < len(self.stages):
                    raise InputError(f"'{table['kind']}' has stages = {table['stages']}: they are numbered from 0 to "
                                     f"{len(self.stages) - 1}")

    def resolved(self):
        """The input as it was given, with where its paths start, as JSON: what resume reads."""
        return json.dumps({"input": self.raw, "folder": self.folder, "name": self.name})

    def described(self):
        """The input with every default filled in, plugins' own keys included."""
        tables = self.input.model_dump(exclude_none=True)
        sim = self.simulation
        named = {name: _table(part, self.input.named_potentials()[name].get("kind")) for name, part in sim.potentials.items()}
        if self.input.potential is not None:
            tables["potential"] = named["potential"]
        else:
            tables["potentials"] = named
        for name, parts in (("field", sim.fields), ("updater", sim.updaters), ("hook", sim.hooks)):
            tables[name] = [_table(part, given.get("kind")) for part, given in zip(parts, tables[name], strict=False)]
        stages = []
        for given, stage in zip(self.input.stage, self.stages, strict=True):
            integrator = getattr(stage, "integrator", None)
            if dataclasses.is_dataclass(integrator):
                stages.append({"kind": "md", "steps": stage.steps, "levels": stage.levels, "integrator": given["integrator"],
                               **_table(integrator)})
                if isinstance(given.get("barostat"), dict):
                    stages[-1]["barostat"] = {"kind": given["barostat"].get("kind"), **stages[-1]["barostat"]}
            else:
                stages.append(_table(stage, given.get("kind")))
        tables["stage"] = stages
        return tables

    def rehearse(self):
        """Everything that happens before the first step, without files: forces, and whether every hook has what it needs."""
        sim, given = self.simulation, self.input.output
        for stage in reversed(self.stages):
            stage.prepare(sim)
        if sim.electric is not None:
            sim.electric.begin(sim)
        for hook in [*sim.hooks, ThermoTable(given.thermo, given.columns)]:
            hook.start(sim)
        sim.forces.all_levels(frozenset({"energy"}))

    # -- files --------------------------------------------------------------------------------------------------------
    @property
    def base(self):
        return Path(self.input.output.file)

    def companions(self):
        """Files that the run writes, whether they exist or not."""
        trajectory = self.base.with_name(checkpoint.trajectory(self.base))
        return [*{self.base, trajectory}, self.base.with_suffix(".thermo.txt"), *checkpoint.paths(self.base), *self._of_stages()]

    def _of_stages(self):
        return [Path(file) for stage in self.stages for file in stage.files()]

    def refuse_to_overwrite(self):
        for path in self._of_stages():
            if path.exists():
                raise InputError(f"{path} exists, and a stage writes it; name another file, or `engine run --force` replaces it")
        for path in self.companions():
            if path.exists():
                raise InputError(f"{path} exists; `engine resume {self.base}` goes on with it, `engine run --force` starts over")

    def open_output(self, quiet, fresh):
        """The writers as hooks, on rank 0 with files, elsewhere without. A fresh run's files are made when everything
        has started, so that a mistake in the input leaves those of an earlier run as they are."""
        given, sim, first = self.input.output, self.simulation, self.comm.rank == 0
        self._described = json.dumps(self.described(), default=str, ensure_ascii=False)  # before writers join the hooks
        self.file = run_file(self.base) if first else None
        self.screen = Screen(sum(s.steps for s in self.stages), self.comm.sum(sim.state.n), quiet or not first)
        self.watch = watch.Watch(watch.seconds(self.input.run.max_time) if self.input.run.max_time else None)
        hooks = self.writers(self.base, self.file, self.screen.say, first)
        observers = sim.hooks
        for hook in observers:
            hook.file = self.file
        self.checkpoint = checkpoint.Checkpoint(given.checkpoint, self.base, self.resolved())
        opening = _Opening(self if fresh and first else None)
        sim.hooks = [opening, *hooks, *observers, self.checkpoint, self.screen, self.watch]

    def writers(self, base, file, show=None, first=True):
        """The hooks that write thermo table and trajectory; base : path of the trajectory;  file : its `run_file`;  first : on
        the first rank, which has the files."""
        given = self.input.output
        hooks = [ThermoTable(given.thermo, given.columns, file, base.with_suffix(".thermo.txt") if first else None, show,
                             writes=first)]
        if given.trajectory and base.suffix in H5MD:
            hooks.append(H5MDWriter(given.trajectory, file, given.fields))
        elif given.trajectory:
            hooks.append(ExtXYZWriter(given.trajectory, base, writes=first))
        return hooks

    def create(self):
        """Start new files in the place of whatever is there."""
        for path in self.companions():
            path.unlink(missing_ok=True)
        if self.file is not None:
            self.file.open("w")
            self.file.describe(self.resolved(), self.input.run.seed, self._described)

    def go_back(self, tree):
        """Cut what was written after the checkpoint; a trajectory that does not open is kept, and another begun."""
        self.checkpoint.trajectory = tree.get("trajectory", self.base.name)
        another = self.comm.rank == 0 and self._reopen(int(tree["step"]))
        if self.comm.any(another):
            self.checkpoint.act(self.simulation)

    def _reopen(self, step):
        """Open the trajectory and cut it after `step`; True if another one had to be begun."""
        if self.file is None:
            self._truncate(step)
            return False
        self.file.path = self.base.with_name(self.checkpoint.trajectory)
        try:
            self.file.open("r+")
            self._truncate(step)
        except InputError as error:
            self.file.abandon()
            paths = (self.base.with_name(f"{self.base.stem}-{k}{self.base.suffix}") for k in itertools.count(2))
            self.file.path = next(path for path in paths if not path.exists())
            print(f"engine: {error}; it is kept as it is, and the run goes on in {self.file.path}", file=sys.stderr)
            self.file.open("w")
            self.file.describe(self.resolved(), self.input.run.seed, self._described)
            self.checkpoint.trajectory = self.file.path.name
            self._truncate(step)
            return True
        return False

    def _truncate(self, step):
        for hook in self.simulation.hooks:
            if hasattr(hook, "truncate"):
                hook.truncate(step)

    # -- running ------------------------------------------------------------------------------------------------------
    def execute(self, quiet=False, force=False, tree=None):
        """Run all stages (from `tree`, a checkpoint, if given). Returns the reason why it stopped early, or None."""
        if tree is None and not force:
            if self.comm.rank == 0:
                self.refuse_to_overwrite()
            self.comm.barrier()
        self.build()
        sim = self.simulation
        self.open_output(quiet, tree is None)
        start = 0 if tree is None else int(next(iter(tree["trees"].values()))["run"]["stage"])
        if tree is not None:
            self.stages[start].prepare(sim)
            sim.load_checkpoint(tree)
            self.go_back(tree)
            if sim.state.step >= sim.stage_start + sim.stage_steps and start + 1 < len(self.stages):
                start, tree = start + 1, None
        self.watch.install()
        try:
            for index in range(start, len(self.stages)):
                if tree is None or index > start:
                    self.stages[index].prepare(sim)
                    sim.begin_stage(index, self.stages[index].steps)
                self.stages[index].proceed(sim)
                if sim.stop_reason is not None:
                    break
            sim.finished = sim.stop_reason is None
            if sim.finished:
                self.checkpoint.last = None
            sim.finish()
            if self.file is not None:
                self.file.close()
            self.comm.barrier()  # all files are there, on whatever rank one looks
        except BaseException:
            if self.file is not None:
                self.file.abandon()
            raise
        finally:
            self.watch.restore()
            if self.screen.bar is not None:
                self.screen.bar.stop()
        return sim.stop_reason


def run_file(path):
    """The file of a run that writes to this path, not yet open; None for those that have none of HDF5."""
    return RunFile(path) if path.suffix in H5MD else None


def _table(part, kind=None):
    """A plugin's keys with their values, as an input file would give them."""
    out = {} if kind is None else {"kind": kind}
    for field in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, field.name, None)
        if field.init and value is not None and not field.name.startswith("_"):
            if isinstance(value, Ramp):
                value = {"from": value.first, "to": value.last}
            out[field.name] = _table(value) if dataclasses.is_dataclass(value) else value
    return out


class _Opening(Hook):
    """The first hook to act makes the files: by then every hook has started and forces are evaluated, and an input that is
    no good has been refused without a file made or replaced."""

    every = 2**62

    def __init__(self, run):
        self.run = run

    def act(self, simulation):
        simulation.check_sane()
        if self.run is not None:
            self.run.create()
        self.run = None


def from_file(path):
    """The Run of an input file."""
    _, raw = config.read(path)
    return Run(raw, Path(path).parent, str(path))


def from_checkpoint(base):
    """(Run, tree) of the newest checkpoint beside an output file."""
    base = Path(base)
    found = checkpoint.newest(base, world())
    if found is None:
        raise InputError(f"{base}: there is no readable checkpoint beside it ({checkpoint.paths(base)[0].name} or -2) "
                         "to go on from; `engine run --force` starts over")
    stored = json.loads(found["input"])
    raw = stored["input"]
    raw.setdefault("output", {})["file"] = str(base)
    return Run(raw, stored["folder"], stored["name"]), found
