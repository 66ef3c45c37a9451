"""``kind = "train-dielectric"``: a stage that makes a model of an electric enthalpy; ``engine train`` runs it.

```toml
[[stage]]
kind = "train-dielectric"
folder = "model"
data = { files = ["SiO2.xyz"] }
trajectories = [76, 75]               # frames of each; the last fifth of each is held out
model = { cutoff = 4.5, channels = 16, features = 48, parity = false }
epochs = 500
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from engine.config.quantities import ElectricField
from engine.errors import InputError
from plugins.dielectric import frames, training
from plugins.dielectric.labels import Labels, Loss
from plugins.equivariant.data import checks
from plugins.equivariant.training.single import describe
from plugins.equivariant.training.stage import Training


@dataclass
class TrainDielectric(Training):
    """Train F(R, E) on labelled frames (``plugins.dielectric.frames`` says which labels, and their names).

    data : files and what their labels are called;  model : keys of ``plugins.equivariant.description.Description``; species and
    neighbors follow from the data if not given;  folder : where the model, its report and checkpoints go
    epochs, max_time : whichever ends first, all sessions counted;  compile : compile the training step;  checkpoint : s between
    checkpoints;  device : "cpu" or "cuda"
    trajectories : how many frames each of the trajectories in the data has, by default one;  test : part of each, its end, that
    is held out;  loss : weights of the labels
    form : "quadratic" in the field, or "full", all orders;  field_scale : V/Å, of the full form's fields
    slopes : part of the training in which Born charges alone, if there are any, teach the polarization
    """

    trajectories: list[PositiveInt] | None = None
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    loss: Loss = field(default_factory=Loss)
    form: Literal["quadratic", "full"] = "quadratic"
    field_scale: Annotated[ElectricField, Field(gt=0)] = 0.1
    slopes: Annotated[float, Field(ge=0, lt=1)] = 0.3

    def __post_init__(self):
        if self.optimizer.schedule == "plateau":
            raise InputError("train-dielectric: optimizer.schedule = \"plateau\" waits for a validation, and no frames are set "
                             "aside for one; allowed: cosine, constant")

    def gather(self):
        found = frames.read(self.data)
        rows = frames.by_blocks(len(found), self.trajectories or [len(found)], self.test)
        if not len(rows["train"]):
            raise InputError(f"data: of {len(found)} frames none is left to train on: the last of every trajectory are held out "
                             f"(test = {self.test}), and the two before nobody sees")
        return found, rows

    def look(self, found):
        return checks.check(found, frames.LABELS, frames.LABELS)

    def subject(self, found, rows, processes):
        return training.Enthalpy(self, describe(self.model, found), found, rows)

    def trainer(self, subject, graphs, rows, *arguments, **options):
        d = subject.description
        labels = Labels(subject.frames, graphs, subject.model.shifts.numpy(), self.loss, d.cutoff, getattr(torch, d.dtype),
                        rows["train"])
        return training.DielectricTrainer(subject.model, labels, rows, *arguments, slopes=self.slopes,
                                          identity=subject.identity(), **options)
