"""The training loop: Muon or Adam, an average of the weights (EMA), a schedule, clipping, early stop, checkpoints, resume.

Everything that decides what happens next is in the checkpoint or follows from the seed, so that a training that was
stopped and resumed gives the same bits as one that was not (with `seconds` the rate follows the clock, which never says the
same twice).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from engine.errors import InputError
from plugins.equivariant.training import batches, checkpoint, metrics, report
from plugins.equivariant.training.muon import Muon
from plugins.equivariant.training.step import Evaluation, Step, losses

OPTIMIZERS = {"muon": Muon, "adam": torch.optim.Adam}
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass
class Optimizer:
    """kind : "muon" (``muon.py``, which needs far fewer steps) or "adam"; rate : its largest value; schedule : over all
    epochs, or the time allowed if that ends first, "cosine" falls to 1 % of it; "plateau" multiplies it by `factor` after
    `wait` epochs without a better validation, "constant" does not change it; warmup : steps in which it rises; clip :
    largest norm of the gradient (0: none); ema : decay of the weights' average (0: none)
    """

    kind: Literal["muon", "adam"] = "muon"
    rate: PositiveFloat = 0.01
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup: NonNegativeInt = 100
    factor: Share = 0.5
    wait: PositiveInt = 10
    clip: NonNegativeFloat = 10.0
    ema: Share = 0.99


class Trainer:
    """Fits `model` to the frames of `labels`; `rows` are the rows of each part.

    epochs : at most;  seconds : by `clock`, at most;  patience : epochs without a better validation before it stops
    losses : what is minimised (``step.losses``, or a pair's);  identity : of the model, and how its shifts and scales are found

    What an epoch comes to is judged by the validation frames, or those of training where there are none; the weights' average
    that did best is kept in `best_weights`. A training of more labels is a subclass with its own `functions`, `inputs`, `judge`
    and `errors` (``plugins.dielectric.training``).
    """

    def __init__(self, model, labels, rows, how: Optimizer, batch: batches.BatchSize, epochs, folder, processes, *,
                 seconds=None, patience=None, seed=0, compiled=True, save_every=300.0, say=print, losses=losses,
                 clock=time.perf_counter, identity=""):
        self.identity = identity
        self.model, self.labels, self.rows, self.how = model, labels, rows, how
        self.epochs, self.folder, self.processes = epochs, Path(folder), processes
        self.seconds, self.patience, self.seed, self.save_every, self.say = seconds, patience, seed, save_every, say
        self.clock = clock
        sizes = labels.sizes
        self.batch = batch
        self.limits = labels.limits(batch)
        everything = np.concatenate([np.asarray(part, int) for part in rows.values()])
        self.shape = batches.shape_for(labels.store, sizes, everything, batch, processes.size)
        model.to(processes.device)
        labels.device = processes.device
        self.names = [n for n, _ in model.named_parameters()]
        self.parameters = [p for _, p in model.named_parameters()]
        self.average = [p.detach().clone() for p in self.parameters]
        self.best_weights = [p.detach().clone() for p in self.parameters]
        if how.kind not in OPTIMIZERS:
            raise InputError(f"optimizer: kind = '{how.kind}'; allowed: {', '.join(OPTIMIZERS)}")
        self.optimizer = OPTIMIZERS[how.kind](self.parameters, how.rate)
        self.step, self.evaluation = self.functions(compiled, losses)
        self.total = len(self.order(0)) * epochs  # steps
        self.state = dict(epoch=0, batch=0, steps=0, best=math.inf, best_epoch=-1, since=0, factor=1.0, seconds=0.0,
                          loss_sum=0.0, history=[])

    def functions(self, compiled, losses):
        """(step, evaluation)"""
        step = Step(self.model, self.names, self.labels.loss.stress > 0, compiled, losses, self.shape.edges)
        return step, Evaluation(self.model, self.names, bool(self.labels.has["stress"].any()), losses)

    # -- one step ---------------------------------------------------------------------------------------------------
    @property
    def done(self):
        """Part of the training that is over, by steps or by the clock."""
        return min(max(self.state["steps"] / max(self.total, 1), self.state["seconds"] / (self.seconds or math.inf)), 1.0)

    def rate(self):
        """Learning rate of the present step."""
        how, value = self.how, self.how.rate * self.state["factor"]
        if how.schedule == "cosine":
            value *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.done))
        return value * min(1.0, (self.state["steps"] + 1) / max(how.warmup, 1))

    def inputs(self, rows):
        """What the step is given of the batch `rows`: this process's part."""
        return self.labels.batch(rows, self.shape, self.processes.rank, self.processes.size)

    def update(self, rows):
        gradients, loss = self.step(self.parameters, self.inputs(rows))
        *gradients, loss = self.processes.sum([*gradients, loss])
        if not math.isfinite(float(loss)):
            raise InputError(f"training: the loss is not a number at step {self.state['steps']}; a lower rate or clip helps, "
                             "and `engine train --check` looks for odd labels")
        for p, g in zip(self.parameters, gradients):
            p.grad = g
        if self.how.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.how.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.step()
        self.state["steps"] += 1
        with torch.no_grad():
            decay = min(self.how.ema, (1 + self.state["steps"]) / (10 + self.state["steps"]))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        return float(loss)

    # -- the loop ---------------------------------------------------------------------------------------------------
    def order(self, epoch):
        return batches.order(self.rows["train"], self.limits, self.batch.frames, self.seed, epoch)

    def over(self):
        """Why there is nothing more to do; None if there is."""
        if self.state["epoch"] >= self.epochs:
            return "all epochs done"
        if self.patience is not None and self.state["since"] >= self.patience:
            return f"no better validation in {self.patience} epochs"
        if self.seconds is not None and self.state["seconds"] > self.seconds:
            return "the time is up"
        return None

    def fit(self, progress=None, interrupted=lambda: None):
        """Train to the end or until something says stop; returns the reason. `interrupted()` is asked after every step, and
        gives a reason or None.

        What is saved last is where it stopped, in the middle of an epoch or not, so that a resumed training goes on with the
        very next batch. The weights of an epoch cut short are judged all the same: where the clock ended it, they are the best.
        """
        state = self.state
        started, saved = self.clock() - state["seconds"], -math.inf
        while (reason := self.over()) is None:
            order = self.order(state["epoch"])
            while state["batch"] < len(order) and reason is None:
                state["loss_sum"] += self.update(order[state["batch"]])
                state["batch"] += 1
                why = interrupted()
                state["seconds"], stop = self.processes.largest(self.clock() - started, float(why is not None))
                if progress:
                    progress(state, len(order))
                if time.perf_counter() - saved > self.save_every:
                    self.save()
                    saved = time.perf_counter()
                reason = (why or "another process was stopped") if stop else self.over()
            if reason is not None:
                break
            self.end_of_epoch()
        self.save()
        if state["batch"]:
            self.end_of_epoch()
        return reason

    def end_of_epoch(self):
        state = self.state
        row = dict(epoch=state["epoch"], loss=state["loss_sum"] / max(state["batch"], 1),
                   rate=self.optimizer.param_groups[0]["lr"], seconds=state["seconds"]) | self.judge()
        state["history"].append(row)
        if self.processes.first:
            found = [f"{name} {factor * row[name]:.3g}" for name, (_, factor) in report.UNITS.items() if name in row]
            judged = f"{self.watched} MAE (meV, me, Å): {', '.join(found)}  " if found else ""
            self.say(f"epoch {row['epoch']:4d}  loss {row['loss']:.4g}  {judged}rate {row['rate']:.2g}  {row['seconds']:.0f} s")
        state.update(epoch=state["epoch"] + 1, batch=0, loss_sum=0.0)

    @property
    def watched(self):
        """The part by which an epoch is judged."""
        return "validation" if len(self.rows["validation"]) else "train"

    @property
    def kept(self):
        """Which weights are kept, for the report."""
        return f"best epoch: {self.state['best_epoch']}"

    def judge(self):
        """What an epoch came to, {"score": ..., label: MAE}, and what follows for the weights that are kept."""
        state, errors, loss = self.state, self.errors(self.watched, self.average), self.labels.loss
        score = sum(w * errors.rmse(name) ** 2 for name, w in vars(loss).items() if w and name in errors.sums)
        if not math.isfinite(score):
            raise InputError(f"training: errors on the {self.watched} frames are not numbers after epoch {state['epoch']}; "
                             "a lower rate helps")
        state["since"] += 1
        if score < state["best"]:
            state.update(best=score, best_epoch=state["epoch"], since=0)
            self.best_weights = [a.clone() for a in self.average]
        elif self.how.schedule == "plateau" and state["since"] % self.how.wait == 0:
            state["factor"] *= self.how.factor
        return {"score": score} | {name: values["mae"] for name, values in errors.as_dict().items()}

    def errors(self, part, parameters, keep=False, evaluation=None):
        return metrics.measure(evaluation or self.evaluation, parameters, self.labels, self.rows[part], self.shape,
                               self.processes, keep)

    # -- persistence ------------------------------------------------------------------------------------------------
    @property
    def path(self):
        return self.folder / "training.safetensors"

    def save(self):
        if not self.processes.first:
            return
        moments = [self.optimizer.state.get(p, {}) for p in self.parameters]
        groups = {"parameters": self.parameters, "average": self.average, "best": self.best_weights}
        if moments[0]:
            groups |= {"first": [m["exp_avg"] for m in moments], "second": [m["exp_avg_sq"] for m in moments]}
        checkpoint.write(self.path, groups, self.state | {"names": self.names, "given": self.given})

    @cached_property
    def given(self):
        """All that decides what comes next and is not in the state."""
        rows = json.dumps({part: np.asarray(rows).tolist() for part, rows in self.rows.items()})
        return {"frames": self.labels.digest(),
                "split": hashlib.sha256(rows.encode()).hexdigest()[:16],
                "loss": asdict(self.labels.loss), "batch": asdict(self.batch), "optimizer": asdict(self.how), "seed": self.seed,
                "model": hashlib.sha256(self.identity.encode()).hexdigest()[:16]}

    def resume(self):
        """Go on from the checkpoint in the folder."""
        groups, state = checkpoint.read(self.path)
        if state.pop("names") != self.names or any(a.shape != b.shape for a, b in zip(groups["parameters"], self.parameters)):
            raise InputError(f"{self.path} belongs to another model; --force starts over")
        for what, before in state.pop("given").items():
            if before != self.given[what]:
                shown = "" if isinstance(before, str) else f" ({before})"
                raise InputError(f"{self.path} was made with another {what}{shown}; go on with that, or --force starts over")
        self.state = state
        with torch.no_grad():
            for target, name in ((self.parameters, "parameters"), (self.average, "average"), (self.best_weights, "best")):
                for a, b in zip(target, groups[name]):
                    a.copy_(b)
        if "first" in groups:
            for p, m, v in zip(self.parameters, groups["first"], groups["second"]):
                self.optimizer.state[p] = {"step": torch.tensor(float(self.state["steps"])), "exp_avg": m.to(p.device),
                                           "exp_avg_sq": v.to(p.device)}
