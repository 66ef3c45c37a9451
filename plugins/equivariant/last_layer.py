"""Uncertainty from a model's last layer: Bayesian linear regression on what that layer reads.

A model's energy is linear in its last weights w, E = φ·w with φ the sum over atoms of the layer's inputs. With labels
of noise σ and a flat prior kept finite by λ, the weights' covariance, and so the variance of any energy, are

    Σ = σ² (Σ_frames φ φᵀ / N² + λ I)⁻¹,   var E = φᵀ Σ φ,

energies per atom entering the fit. σ² is fixed so that the average of (error)²/variance over validation frames is one.
It costs nothing to train; like any linear estimate, it says how far a frame's features are from those seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

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
