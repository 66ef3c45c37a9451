"""Atoms as records of four numbers, so that one load takes what a kernel needs of a neighbor, and forces the same way back."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def pack(begin, end, x, records):
    """Records (rows, 4) of positions."""
    for i in range(begin, end):
        records[i, 0], records[i, 1], records[i, 2], records[i, 3] = x[i, 0], x[i, 1], x[i, 2], 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def pack_fixed(begin, end, x, low, per_length, records):
    """The same as 32-bit integers, x = low + record / per_length."""
    for i in range(begin, end):
        for d in range(3):
            records[i, d] = np.int32(np.rint((x[i, d] - low[d]) * per_length))
        records[i, 3] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def put_fourth(begin, end, values, records):
    """Values (rows,) into the fourth place of floating-point records (rows, 4)."""
    for i in range(begin, end):
        records[i, 3] = values[i]


@njit(cache=True, nogil=True, error_model="numpy")
def unpack(begin, end, force, x, system, forces, want_virial, virial):
    """Add forces (threads, 4 rows) and, from ghosts' own forces, the symmetric virial W_ab = Σ r_a F_b."""
    for i in range(begin, end):
        for b in range(3):
            f = force[0, 4 * i + b]
            for t in range(1, force.shape[0]):
                f += force[t, 4 * i + b]
            forces[i, b] += f
            if want_virial:
                for a in range(3):
                    part = 0.5 * x[i, a] * f
                    virial[system[i], a, b] += part
                    virial[system[i], b, a] += part
