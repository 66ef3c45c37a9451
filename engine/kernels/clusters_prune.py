"""Rolling pruning of a cluster list: between rebuilds only pairs of clusters that can be in reach soon are kept.

The list of a rebuild reaches as far as atoms may move until the next one. Every few steps it is cut down to what
is closer than cutoff + δ now, which holds until an atom has moved by δ/2. What is left out contributes exactly nothing,
so results do not depend on it, to the last bit.
"""
import numpy as np
from numba import njit

from engine.kernels.clusters_search import BLOCK
from engine.kernels.simd import join, load, mask_bits, splat

WIDTH = 8       # atoms of a cluster; these by ``specialize``
PAIR = 1        # atoms of a block in one register
MIXED = False   # positions relative to the clusters' centres, in single precision

LANES = PAIR * WIDTH
inlined = njit(forceinline=True, error_model="numpy")
real = np.float32 if MIXED else np.float64


@inlined
def _atoms(packed, o):
    """A coordinate of the atom at o of the packed positions, or of it and the next one, over a register."""
    if PAIR == 2:
        return join(splat(packed[o], WIDTH), splat(packed[o + 1], WIDTH))
    return splat(packed[o], WIDTH)


@inlined
def _lanes(packed, o, shift):
    """A coordinate of a cluster's atoms over a register, once or twice."""
    x = load(packed, o, WIDTH)
    if MIXED:
        x = x + shift
    if PAIR == 2:
        return join(x, x)
    return x


@inlined
def _near(dx, dy, dz, r2max):
    return dx * dx + dy * dy + dz * dz < r2max


@njit(cache=True, nogil=True, error_model="numpy")
def prune(from_block, to_block, packed, centres, start, stop, neighbors, radius, kept, kept_stop):
    """Of block b's neighbors[start[b]:stop[b]] put those within `radius` into kept[start[b]:kept_stop[b]]."""
    r2max = splat(real(radius * radius), LANES)
    tx = ty = tz = real(0)
    for block in range(from_block, to_block):
        own = block * BLOCK // WIDTH
        o = own * 3 * WIDTH + block * BLOCK % WIDTH
        x0, y0, z0 = _atoms(packed, o), _atoms(packed, o + WIDTH), _atoms(packed, o + 2 * WIDTH)
        o += PAIR
        x1, y1, z1 = _atoms(packed, o), _atoms(packed, o + WIDTH), _atoms(packed, o + 2 * WIDTH)
        o += 1
        if PAIR == 1:
            x2, y2, z2 = _atoms(packed, o), _atoms(packed, o + WIDTH), _atoms(packed, o + 2 * WIDTH)
            x3, y3, z3 = _atoms(packed, o + 1), _atoms(packed, o + WIDTH + 1), _atoms(packed, o + 2 * WIDTH + 1)
        k = start[block]
        for p in range(start[block], stop[block]):
            other = neighbors[p]
            q = np.int64(other) * 3 * WIDTH
            if MIXED:
                tx, ty, tz = (centres[other, 0] - centres[own, 0], centres[other, 1] - centres[own, 1],
                              centres[other, 2] - centres[own, 2])
            xj, yj, zj = _lanes(packed, q, tx), _lanes(packed, q + WIDTH, ty), _lanes(packed, q + 2 * WIDTH, tz)
            hit = _near(xj - x0, yj - y0, zj - z0, r2max) | _near(xj - x1, yj - y1, zj - z1, r2max)
            if PAIR == 1:
                hit |= _near(xj - x2, yj - y2, zj - z2, r2max) | _near(xj - x3, yj - y3, zj - z3, r2max)
            kept[k] = other         # stored in any case: no branch that cannot be foretold
            k += mask_bits(hit) != 0
        kept_stop[block] = k
