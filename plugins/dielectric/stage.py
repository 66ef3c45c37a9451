"""``kind = "train-dielectric"``: a stage that makes a model of an electric enthalpy; ``engine train`` runs it.

```toml
[[stage]]
kind = "train-dielectric"
folder = "model"
data = ["SiO2.xyz"]
trajectories = [76, 75]               # frames of each; the last fifth of each is held out
model = { cutoff = 4.5, channels = 16, features = 48, parity = false }
epochs = 500
```
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from engine.config.quantities import ElectricField, InputFile
from engine.errors import InputError
from engine.output.watch import seconds
from engine.stages import Stage
from plugins.dielectric import frames, training
from plugins.equivariant import description as descriptions
from plugins.equivariant.training.screen import Screen


@dataclass
class TrainDielectric(Stage):
    """Train F(R, E) on labelled frames (``plugins.dielectric.frames`` says which labels, and their names).

    data : extended XYZ;  trajectories : how many frames each of the trajectories in them has, by default one;  test : part of
    each, its end, that is held out
    model : keys of ``plugins.equivariant.description.Description``; species and neighbors follow from the data
    form : "quadratic" in the field, or "full", all orders;  field_scale : V/Å, of the full form's fields
    folder : where model, learning curve and checkpoint go;  epochs, max_time : whichever ends first
    batch : frames in a step;  rate : the largest, falls along a cosine;  weights : of the labels in the loss, the
    others' as they are;  compile : the whole step, by torch
    """

    data: Annotated[list[InputFile], Field(min_length=1)]
    trajectories: list[PositiveInt] | None = None
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    model: dict[str, Any] = field(default_factory=dict)
    form: Literal["quadratic", "full"] = "quadratic"
    field_scale: Annotated[ElectricField, Field(gt=0)] = 0.1
    folder: str = "model"
    epochs: PositiveInt = 500
    max_time: str | None = None
    batch: PositiveInt = 1
    rate: PositiveFloat = 0.01
    weights: dict[str, NonNegativeFloat] = field(default_factory=dict)
    compile: bool = True
    seed: int = 0
    needs_system = False

    def __post_init__(self):
        unknown = sorted(set(self.weights) - set(training.WEIGHTS))
        if unknown:
            raise InputError(f"weights: there is no label '{unknown[0]}'; there are {', '.join(training.WEIGHTS)}")
        if self.max_time and not re.fullmatch(r"\d+:[0-5]\d(:[0-5]\d)?", self.max_time):
            raise InputError(f"max_time = '{self.max_time}': must be hours:minutes or hours:minutes:seconds")

    def read(self):
        """(description, frames that train, frames held out)."""
        table, images = dict(self.model), frames.images(self.data)
        table.setdefault("species", sorted({s for _, atoms in images for s in atoms.symbols}))
        table.setdefault("neighbors", 1.0)
        d = descriptions.from_dict(table, "model")
        every = frames.labelled(images, d.species, d.cutoff)
        train, held = frames.by_blocks(len(every), self.trajectories or [len(every)], self.test)
        if not len(train):
            raise InputError(f"data: of {len(every)} frames none is left to train on: the last of every trajectory are held out "
                             f"(test = {self.test}), and the two before nobody sees")
        train, held = [every[k] for k in train], [every[k] for k in held]
        if "neighbors" not in self.model:
            d.neighbors = float(sum(len(f.graph.centre) for f in train) / sum(len(f.forces) for f in train))
        return d, train, held

    def check(self):
        """What the data are, without training."""
        _, train, held = self.read()
        return training.Summary(train, held)

    def proceed(self, simulation=None):
        self.train()

    def train(self, force=False, resume=False, quiet=False):
        """Make the folder; returns {label: mean absolute error} on the frames held out. Its errors.json has those on the frames
        trained on, too."""
        screen, out = Screen(quiet), Path(self.folder)
        if out.exists() and any(out.iterdir()) and not (force or resume):
            raise InputError(f"{out} is not empty; `engine train --resume` goes on with it, --force starts over")
        d, train, held = self.read()
        summary = training.Summary(train, held)
        summary.require()
        screen.say(str(summary))
        torch.manual_seed(self.seed)
        model = training.new_model(train, d, self.form, self.field_scale, self.seed)
        settings = training.Settings(
            epochs=self.epochs, batch=self.batch, rate=self.rate, seed=self.seed, compiled=self.compile,
            minutes=seconds(self.max_time) / 60 if self.max_time else 1e9, weights={**training.WEIGHTS, **self.weights})
        run = training.Training(model, train, settings, out)
        if force:
            (out / "learning.csv").unlink(missing_ok=True)
        if resume and not run.load():
            raise InputError(f"{out}: there is no checkpoint (state.pt) to go on from")
        with screen.progress(self.epochs) as move:
            run.run(screen.say, held[::3], move)
        run.draw()
        best = training.load(out)
        found = {"held out": training.errors(best, held), "trained on": training.errors(best, train)}
        (out / "errors.json").write_text(json.dumps(found, indent=1))
        for part, errors in found.items():
            screen.say(f"mean absolute errors on the frames {part}: " +
                       ", ".join(f"{name} {value:.4g} {training.UNITS[name]}" for name, value in errors.items()))
        return found["held out"]
