"""Loops without anything in common with others, for what a second core of a machine gives at best.

Each is bound by one thing: "arithmetic" by the number of floating-point units (independent multiply-adds in registers, from
32 kB that stay in the nearest cache), "latency" by how long one operation takes (each division waits for the one before),
"memory" by bandwidth (48 MB read and written again and again).
"""
import time

import numpy as np
from numba import njit


@njit(cache=True, fastmath=True, error_model="numpy")
def arithmetic(repeats, a, b):
    total = 0.0
    for r in range(repeats):
        part = float(r)
        for k in range(a.shape[0]):
            x = a[k]
            part += ((((((x * x + b[k]) * x + 0.5) * x + 0.25) * x + 0.125) * x + 0.5) * x + 0.25) * x
        total += part
    return total


@njit(cache=True, error_model="numpy")
def latency(repeats, a, b):
    x = 1.5
    for _ in range(repeats):
        for k in range(a.shape[0]):
            x = a[k] / x
    return x


@njit(cache=True, error_model="numpy")
def memory(repeats, a, b):
    for _ in range(repeats):
        for k in range(a.shape[0]):
            a[k] = 0.5 * a[k] + b[k]
    return a[0]


LOOPS = {"arithmetic": (arithmetic, 2048), "latency": (latency, 2048), "memory": (memory, 3_000_000)}
PIECE = 0.005   # s that a step takes on one core


class Loop:
    """A contestant whose step is some milliseconds of one loop. Orders: run."""

    def __init__(self, name):
        self.loop, size = LOOPS[name]
        self.arrays = np.ones(size), np.full(size, 0.5)
        self.loop(1, *self.arrays)
        begin = time.perf_counter()
        self.loop(10, *self.arrays)
        self.repeats = max(1, round(PIECE / (time.perf_counter() - begin) * 10))

    def run(self, steps):
        begin = time.perf_counter()
        for _ in range(steps):
            self.loop(self.repeats, *self.arrays)
        return {"seconds": time.perf_counter() - begin}
