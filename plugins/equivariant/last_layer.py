"""Uncertainty from a model's last layer: Bayesian linear regression on what that layer reads.

A model's energy is linear in its last weights w, E = φ·w with φ the sum over atoms of the layer's inputs. With labels
of noise σ and a flat prior kept finite by λ, the weights' covariance, and so the variance of any energy, are

    Σ = σ² (Σ_frames φ φᵀ / N² + λ I)⁻¹,   var E = φᵀ Σ φ,

energies per atom entering the fit. σ² is fixed so that the average of (error)²/variance over validation frames is one.
It costs nothing to train; like any linear estimate, it says how far a frame's features are from those seen. A training
keeps Σ beside the model, and ``uncertainties`` asks for it, to choose what to label next:

>>> from plugins.equivariant.last_layer import uncertainties
>>> uncertainties("water", frames)          # eV, one standard deviation for each of ASE's Atoms

With latent charges it is that of the energy inside the cutoff.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.errors import InputError
from plugins.equivariant import description, folder, graphs
from plugins.equivariant.training.batches import Labels, Shape


def last_linear(model) -> torch.nn.Module:
    return model.readout.layers[-1] if hasattr(model.readout, "layers") else model.readout[-1]


def features(model, batch) -> torch.Tensor:
    """(A, width) what each atom gives to the last layer: for a local model, summed over its edges."""
    vectors, neighbours, species, around = batch[:4]
    found = []
    layer = last_linear(model)
    hook = layer.register_forward_hook(lambda module, inputs, output: found.append(inputs[0].detach()))
    try:
        with torch.no_grad():
            model(vectors, species, around, neighbours)
    finally:
        hook.remove()
    phi = found[0].sum(1) if found[0].dim() == 3 else found[0]
    return phi * model.scales[species].unsqueeze(-1)


@dataclass
class LastLayer:
    """covariance (width, width) of the last weights, in units in which φ·w is an energy in eV."""

    covariance: np.ndarray

    def variance(self, phi) -> np.ndarray:
        """(rows,) eV² of energies with features phi (rows, width)."""
        phi = np.asarray(phi, float)
        return np.einsum("ra,ab,rb->r", phi, self.covariance, phi)


def frame_features(model, labels: Labels, rows, shape: Shape) -> np.ndarray:
    """(len(rows), width) sums over each frame's atoms."""
    out = []
    for k in range(0, len(rows), shape.frames):
        part = [int(r) for r in rows[k:k + shape.frames]]
        batch = labels.batch(part, shape)
        phi, system = features(model, batch).double(), batch[4]
        total = torch.zeros(shape.frames + 1, phi.shape[1], dtype=torch.float64).index_add(0, system, phi)
        out.append(total[:len(part)].numpy())
    return np.concatenate(out)


def fit(model, labels: Labels, train, validation, shape: Shape, errors: np.ndarray, ridge=1e-6) -> LastLayer:
    """From frames `train`; scaled on frames `validation`, whose errors per atom (eV) are given."""
    sizes = np.array([len(labels.frames[r].symbols) for r in train])[:, None]
    phi = frame_features(model, labels, train, shape) / sizes
    normal = phi.T @ phi
    normal += ridge * np.trace(normal) / len(normal) * np.eye(len(normal))
    raw = LastLayer(np.linalg.inv(normal))
    sizes = np.array([len(labels.frames[r].symbols) for r in validation])[:, None]
    expected = raw.variance(frame_features(model, labels, validation, shape) / sizes)
    return LastLayer(raw.covariance * float(np.mean(errors**2 / expected)))


FILE = "last_layer.safetensors"


def keep(trainer, out):
    """Fit to the frames of a training that have energies, and write the covariance into the model's folder `out`."""
    from safetensors.numpy import save_file

    labels = trainer.labels
    having = {part: [r for r in rows if labels.frames[r].energy is not None] for part, rows in trainer.rows.items()}
    if not having["train"]:
        return
    train, validation = having["train"], having["validation"] or having["train"]
    errors = np.concatenate([_errors(trainer, validation[k:k + trainer.shape.frames])
                             for k in range(0, len(validation), trainer.shape.frames)])
    found = fit(trainer.model, labels, train, validation, trainer.shape, errors)
    temporary = Path(out, FILE + ".tmp")
    save_file({"covariance": found.covariance, "weights": _weights(trainer.model)}, temporary)
    os.replace(temporary, Path(out, FILE))


def _errors(trainer, rows):
    """(len(rows),) eV/atom."""
    labels, rows = trainer.labels, [int(r) for r in rows]
    energy = trainer.evaluation(trainer.parameters, labels.batch(rows, trainer.shape))[1][0].numpy()
    return np.array([(energy[k] + labels.base[r] - labels.frames[r].energy) / len(labels.frames[r].symbols)
                     for k, r in enumerate(rows)])


def _weights(model):
    """The last layer's own weights: a covariance belongs to them."""
    return last_linear(model).weight.detach().cpu().numpy().astype(float)


def load(path, model) -> LastLayer:
    """The covariance that a training kept beside `model`, the model of the folder `path`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = Path(path, FILE)
    if not file.is_file():
        raise InputError(f"{path} has no {FILE}: it was converted, trained without energies, or trained before that was kept")
    try:
        found = load_file(file)
        covariance, weights = found["covariance"], found["weights"]
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{file} cannot be read ({error}); was it truncated?") from None
    if not np.array_equal(weights, _weights(model)):
        raise InputError(f"{file} belongs to other weights than those in weights.safetensors; train the model again")
    return LastLayer(covariance)


def uncertainties(path, structures) -> np.ndarray:
    """(len(structures),) eV, standard deviations of the energies of ASE's Atoms by the model in the folder `path`."""
    model = folder.to_model(path).requires_grad_(False)
    d, last, out = description.read(path), load(path, model), []
    for atoms in structures:
        unknown = sorted(set(atoms.get_chemical_symbols()) - set(d.species))
        if unknown:
            raise InputError(f"the model {path} does not know {', '.join(unknown)}; it has: {', '.join(d.species)}")
        species = np.array([d.species.index(s) for s in atoms.get_chemical_symbols()])
        graph = graphs.build(atoms.positions, np.array(atoms.cell), atoms.pbc, species, d.cutoff)
        batch = graphs.join([graph], d.cutoff, getattr(torch, d.dtype))
        phi = features(model, (batch.vectors, batch.neighbours, batch.species, batch.around)).double().sum(0)
        out.append(last.variance(phi[None].numpy())[0])
    return np.sqrt(np.array(out))
