"""``kind = "train"``: a stage that makes a model folder from labelled frames; the only stage of an ``engine train`` file.

```toml
[[stage]]
kind = "train"
folder = "water"
data = { files = ["water.xyz"] }
split = { by = "block", validation = 0.1, test = 0.1 }
model = { cutoff = 4.5, l_max = 2, layers = 2, channels = 16, features = 32 }
shifts = "mean"
epochs = 100
```
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from engine.config.quantities import InputFile, WallTime
from engine.errors import InputError
from engine.output.watch import Watch, seconds
from engine.stages import Stage
from plugins.equivariant.data import checks, frames, shards, splits, store
from plugins.equivariant.devices import Device
from plugins.equivariant.lattice_sum import Lattice
from plugins.equivariant.training import batches, report
from plugins.equivariant.training.distill import relabel
from plugins.equivariant.training.loop import Optimizer, Trainer
from plugins.equivariant.training.pair import Cotrain, Together
from plugins.equivariant.training.processes import Processes
from plugins.equivariant.training.single import Single


@dataclass
class Training(Stage):
    """What trainings of all kinds of model have in common; the keys are described where they are used."""

    data: frames.Source
    model: dict[str, Any] = field(default_factory=dict)
    folder: str = "model"
    batch: batches.BatchSize = field(default_factory=batches.BatchSize)
    optimizer: Optimizer = field(default_factory=Optimizer)
    epochs: PositiveInt = 100
    max_time: WallTime | None = None
    compile: bool = True
    checkpoint: PositiveFloat = 300.0
    seed: NonNegativeInt = 0
    device: Device = "cpu"
    needs_system = False

    # -- what a kind of training says ---------------------------------------------------------------------------------
    def gather(self):
        """(all frames, rows of each part)."""
        raise NotImplementedError

    def subject(self, found, rows, processes):
        """What is trained: `model`, `description`, `frames`, `identity()`, `save(trainer, folder, about)`, `errors(trainer)`,
        `notes`."""
        raise NotImplementedError

    def trainer(self, subject, graphs, rows, *arguments, **options):
        """The labels beside the graphs, and who learns them."""
        raise NotImplementedError

    def look(self, found):
        """The report on the data."""
        return checks.check(found)

    # -- what all do --------------------------------------------------------------------------------------------------
    def check(self):
        """The report on the data, without training."""
        return self.look(self.gather()[0])

    def begin(self, processes, say=print, **more):
        """(trainer, what it trains); `more` are options of ``Trainer``."""
        found, rows = self.gather()
        looked = self.look(found)
        if processes.first:
            say(str(looked))
        looked.require()
        subject = self.subject(found, rows, processes)
        d = subject.description
        graphs = store.GraphStore(subject.frames, d.species, d.cutoff)
        trainer = self.trainer(subject, graphs, rows, self.optimizer, self.batch, self.epochs, self.folder, processes,
                               seconds=seconds(self.max_time) if self.max_time else None, seed=self.seed, compiled=self.compile,
                               save_every=self.checkpoint, say=say, **more)
        for line in trainer.labels.lacking(rows):
            say(line)
        if processes.size > self.batch.frames:
            say(f"warning: batch.frames = {self.batch.frames} for {processes.size} processes: some have nothing to do")
        unseen = [name for name, count in zip(d.species, graphs.counts[rows["train"]].sum(0)) if not count]
        if unseen:
            say(f"warning: no frame to train on has {', '.join(unseen)}: what the model says of them is not learned")
        parts = ", ".join(f"{len(v)} {k}" for k, v in rows.items() if len(v))
        say(f"{sum(p.numel() for p in subject.model.parameters())} weights; frames: {parts}; "
            f"{graphs.neighbors:.1f} neighbours inside {d.cutoff} Å")
        return trainer, subject

    def proceed(self, simulation=None):
        """As a stage of a run that does other things as well."""
        self.train()

    def train(self, force=False, resume=False, quiet=False):
        """Make the folder; returns {part: Errors}."""
        from plugins.equivariant.training.screen import Screen

        processes = Processes(self.device)
        screen = Screen(quiet or not processes.first)
        out = Path(self.folder)
        self.refuse_to_overwrite(out, force, resume)
        trainer, subject = self.begin(processes, screen.say)
        rows = trainer.rows
        out.mkdir(parents=True, exist_ok=True)
        if resume:
            trainer.resume()
        watch = Watch()
        watch.install()
        try:
            with screen.progress(self.epochs) as progress:
                reason = trainer.fit(progress, watch.reason)
        finally:
            watch.restore()
        notes = [f"stopped: {reason}", f"training step: {trainer.step.note}", trainer.kept,
                 f"processes: {processes.size}", f"seconds: {trainer.state['seconds']:.1f}"]
        parts = [part for part in ("train", "validation", "test") if len(rows[part])]
        errors = {part: trainer.errors(part, trainer.best_weights, part == parts[-1]) for part in parts} | subject.errors(trainer)
        if processes.first:
            with torch.no_grad():
                for p, best in zip(trainer.parameters, trainer.best_weights):
                    p.copy_(best)
            subject.save(trainer, out, {"origin": "trained", "torch": torch.__version__, "files": json.dumps(self.data.files)})
            screen.say(report.write(out, errors, trainer.state, notes + list(subject.notes), trainer.watched))
        processes.barrier()
        processes.close()
        return errors

    def refuse_to_overwrite(self, out, force, resume):
        has = (out / "training.safetensors").exists(), (out / "model.toml").exists()
        if resume and not has[0]:
            raise InputError(f"{out}: there is no training.safetensors to go on from")
        if not resume and any(has) and not force:
            raise InputError(f"{out} holds a model or its training; `engine train FILE --resume` goes on with it, "
                             "`engine train FILE --force` starts over")


@dataclass
class Train(Training):
    """Train a model on labelled frames.

    data : files and what their labels are called;  split : which frames judge and test;  validation_data, test_data : files of
    their own instead;  model : keys of ``description.Description``; species and neighbors follow from the data if not given
    folder : where the model, its report and checkpoints go;  start : a model folder to go on from (fine-tuning)
    loss : weights of the labels;  epochs, max_time : whichever ends first, all sessions counted;  patience : early stop
    compile : compile the training step;  checkpoint : s between checkpoints;  device : "cpu" or "cuda"
    cotrain : a small model trained with this one, for two time steps (``pair.Cotrain``); distill : a model folder whose
    energies, forces and stresses replace the labels, to get a small model from a large one
    shifts : "fit" (the default of a new model), "mean", or eV for each species; with `start` those of the model, unless given:
    then "fit" and "mean" are of what it leaves; scales : of what a new model says of an atom, "one" (rms of all force
    components), "species" (of those on each species), or eV for each; the large model of a pair has what the small one
    leaves instead (numbers are the small one's)
    """

    split: splits.Split = field(default_factory=splits.Split)
    validation_data: frames.Source | None = None
    test_data: frames.Source | None = None
    loss: batches.Loss = field(default_factory=batches.Loss)
    shifts: dict[str, float] | Literal["fit", "mean"] | None = None
    scales: dict[str, float] | Literal["one", "species"] = "one"
    patience: PositiveInt | None = None
    start: InputFile | None = None
    cotrain: Cotrain | None = None
    distill: InputFile | None = None

    def read(self, source):
        found = shards.load(source)
        return shards.keep(relabel(found, self.distill)) if self.distill is not None else found

    def gather(self):
        found = self.read(self.data)
        extra = {"validation": self.validation_data, "test": self.test_data}
        how = splits.Split(**vars(self.split))
        for part, source in extra.items():
            if source is not None:
                setattr(how, part, 0.0)
        rows = splits.split(found, how)
        for part, source in extra.items():
            if source is not None:
                more = self.read(source)
                rows[part] = np.arange(len(found), len(found) + len(more))
                found = found + more
        return found, rows

    def train(self, force=False, resume=False, quiet=False):
        if self.cotrain is not None:
            resume = self.cotrain.first(self, force, resume, quiet)
        return super().train(force, resume, quiet)

    def subject(self, found, rows, processes):
        return (Together if self.cotrain is not None else Single)(self, found, rows, processes)

    def trainer(self, subject, graphs, rows, *arguments, **options):
        d = subject.description
        labels = batches.Labels(subject.frames, graphs, subject.shifts.numpy(), self.loss, d.cutoff, getattr(torch, d.dtype),
                                Lattice(subject.frames, d.smearing) if d.charges else None)
        return Trainer(subject.model, labels, rows, *arguments, patience=self.patience, losses=subject.losses,
                       identity=repr((subject.identity(), self.shifts, self.scales, self.start)), **options)
