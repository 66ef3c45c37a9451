"""Correlated sampling: standard normal vectors drawn once and kept for the whole run.

Configurations are x_i = R + A^{1/2} y_i with the symmetric root. The y come in ± pairs and are whitened, so that
<y> = 0 and <y yᵀ> = 1 to rounding: averages of polynomials up to second order, and everything odd around the
centroid, are then exact at any number of configurations, and a harmonic crystal is followed exactly.
"""

import numpy as np

from engine import random
from engine.errors import InputError


def correlated_normals(configurations, modes, seed, occurrence=0, step=0, whiten=True):
    """Vectors y (configurations, modes): the second half is minus the first.

    Drawn by Philox with the pair's number as tag. `whiten=False` keeps the raw pairs (for comparison: their second
    moments are wrong by order 1/√N, which makes a harmonic crystal wrong too).
    """
    pairs = configurations // 2
    if configurations % 2 or pairs < 1:
        raise InputError(f"configurations = {configurations}: must be even, because samples come in ± pairs")
    if whiten and pairs < modes:
        raise InputError(
            f"configurations = {configurations} is too few for {modes} modes:"
            f" whitening needs at least {2 * modes} (two per mode)"
        )
    half = np.empty((pairs, modes))
    for i in range(pairs):
        half[i] = random.normals(seed, random.GAUSSIAN_SAMPLING, 0, step, occurrence, i, modes)
    if whiten:
        for _ in range(2):  # the second pass removes the rounding that an ill-conditioned first one leaves
            w, U = np.linalg.eigh(half.T @ half / pairs)
            half = half @ ((U / np.sqrt(w)) @ U.T)
    return np.concatenate([half, -half])
