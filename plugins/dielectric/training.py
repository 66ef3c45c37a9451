"""Training of a dielectric model on whatever labels there are (``labels``), by the loop of other trainings.

Born charges are met through one random field direction for each frame and step, Σ_i d_i Z*[i, j], which costs one reverse pass
and has the same mean. They teach the polarization alone in the part `slopes` of the training; then every polarization is put
on its branch, and joins the loss.

Nothing is chosen by the frames that are held out: the weights' average of the last step is what is kept.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from plugins.dielectric import storage
from plugins.dielectric.derivatives import evaluate
from plugins.dielectric.labels import Labels, branches, spreads, wrapped
from plugins.dielectric.model import DielectricModel
from plugins.equivariant import graphs
from plugins.equivariant.data import baseline
from plugins.equivariant.packing import room_for
from plugins.equivariant.training import batches, metrics
from plugins.equivariant.training.loop import Trainer
from plugins.equivariant.training.step import Step

COSTLY = {"stress": "virial", "polarizability": "polarizability", "born_charges": "born_charges"}  # label: what gives it
EVERY, SHARE = 5, 3  # epochs between looks at the frames held out, and of these every third


def parts(batch):
    """(graph, field, quanta, their inverse, {label: (values, weights)}) of a batch of ``labels.Labels``."""
    vectors, neighbours, species, around, system, volume, field, quanta, inverse, counts, *targets = batch
    graph = graphs.Batch(vectors, neighbours, species, around, system, volume, counts)
    return graph, field, quanta, inverse, dict(zip(Labels.SHAPES, zip(targets[::2], targets[1::2])))


def residuals(out, targets, graph, quanta=None, inverse=None, directions=None):
    """{label: found − label} of what `evaluate` gave, energies per atom; polarizations to the nearest branch if `quanta` are
    given; with `directions` (S, 3) of the field, Born charges are those contracted with them."""
    label = {name: values for name, (values, _) in targets.items()}
    if directions is not None:
        each = torch.cat([directions, directions.new_zeros(1, 3)])[graph.system]
        label["born_charges"] = torch.einsum("na,nab->nb", each, label["born_charges"])
    found = {"energy": out.energy, "forces": out.forces, "polarization": out.polarization, "born_charges": out.born_charges,
             "polarizability": out.polarizability}
    if out.virial is not None:
        found["stress"] = -out.virial / graph.volume.to(out.forces.dtype)[:, None, None]
    left = {name: x - label[name] for name, x in found.items() if x is not None}
    left["energy"] = left["energy"] / graph.counts
    if quanta is not None:
        left["polarization"] = wrapped(left["polarization"], quanta, inverse)
    return left


class DielectricStep(Step):
    """Its derivatives go through `evaluate`, which takes reverse passes itself, so that ``torch.func`` is no way to them."""

    def _plain(self, parameters, *batch):
        with torch.enable_grad(), room_for(self.model, self.edges):
            parameters = [p.detach().requires_grad_() for p in parameters]
            loss = self.losses(dict(zip(self.names, parameters)), *batch)
            return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)), loss.detach()


class DielectricTrainer(Trainer):
    """slopes : part of the training in which Born charges alone, if there are any, teach the polarization"""

    watched = "test"  # of which every third frame is looked at on the way
    kept = "weights: the average of the last step"

    def __init__(self, *arguments, slopes=0.3, **options):
        super().__init__(*arguments, **options)
        self.slopes = slopes
        self.state["whole"] = None
        labels = self.labels
        self.one = batches.shape_for(labels.store, labels.sizes, range(len(labels.frames)), batches.BatchSize(1), 1)

    def functions(self, compiled, losses):
        labels, rows = self.labels, self.rows["train"]
        self.known = {need for name, need in COSTLY.items() if labels.has[name].any()}
        self.needs = {COSTLY[name] for name in ("stress", "polarizability")
                      if labels.has[name][rows].any() and getattr(labels.loss, name)}  # Born charges are met by `directions`
        return DielectricStep(self.model, self.names, False, compiled, self.loss, self.shape.edges), None

    def called(self, parameters):
        """The model with other parameters, {name: tensor}."""
        return lambda *given: torch.func.functional_call(self.model, parameters, given)

    def loss(self, parameters, *batch):
        *batch, directions = batch
        graph, field, quanta, inverse, targets = parts(batch)
        directions, branch = (directions, ()) if self.labels.charged else (None, (quanta, inverse))
        out = evaluate(self.called(parameters), graph, field, self.needs, training=True, directions=directions)
        left = residuals(out, targets, graph, *branch, directions=directions)
        return sum((targets[name][1] * x.square().reshape(len(x), -1).sum(1)).sum().double() for name, x in left.items())

    def update(self, rows):
        if self.labels.charged and self.labels.whole is None and self.done >= self.slopes:
            self.join()
        return super().update(rows)

    def inputs(self, rows):
        d = np.random.Generator(np.random.Philox([self.seed, 1, self.state["steps"]])).normal(size=(len(rows), 3))
        mine = np.zeros((self.shape.frames, 3))
        own = (d / np.linalg.norm(d, axis=1, keepdims=True))[self.processes.rank::self.processes.size]
        mine[: len(own)] = own
        return *super().inputs(rows), torch.tensor(mine, dtype=self.labels.dtype, device=self.labels.device)

    def response(self, parameters, row, needs=frozenset()):
        """(what the model says of a frame, its batch in parts)"""
        batch = parts(self.labels.batch([int(row)], self.one))
        return evaluate(self.called(dict(zip(self.names, parameters))), batch[0], batch[1], needs), batch

    def join(self):
        """Put the polarizations on their branches and let them teach."""
        labels = self.labels
        rows = [r for r in self.rows["train"] if labels.has["polarization"][r]]
        whole = np.zeros((len(labels.frames), 3), int)
        if rows:
            own, given = np.zeros((2, len(rows), 3))
            for k, r in enumerate(rows):
                own[k] = labels.fractions(r, self.response(self.average, r)[0].polarization[0].double().cpu().numpy())
                given[k] = labels.fractions(r, labels.frames[r].polarization)
            whole[rows], factor, left = branches(own, given)
            if self.processes.first:
                self.say(f"polarizations are on branches: the model's so far, times {factor:.2f}, are {left:.2f} quanta away")
        self.place(whole.tolist())

    def place(self, whole):
        """whole (frames, 3), a list, or None : for ``Labels.whole``, and kept."""
        self.state["whole"], self.labels.whole = whole, None if whole is None else np.array(whole)

    def resume(self):
        super().resume()
        self.place(self.state["whole"])

    @cached_property
    def given(self):
        return super().given | {"slopes": self.slopes}

    def judge(self):
        state = self.state
        state["best_epoch"], self.best_weights = state["epoch"], [a.clone() for a in self.average]
        if (state["epoch"] + 1) % EVERY and state["epoch"] + 1 < self.epochs:
            return {}
        errors = self.errors("test", self.average, share=SHARE if len(self.rows["test"]) > 2 * SHARE else 1)
        return {name: values["mae"] for name, values in errors.as_dict().items()}

    def errors(self, part, parameters, keep=False, share=1):
        """Errors of frames; energies less their mean offset, polarizations modulo their quantum, these and polarizabilities by
        atom."""
        labels, energies, errors = self.labels, [], metrics.Errors(self.labels.store.names)
        rows = self.rows[part][::share]
        every = metrics.spacing(labels, rows)
        for k in range(self.processes.rank, len(rows), self.processes.size):
            row, plot = rows[k], keep and k % every == 0
            out, (graph, _, quanta, inverse, targets) = self.response(parameters, row, self.known)
            f, n = labels.frames[row], int(labels.sizes[row])
            for name, x in residuals(out, targets, graph, quanta, inverse).items():
                if not labels.has[name][row]:
                    continue
                size, per = n if name in labels.OF_ATOMS else 1, n if name in ("energy", "polarization", "polarizability") else 1
                label, x = (v[:size].double().cpu().numpy() for v in (targets[name][0], x))
                label = label / per
                if name == "energy":
                    energies.append((label, x, plot))
                    continue
                found = label + x / per
                errors.add(name, label, found, plot)
                for kind in sorted(set(f.symbols)) if name in metrics.OF_SPECIES else ():
                    errors.add(f"{name} {kind}", label[f.symbols == kind], found[f.symbols == kind])
        offset = torch.tensor([sum(float(x[0]) for _, x, _ in energies), len(energies)], dtype=torch.float64)
        total, count = self.processes.sum([offset])[0].tolist()
        for label, x, plot in energies:
            errors.add("energy", label, label + x - total / count, plot)
        return errors.total(self.processes)


def new_model(frames, description, form="quadratic", field_scale=1.0, seed=0) -> DielectricModel:
    """A model with random weights: shifts by least squares over compositions, scales from the spread of forces and
    polarizabilities."""
    torch.manual_seed(seed)
    model, found = DielectricModel(description, form, field_scale), [f for f in frames if f.energy is not None]
    if found:
        counts = np.array([baseline.counts(f, description.species) for f in found])
        model.shifts[:] = torch.tensor(np.linalg.lstsq(counts, np.array([f.energy for f in found]), rcond=None)[0])
    model.scales[:] = spreads(frames)["forces"]
    if form == "quadratic":
        alpha = [np.trace(f.polarizability) / 3 / len(f.symbols) for f in frames if f.polarizability is not None]
        scale = float(np.mean(alpha) if alpha else 0.0) or 0.1
        model.response_scales[:] = torch.tensor([1.0, scale, scale])
    return model


class Enthalpy:
    """What the stage trains."""

    notes = ()

    def __init__(self, stage, description, found, rows):
        self.description, self.frames = description, found
        self.model = new_model([found[r] for r in rows["train"]], description, stage.form, stage.field_scale, stage.seed)

    def identity(self):
        return f"{self.description.identity()} {self.model.form} {self.model.field_scale}"

    def errors(self, trainer):
        return {}

    def save(self, trainer, out, about):
        storage.write(out, self.model, about)
