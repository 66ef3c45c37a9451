"""Rolling pruning of a cluster list: between rebuilds only pairs of clusters that can be in reach soon are kept.

The list of a rebuild reaches as far as atoms may move until the next one. Every few steps it is cut down to what
is closer than cutoff + δ now, which holds until an atom has moved by δ/2. What is left out contributes exactly nothing,
so results do not depend on it, to the last bit.
"""
import numpy as np
from numba import njit

from engine.kernels.clusters_search import BLOCK
from engine.kernels.simd import load, mask_bits, splat

WIDTH = 8       # atoms of a cluster; both by ``specialize``
MIXED = False   # positions relative to the clusters' centres, in single precision

inlined = njit(forceinline=True, error_model="numpy")
real = np.float32 if MIXED else np.float64


@inlined
def _touches(xj, yj, zj, packed, o, r2max):
    """Mask of lanes of a cluster closer than the radius to the atom at o of the packed positions."""
    dx = xj - splat(packed[o], WIDTH)
    dy = yj - splat(packed[o + WIDTH], WIDTH)
    dz = zj - splat(packed[o + 2 * WIDTH], WIDTH)
    return dx * dx + dy * dy + dz * dz < r2max


@njit(cache=True, nogil=True, error_model="numpy")
def prune(from_block, to_block, packed, centres, start, stop, neighbors, radius, kept, kept_stop):
    """Of block b's neighbors[start[b]:stop[b]] put those within `radius` into kept[start[b]:kept_stop[b]]."""
    r2max = splat(real(radius * radius), WIDTH)
    for block in range(from_block, to_block):
        own = block * BLOCK // WIDTH
        base = own * 3 * WIDTH + block * BLOCK % WIDTH
        k = start[block]
        for p in range(start[block], stop[block]):
            other = neighbors[p]
            o = np.int64(other) * 3 * WIDTH
            xj, yj, zj = load(packed, o, WIDTH), load(packed, o + WIDTH, WIDTH), load(packed, o + 2 * WIDTH, WIDTH)
            if MIXED:
                xj = xj + (centres[other, 0] - centres[own, 0])
                yj = yj + (centres[other, 1] - centres[own, 1])
                zj = zj + (centres[other, 2] - centres[own, 2])
            hit = (_touches(xj, yj, zj, packed, base, r2max) | _touches(xj, yj, zj, packed, base + 1, r2max)
                   | _touches(xj, yj, zj, packed, base + 2, r2max) | _touches(xj, yj, zj, packed, base + 3, r2max))
            kept[k] = other         # stored in any case: no branch that cannot be foretold
            k += mask_bits(hit) != 0
        kept_stop[block] = k
