"""Velocity Verlet: B A B (Swope, Andersen, Berens and Wilson, J. Chem. Phys. 76, 637 (1982)). Energy is conserved."""

from dataclasses import dataclass

from engine.config.quantities import Time
from integrators.composition import Composition


@dataclass
class NVE(Composition):
    """timestep in fs."""

    timestep: Time
    barostat: object = None
