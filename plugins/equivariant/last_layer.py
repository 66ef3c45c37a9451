"""Uncertainty from a model's last layer: Bayesian linear regression on what that layer reads.

A model's energy is linear in its last weights w, E = φ·w with φ = Σ_i φ_i the sum over atoms of the layer's inputs. With
labels of noise σ and a flat prior kept finite by λ, the weights' covariance, and so the variance of any energy, are

    Σ = σ² (Σ_frames φ φᵀ / N² + λ I)⁻¹,   var E = φᵀ Σ φ,   var e_i = φ_iᵀ Σ φ_i (of an atom),

energies per atom entering the fit. σ² is fixed so that the average of (error)²/variance over validation frames is one.
It costs nothing to train; like any linear estimate, it says how far features are from those seen. A training keeps Σ
beside the model; a run reads it where somebody asks for ``variance`` or ``atom_variance`` (``uncertainty.py``), without torch
for a local model; and ``uncertainties`` does for frames, to choose what to label next:

>>> from plugins.equivariant.last_layer import uncertainties
>>> uncertainties("water", frames)          # eV, one standard deviation for each of ASE's Atoms

With latent charges it is that of the energy inside the cutoff.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import InputError
from engine.output.file import replace_bytes

FILE = "last_layer.safetensors"


@dataclass
class LastLayer:
    """covariance (width, width) of the last weights, in units in which φ·w is an energy in eV.

    known : eV, the largest uncertainty of an atom in the frames that scaled it; what is far above is strange to the model
    """

    covariance: np.ndarray
    known: float = float("nan")

    def variance(self, phi) -> np.ndarray:
        """(rows,) eV² of energies with features phi (rows, width)."""
        phi = np.asarray(phi, float)
        return np.einsum("ra,ra->r", phi @ self.covariance, phi)

    def add(self, phi, atoms, needs, out):
        """Add the variances of owned atoms with features phi (n, width), and of their systems, into an ``Output``."""
        if "atom_variance" in needs:
            out.atom_variance[:atoms.n] += self.variance(phi)
        if "variance" in needs:
            total = atoms.sum_by_system(phi)  # of all ranks: the variance of a sum is no sum
            if atoms.comm.rank == 0:
                out.variance += self.variance(total)


def kept(path) -> bool:
    """Does the folder of a model have it?"""
    return Path(path, FILE).is_file()


def load(path, arrays) -> LastLayer:
    """What a training kept beside the model of the folder `path`, whose weights are `arrays`."""
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
    last = max((name for name in arrays if name.startswith("readout.")), key=lambda name: int(name.split(".")[-2]))
    if not np.array_equal(weights, arrays[last]):
        raise InputError(f"{file} belongs to other weights than those in weights.safetensors; train the model again")
    return LastLayer(covariance, float(found.get("known", np.array(np.nan))))


def uncertainties(path, structures) -> np.ndarray:
    """(len(structures),) eV, standard deviations of the energies of ASE's Atoms by the model in the folder `path`."""
    from engine.testing import evaluate
    from plugins.equivariant.potential import Equivariant

    model = Equivariant(path, backend="torch")
    if not kept(path):
        load(path, model.arrays)
    species = model.description.species
    return np.sqrt([float(evaluate(model, atoms, {"variance"}, species=sorted({*species, *atoms.get_chemical_symbols()}))
                          .variance[0]) for atoms in structures])


# -- features in torch, and the fit after a training --------------------------------------------------------------------
def last_linear(model):
    """The torch module whose inputs are the features."""
    return model.readout.layers[-1] if hasattr(model.readout, "layers") else model.readout[-1]


def read_by_last(model, species, call):
    """(A, width) what each atom gives to the last layer in `call()`, for a local model summed over its edges, times the
    scales of `species` (A,)."""
    import torch

    found = []
    hook = last_linear(model).register_forward_hook(lambda module, inputs, output: found.append(inputs[0].detach()))
    try:
        with torch.no_grad():
            call()
    finally:
        hook.remove()
    phi = found[0].sum(1) if found[0].dim() == 3 else found[0]
    return phi * model.scales[species].unsqueeze(-1)


def features(model, batch):
    """The same of a batch of ``Labels``."""
    vectors, neighbours, species, around = batch[:4]
    return read_by_last(model, species, lambda: model(vectors, species, around, neighbours))


def frame_features(model, labels, rows, shape):
    """(len(rows), width) sums over each frame's atoms, and (atoms, width) of all atoms."""
    import torch

    out, each = [], []
    for k in range(0, len(rows), shape.frames):
        part = [int(r) for r in rows[k:k + shape.frames]]
        batch = labels.batch(part, shape)
        phi, system = features(model, batch).double().cpu(), batch[4].cpu()
        total = torch.zeros(shape.frames + 1, phi.shape[1], dtype=torch.float64).index_add(0, system, phi)
        out.append(total[:len(part)].numpy())
        each.append(phi[:int(labels.sizes[part].sum())].numpy())
    return np.concatenate(out), np.concatenate(each)


def fit(model, labels, train, validation, shape, errors: np.ndarray, ridge=1e-6) -> LastLayer:
    """From frames `train`; scaled on frames `validation`, whose errors per atom (eV) are given."""
    normal = 0.0
    for part in _parts(train):
        phi = frame_features(model, labels, part, shape)[0] / labels.sizes[part][:, None]
        normal = normal + phi.T @ phi
    normal += ridge * np.trace(normal) / len(normal) * np.eye(len(normal))
    raw, expected, largest = LastLayer(np.linalg.inv(normal)), [], 0.0
    for part in _parts(validation):
        phi, each = frame_features(model, labels, part, shape)
        expected.append(raw.variance(phi / labels.sizes[part][:, None]))
        largest = max(largest, raw.variance(each).max())
    noise = float(np.mean(errors**2 / np.concatenate(expected)))
    return LastLayer(raw.covariance * noise, float(np.sqrt(noise * largest)))


def _parts(rows, most=256):
    return np.array_split(np.asarray(rows, int), range(most, len(rows), most))


def keep(trainer, out):
    """Fit to the frames of a training that have energies, and write the covariance into the model's folder `out`."""
    from safetensors.numpy import save

    labels = trainer.labels
    having = {part: np.asarray(rows, int)[labels.has["energy"][rows]] for part, rows in trainer.rows.items()}
    if not len(having["train"]):
        return
    train, validation = having["train"], having["validation"] if len(having["validation"]) else having["train"]
    errors = np.concatenate([_errors(trainer, validation[k:k + trainer.shape.frames])
                             for k in range(0, len(validation), trainer.shape.frames)])
    found = fit(trainer.model, labels, train, validation, trainer.shape, errors)
    weights = last_linear(trainer.model).weight.detach().cpu().numpy()
    replace_bytes(Path(out, FILE), save({"covariance": found.covariance, "weights": weights, "known": np.array(found.known)}))


def _errors(trainer, rows):
    """(len(rows),) eV/atom."""
    labels, rows = trainer.labels, [int(r) for r in rows]
    energy = trainer.evaluation(trainer.parameters, labels.batch(rows, trainer.shape))[1][0].cpu().numpy()
    return np.array([(energy[k] + labels.base[r] - labels.frames[r].energy) / labels.sizes[r]
                     for k, r in enumerate(rows)])
