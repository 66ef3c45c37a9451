"""The energy of latent charges in torch, for training: a plain sum over wave numbers of small cells, many at once.

    E = ½ Σ_k G |S|² − C/(√2π σ) Σ_i q_i²,   S(k) = Σ_i q_i e^{ik·r_i},   G = 4πC e^{−σ²k²/2}/(V k²),   G(0) = −2πσ²C/V
    W_ab = −∂E/∂ε_ab at fixed charges = ½ Σ_k G |S|² [δ_ab − 2 (1/k² + σ²/2) k_a k_b]

B. Cheng, npj Comput. Mater. 11, 80 (2025), eqs. 4–5 (there with the clouds' own energy, and without k = 0, which is the
background of a net charge and nothing where charges are neutral). Half of the wave numbers are kept, and G doubled. It is
differentiable any number of times in charges and positions; ``charges.py`` has the same in a run.

| symbol | name |
|---|---|
| k, G | ``Lattice``: `waves` (S, K, 3) 1/Å, `green` (S, K) eV/e² |
| σ, C | `smearing` Å, ``engine.units.coulomb`` |
"""

from __future__ import annotations

import math

import numpy as np
import torch

from engine import units
from engine.errors import InputError
from plugins.equivariant.charges import OPEN
from potentials.coulomb.reciprocal import half_space

LEFT_OUT = 1e-6


def waves(cell, smearing, left_out=LEFT_OUT):
    """(K, 3) wave vectors and (K,) their weights G of one cell (3, 3); the first is zero."""
    limit = math.sqrt(-2.0 * math.log(left_out)) / smearing
    k = half_space(np.asarray(cell, float), limit)[1]
    k2, volume = (k * k).sum(1), abs(np.linalg.det(cell))
    green = 8.0 * math.pi * units.coulomb / volume * np.exp(-0.5 * smearing**2 * k2) / k2
    background = -2.0 * math.pi * smearing**2 * units.coulomb / volume
    return np.concatenate([np.zeros((1, 3)), k]), np.concatenate([[background], green])


class Lattice:
    """The tensors that an energy needs of frames with `positions`, `cell`, `periodic` and `source`, of one shape for all.

    left_out : relative weight of the wave numbers that are not summed
    """

    def __init__(self, frames, smearing, left_out=LEFT_OUT):
        self.how = smearing, left_out
        for f in frames:
            if not np.all(f.periodic):
                raise InputError(OPEN.format(f.source))
        self.most = max((len(waves(f.cell, *self.how)[0]) for f in frames), default=1)

    def tensors(self, frames, atoms, systems, dtype):
        """positions (atoms, 3), waves (systems, K, 3), green (systems, K); zero where there is no frame."""
        x, k, g = np.zeros((atoms, 3)), np.zeros((systems, self.most, 3)), np.zeros((systems, self.most))
        start = 0
        for s, f in enumerate(frames):
            fractional = f.positions @ np.linalg.inv(f.cell)
            x[start:start + len(fractional)] = (fractional - np.floor(fractional)) @ f.cell
            start += len(fractional)
            vectors, green = waves(f.cell, *self.how)
            k[s, :len(green)], g[s, :len(green)] = vectors, green
        return tuple(torch.tensor(array, dtype=dtype) for array in (x, k, g))


def energy(charges, positions, waves, green, system, d, virial=True):
    """(S,) eV and, if asked for, virial (S, 3, 3) of charges (A,) e; system (A,) is S for rows that are none."""
    systems = len(green)

    def sums(values):
        return values.new_zeros(systems + 1, *values.shape[1:]).index_add(0, system, values)

    if d.neutral:
        charges = charges - (sums(charges) / sums(torch.ones_like(charges)).clamp(min=1.0))[system]
    phase = torch.einsum("ac,akc->ak", positions, torch.cat([waves, torch.zeros_like(waves[:1])])[system])
    real, imaginary = (sums(charges.unsqueeze(1) * f(phase))[:systems] for f in (torch.cos, torch.sin))
    each = 0.5 * green * (real.square() + imaginary.square())
    own = units.coulomb / (math.sqrt(2.0 * math.pi) * d.smearing)
    total = each.sum(1) - own * sums(charges.square())[:systems]
    if not virial:
        return (total,)
    k2 = waves.square().sum(-1)
    slope = torch.where(k2 > 0, -2.0 * (1.0 / k2.clamp(min=1e-12) + 0.5 * d.smearing**2), torch.zeros_like(k2))
    w = torch.einsum("sk,ska,skb->sab", each * slope, waves, waves)
    return total, w + each.sum(1)[:, None, None] * torch.eye(3, dtype=w.dtype, device=w.device)
