"""Seconds of work: the process's own time where it has one thread, which other work on the machine does not disturb; else
wall time."""

import time

import numba


def clock():
    return time.process_time() if numba.get_num_threads() == 1 else time.perf_counter()
