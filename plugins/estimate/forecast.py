"""What ``engine check`` says of the run to come: time and memory from a short calibration, kept for the next time."""

from __future__ import annotations

from plugins.estimate import calibration

SECONDS = 0.1  # of measuring, for each size


def forecast(job, atoms, ranks=1):
    """(s a step of the first stage that moves atoms, bytes of all ranks together, what limits it) for `atoms` atoms."""
    found, _ = calibration.for_input(job, seconds=SECONDS)
    return found.step(atoms, ranks), found.memory(atoms, ranks), found.limit(atoms, ranks, calibration.available_memory())
