"""Two models trained as one: a small one for every time step, and a large one for what it leaves, for every k-th step.

After Fu, Musaelian, Johansson, Jaakkola and Kozinsky, arXiv 2310.13756: the small model is trained alone first; then
both are, the large one beginning from nothing. With L the loss of ``step`` (energy, forces, stress against labels),

    L(E_small + E_large) + w Σ_i |F_small,i − F*_i|² / (3N)

The second term keeps forces of the small model near the whole ones, so that the rest stays small and may act seldom.

| equation | name here |
|---|---|
| E_small, E_large | ``Pair.small``, ``Pair.large`` |
| w | ``Pair.weight`` |
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.config.quantities import InputFile
from engine.errors import InputError
from plugins.equivariant import folder as folders
from plugins.equivariant.data import baseline, store
from plugins.equivariant.models import build
from plugins.equivariant.training import batches, metrics
from plugins.equivariant.training.single import describe, without_core
from plugins.equivariant.training.step import Evaluation, compare, predict

ALONE = "alone"  # folder inside the small model's, for its training before the large one joins


@dataclass
class Cotrain:
    """folder : of the small model; model : its keys; epochs : for which it is trained alone; start : a trained model
    instead of that; weight : of the small model's own force error, the pair's being 1
    """

    folder: str
    model: dict[str, Any] = field(default_factory=dict)
    epochs: int = 50
    start: InputFile | None = None
    weight: float = 1.0

    def first(self, stage, force, resume, quiet) -> bool:
        """Train the small model alone, unless that is done; returns whether the pair's training goes on from a checkpoint."""
        if Path(self.folder).resolve() == Path(stage.folder).resolve():
            raise InputError(f"cotrain.folder = '{self.folder}' is the large model's; the two need folders of their own")
        if stage.start is not None:
            raise InputError("train: start is for one model; of a pair, cotrain.start names a trained small one")
        alone, out = Path(self.folder) / ALONE, Path(stage.folder)
        begun, done = (out / "training.safetensors").exists(), (alone / "model.toml").exists()
        if not resume:
            for path in (out, Path(self.folder)):
                stage.refuse_to_overwrite(path, force, False)
        if self.start is None and not (resume and (done or begun)):
            before = replace(stage, cotrain=None, folder=str(alone), model=self.model, epochs=self.epochs)
            before.train(force, resume, quiet)
        return resume and (begun or self.start is not None)


class Pair(nn.Module):
    """A small and a large model whose energies add; the small one sees the nearest `count` neighbours of every atom."""

    def __init__(self, small, large, count: int, weight: float):
        super().__init__()
        self.small, self.large, self.count, self.weight = small, large, count, weight

    def near(self, batch):
        """The batch with (A, count) neighbours: all that are inside the small model's cutoff."""
        vectors, neighbours, species, around, *rest = batch
        chosen = vectors.square().sum(-1).topk(min(self.count, vectors.shape[1]), largest=False).indices
        wide = chosen.unsqueeze(-1).expand(-1, -1, 3)
        return vectors.gather(1, wide), neighbours.gather(1, chosen), species, around.gather(1, chosen), *rest

    def losses(self, _, parameters, stress, batch):
        """As ``step.losses``, of the pair; energy, forces and stress are the sums."""
        small = predict(self.small, own(parameters, "small"), stress, self.near(batch))
        large = predict(self.large, own(parameters, "large"), stress, batch)
        loss, found = compare(tuple(a + b if a is not None else None for a, b in zip(small, large)), batch)
        forces, weight = batch[9:11]
        return loss + self.weight * (weight.unsqueeze(-1) * (small[1] - forces).square()).sum(), found

    def small_losses(self, _, parameters, stress, batch):
        """What the small model says by itself."""
        return compare(predict(self.small, own(parameters, "small"), stress, self.near(batch)), batch)


def own(parameters, part):
    return {name.removeprefix(f"{part}."): p for name, p in parameters.items() if name.startswith(f"{part}.")}


class Together:
    """What the stage trains where it has `cotrain`."""

    def __init__(self, stage, found, rows, processes):
        self.stage, how = stage, stage.cotrain
        start = how.start or Path(how.folder) / ALONE
        self.small = folders.load(start)[0]
        self.description = d = describe(stage.model, found, self.small.species)
        if d.zbl:
            raise InputError("train.model: zbl belongs to the small model of a pair (cotrain.model), which acts in every step")
        if d.charges or self.small.charges:
            raise InputError("train: latent charges of the two models of a pair would not add; train one model with charges")
        if d.species != self.small.species or d.dtype != self.small.dtype or d.cutoff < self.small.cutoff:
            raise InputError("cotrain: the two models must have the same species and dtype, and the small one no longer cutoff; "
                             f"small: {', '.join(self.small.species)}, {self.small.dtype}, {self.small.cutoff} Å; "
                             f"large: {', '.join(d.species)}, {d.dtype}, {d.cutoff} Å")
        self.frames = without_core(found, self.small)
        small = folders.to_model(start)
        torch.manual_seed(stage.seed + 1)
        large = build(d)
        graphs = store.GraphStore(self.frames, d.species, self.small.cutoff)
        large.scales[:] = self.left(small, graphs, rows["train"], processes)
        self.model = Pair(small, large, max(int(graphs.widest.max()), 1), how.weight)
        self.losses, self.shifts = self.model.losses, small.shifts

    def left(self, small, graphs, rows, processes):
        """rms force, eV/Å, that the small model leaves on `rows`, of all or of each species: the scales of the large one."""
        stage, d = self.stage, self.small
        labels = batches.Labels(self.frames, graphs, small.shifts.numpy(), stage.loss, d.cutoff, getattr(torch, d.dtype))
        shape = batches.shape_for(graphs, labels.sizes, rows, stage.batch, processes.size)
        names, parameters = zip(*small.named_parameters())
        found = metrics.measure(Evaluation(small, names, False), parameters, labels, rows, shape, processes)
        one = max(found.rmse("forces"), 1e-3) if "forces" in found.sums else 1.0
        if stage.scales != "species":
            return one
        each = np.array([found.rmse(f"forces {name}") for name in d.species])  # NaN where no frame has it
        return torch.tensor(baseline.by_species(one, each, np.isfinite(each)))

    def identity(self):
        return f"{self.small.identity()} {self.description.identity()} {self.model.weight}"

    def errors(self, trainer):
        """{"small test": Errors, ...} of the small model by itself, with the weights of the pair's best epoch."""
        evaluation = Evaluation(self.model, trainer.names, trainer.evaluation.stress, self.model.small_losses)
        return {f"small {part}": trainer.errors(part, trainer.best_weights, evaluation=evaluation)
                for part in ("validation", "test") if len(trainer.rows[part])}

    def save(self, trainer, out, about):
        small, large = Path(self.stage.cotrain.folder), Path(out)
        folders.save(small, self.small, folders.from_model(self.model.small), about | {"rest": str(large)})
        folders.save(large, self.description, folders.from_model(self.model.large), about | {"rest_of": str(small)})

    @property
    def notes(self):
        return levels({"small": self.stage.cotrain.folder, "rest": self.stage.folder}, {"rest": 1})


def levels(folders, slow):
    """Lines for an input file that runs two models at two time steps."""
    tables = [f"[potentials.{name}]\nkind = \"equivariant\"\nmodel = \"{path}\"\n" for name, path in folders.items()]
    weights = ", ".join(f"{name} = {weight}" for name, weight in slow.items())
    return ["", "at two time steps (`engine mts` finds how long the outer one may be):", "", *tables,
            "[[stage]]", "levels = [ { every = 1, potentials = { small = 1 } },",
            f"           {{ every = 4, potentials = {{ {weights} }} }} ]"]
