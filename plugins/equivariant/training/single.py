"""What a training trains where it trains one model: its description, its labels, its weights before the first step."""

from __future__ import annotations

import dataclasses

import torch

from engine.errors import InputError
from plugins.equivariant import core, last_layer
from plugins.equivariant import description as descriptions
from plugins.equivariant import folder as folders
from plugins.equivariant.data import baseline, shards, store
from plugins.equivariant.models import build
from plugins.equivariant.training.distill import relabel
from plugins.equivariant.training.step import losses

UNUSED = {"features", "embedding_depth", "embedding_width", "readout_depth"}  # by message passing


def started(stage):
    """The description of the model that is trained on."""
    d, _ = folders.load(stage.start)
    odd = [k for k, v in stage.model.items() if k != "dtype" and getattr(d, k, None) != v]
    if odd:
        raise InputError(f"train: model.{odd[0]} differs from that of start = {stage.start}; leave it out")
    if stage.scales != "one":
        raise InputError(f"train: scales are those of start = {stage.start}; leave them out")
    return dataclasses.replace(d, dtype=stage.model.get("dtype", d.dtype))


def describe(table, found, species=None):
    """The description: species from the frames, average neighbours from their graphs, where the table gives none."""
    table = dict(table)
    idle = sorted(set(table) & UNUSED) if table.get("architecture") == "message-passing" else []
    if idle:
        raise InputError(f"train.model: {', '.join(idle)} would do nothing: message passing has `channels` of every irrep, and "
                         "networks of latent_width and readout_width")
    table.setdefault("species", species or sorted({s for f in found for s in f.symbols}))
    d = descriptions.from_dict(table, "train.model")
    if "neighbors" not in table:
        d.neighbors = max(store.GraphStore(found, d.species, d.cutoff).neighbors, 1.0)
    return d


def without_core(found, d):
    """Frames less the nuclear core that stands under the model, if it has one."""
    if not d.zbl:
        return found
    given = {frozenset(pair.split("-")) for pair in d.cores}
    found_in = core.closest(store.GraphStore(found, d.species, d.cutoff), d)
    d.cores |= {pair: radius for pair, radius in found_in.items() if frozenset(pair.split("-")) not in given}
    return shards.keep(core.subtract(found, d))


class Single:
    """One model on the labels."""

    losses = staticmethod(losses)

    def __init__(self, stage, found, rows, processes):
        self.description = d = started(stage) if stage.start is not None else describe(stage.model, found)
        self.frames = without_core(found, d)
        torch.manual_seed(stage.seed)
        self.model, training = build(d), lambda: (self.frames[r] for r in rows["train"])
        if stage.start is not None:
            self.model.load_state_dict(folders.to_model(stage.start).state_dict())
            if isinstance(stage.shifts, dict):
                self.model.shifts[:] = torch.tensor(baseline.shifts([], d.species, stage.shifts))
            elif stage.shifts is not None:
                remain = left(lambda: (found[r] for r in rows["train"]), stage.start)
                self.model.shifts += torch.tensor(baseline.shifts(remain, d.species, stage.shifts))
        else:
            self.model.shifts[:] = torch.tensor(baseline.shifts(training(), d.species, stage.shifts))
            self.model.scales[:] = torch.tensor(baseline.scales(training(), d.species, stage.scales))
        self.shifts, self.notes = self.model.shifts, distilled(stage)

    def identity(self):
        return self.description.identity()

    def errors(self, trainer):
        return {}

    def save(self, trainer, out, about):
        folders.save(out, self.description, folders.from_model(self.model), about)
        last_layer.keep(trainer, out)


def left(frames, model):
    """Frames, of which `frames()` goes through, with the energies that a trained model leaves in place of their own."""
    for f, own in zip(frames(), relabel(frames(), model)):
        yield dataclasses.replace(f, energy=None if f.energy is None else f.energy - own.energy)


def distilled(stage):
    """How a model that was distilled from a larger one goes together with it."""
    from plugins.equivariant.training.pair import levels

    if stage.distill is None:
        return []
    return levels({"small": stage.folder, "large": stage.distill}, {"large": 1, "small": -1})
