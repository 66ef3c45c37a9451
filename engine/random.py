"""Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC11, 2011).

The key is the run's 64-bit seed; the counter says what the number is for, so that a draw depends neither on the
order of atoms nor on ranks or threads:

    word 0   tag of the atom (or any id)
    word 1   step, low 32 bits
    word 2   step, high 16 bits | replica << 16
    word 3   stream (8 bits) | occurrence << 8 (8 bits) | draw << 16 (16 bits)

`occurrence` numbers the draws that one stream makes inside one step (inner steps of multiple time stepping, the two
halves of OBABO, several thermostats), so that none share noise. Streams are listed here, once.
"""

import math

import numpy as np
from numba import njit

VELOCITIES = 1
LANGEVIN = 2
BUSSI = 3
CELL_RESCALING = 4
GAUSSIAN_SAMPLING = 5
REPLICA_EXCHANGE = 6
DISPLACEMENTS = 7
PLUGINS = range(128, 256)  # kept for plugins


@njit(cache=True, inline="always")
def _round(c0, c1, c2, c3, k0, k1):
    m = np.uint64(0xFFFFFFFF)
    p0 = np.uint64(0xD2511F53) * c0
    p1 = np.uint64(0xCD9E8D57) * c2
    return (p1 >> np.uint64(32)) ^ c1 ^ k0, p1 & m, (p0 >> np.uint64(32)) ^ c3 ^ k1, p0 & m


@njit(cache=True)
def philox(c0, c1, c2, c3, k0, k1):
    """Four 32-bit words (as uint64) from a counter of four and a key of two 32-bit words."""
    m = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    k0, k1 = np.uint64(k0), np.uint64(k1)
    for _ in range(10):
        c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
        k0 = (k0 + np.uint64(0x9E3779B9)) & m
        k1 = (k1 + np.uint64(0xBB67AE85)) & m
    return c0, c1, c2, c3


@njit(cache=True)
def _words(seed, stream, replica, step, occurrence, tag, draw):
    m = np.int64(0xFFFFFFFF)
    return philox(
        tag & m,
        step & m,
        ((step >> 32) & 0xFFFF) | ((replica & 0xFFFF) << 16),
        (stream & 0xFF) | ((occurrence & 0xFF) << 8) | ((draw & 0xFFFF) << 16),
        seed & m,
        (seed >> 32) & m,
    )


@njit(cache=True)
def uniform(seed, stream, replica, step, occurrence, tag, draw=0):
    """One number in (0, 1)."""
    w = _words(seed, stream, replica, step, occurrence, tag, draw)
    return (float(w[0] * np.uint64(1 << 21) + (w[1] >> np.uint64(11))) + 0.5) * 2.0**-53


@njit(cache=True)
def normal4(seed, stream, replica, step, occurrence, tag, draw=0):
    """Four independent standard normal numbers (Box–Muller on the four words)."""
    w0, w1, w2, w3 = _words(seed, stream, replica, step, occurrence, tag, draw)
    scale = 2.0**-32
    r0 = math.sqrt(-2.0 * math.log((float(w0) + 0.5) * scale))
    r1 = math.sqrt(-2.0 * math.log((float(w2) + 0.5) * scale))
    a0 = 2.0 * math.pi * (float(w1) + 0.5) * scale
    a1 = 2.0 * math.pi * (float(w3) + 0.5) * scale
    return r0 * math.cos(a0), r0 * math.sin(a0), r1 * math.cos(a1), r1 * math.sin(a1)


@njit(cache=True)
def normal(seed, stream, replica, step, occurrence, tag, out):
    """Fill `out` (n, 3) with standard normal numbers for `tag` (n,) and `replica` (n,)."""
    for i in range(out.shape[0]):
        g = normal4(seed, stream, replica[i], step, occurrence, tag[i])
        out[i, 0] = g[0]
        out[i, 1] = g[1]
        out[i, 2] = g[2]


@njit(cache=True)
def normals(seed, stream, replica, step, occurrence, tag, count):
    """`count` standard normal numbers for one id, e.g. a thermostat's own noise."""
    out = np.empty(count)
    for start in range(0, count, 4):
        g = normal4(seed, stream, replica, step, occurrence, tag, start // 4)
        for k in range(min(4, count - start)):
            out[start + k] = g[k]
    return out
