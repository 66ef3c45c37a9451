"""FIRE: molecular dynamics that turns towards the force (Bitzek, Koskinen, Gähler, Moseler and Gumbsch, PRL 97, 170201
(2006)), with the changes of Guénolé et al., Comput. Mater. Sci. 175, 109584 (2020) (FIRE 2.0): half a step back on
going uphill, mixing before the velocity moves.

    P = f·v;  P > 0: v → (1 − α) v + α |v| f/|f|, and after N_min steps dt → min(f_inc dt, dt_max), α → f_α α
              P ≤ 0: r → r − ½ dt v, v → 0, dt → f_dec dt, α → α_start

| equation | name here |
|---|---|
| dt, dt_max | ``timestep`` to begin with, and ten times that, fs, for atoms that all have the mean mass |
| N_min, f_inc, f_dec, f_α, α_start | 20, 1.1, 0.5, 0.99, 0.25, as in the paper |
"""

from dataclasses import dataclass

import numpy as np

from engine import units
from engine.config.quantities import Length, Time
from engine.state import Attribute
from integrators.relaxation import Relaxation
from integrators.stress import Coupling, PressureTensor

PATIENCE, GROW, SHRINK, COOL, START = 20, 1.1, 0.5, 0.99, 0.25
LONGEST, SHORTEST = 10.0, 0.02  # of dt, in units of its first value


@dataclass
class FIRE(Relaxation):
    """force in eV/Å; cell None keeps it; pressure and stress in GPa; timestep in fs; longest move of an atom in Å."""

    force: float = 1e-3
    cell: Coupling | None = None
    pressure: PressureTensor = 0.0
    stress: float = 0.01
    timestep: Time = 1.0
    longest: Length = 0.2

    def __post_init__(self):
        self.memory = None

    def start(self, simulation):
        super().start(simulation)
        state = simulation.state
        state.declare(Attribute("fire_velocities", np.float64, (3,)))
        self.mass = simulation.mass_per_system() / simulation.atoms_per_system()
        if self.memory is None:
            S = state.n_systems
            state.fire_velocities[:] = 0.0
            self.memory = {"dt": np.full(S, self.timestep * units.fs), "alpha": np.full(S, START), "downhill": np.zeros(S),
                           "cell": np.zeros((S, 3, 3))}

    def advance(self, simulation):
        state, m = simulation.state, self.memory
        v, w = state.fire_velocities, m["cell"]
        f, g = self.slopes(simulation)
        down = self.dot(simulation, (f, g), (v, w)) > 0
        first = self.timestep * units.fs
        # uphill: half a step back, and start anew with a shorter step
        back = np.where(down, 0.0, -0.5 * m["dt"])
        dr, dq = self.by_atom(simulation, back)[:, None] * v, back[:, None, None] * w
        v[:] *= self.by_atom(simulation, down.astype(float))[:, None]
        w *= down[:, None, None]
        m["downhill"] = np.where(down, m["downhill"] + 1, 0.0)
        patient = m["downhill"] > PATIENCE
        slower = np.maximum(SHRINK * m["dt"], SHORTEST * first)
        m["dt"] = np.where(down, np.where(patient, np.minimum(GROW * m["dt"], LONGEST * first), m["dt"]), slower)
        m["alpha"] = np.where(down, np.where(patient, COOL * m["alpha"], m["alpha"]), START)
        # semi-implicit Euler with the velocity turned towards the force
        push = m["dt"] / self.mass
        v += self.by_atom(simulation, push)[:, None] * f
        w += push[:, None, None] * g
        speed = np.sqrt(self.dot(simulation, (v, w), (v, w)))
        steep = np.sqrt(self.dot(simulation, (f, g), (f, g)))
        turn = m["alpha"] * speed / np.where(steep > 0, steep, 1.0)
        v[:] = self.by_atom(simulation, 1 - m["alpha"])[:, None] * v + self.by_atom(simulation, turn)[:, None] * f
        w[:] = (1 - m["alpha"])[:, None, None] * w + turn[:, None, None] * g
        dr, dq = dr + self.by_atom(simulation, m["dt"])[:, None] * v, dq + m["dt"][:, None, None] * w
        factor = self.shorten(simulation, dr, dq, self.longest)
        self.move(simulation, dr * self.by_atom(simulation, factor)[:, None], dq * factor[:, None, None])

    def state_dict(self):
        return dict(self.memory)

    def load_state_dict(self, tree):
        self.memory = {name: np.array(value) for name, value in tree.items()}
