"""Limited-memory BFGS (Liu and Nocedal, Math. Program. 45, 503 (1989); the two loops of Nocedal and Wright, Alg. 7.4).

    d = H f,  H from the last m pairs  s = x_{k+1} − x_k,  y = f_k − f_{k+1};  pairs with y·s ≤ 0 are not used

| equation | name here |
|---|---|
| m | ``memory`` |
| s, y | per-atom attributes ``lbfgs_s``, ``lbfgs_y`` (n, m, 3), newest first, so that they follow atoms; cells beside |
| H_0 | y·s/y·y of the newest pair, or 1/``stiffness`` (eV/Å²) |

There is no line search: a step is cut to ``longest``, which halves when the enthalpy has risen (the memory is then
dropped) and grows back otherwise.
"""

from dataclasses import dataclass

import numpy as np

from engine.config.quantities import Length
from engine.errors import InputError
from engine.state import Attribute
from integrators.relaxation import Relaxation
from integrators.stress import Coupling, PressureTensor


@dataclass
class LBFGS(Relaxation):
    """force in eV/Å; cell None keeps it; pressure and stress in GPa; longest move of an atom in Å; stiffness eV/Å²."""

    force: float = 1e-3
    cell: Coupling | None = None
    pressure: PressureTensor = 0.0
    stress: float = 0.01
    memory: int = 20
    longest: Length = 0.2
    stiffness: float = 50.0

    def __post_init__(self):
        self.kept = None

    def start(self, simulation):
        super().start(simulation)
        state, m = simulation.state, self.memory
        if m < 1:
            raise InputError(f"lbfgs: memory = {m} must be at least 1")
        for name, shape in (("lbfgs_s", (m, 3)), ("lbfgs_y", (m, 3)), ("lbfgs_force", (3,))):
            state.declare(Attribute(name, np.float64, shape))
        if self.kept is None:
            S = state.n_systems
            self.kept = {"s": np.zeros((S, m, 3, 3)), "y": np.zeros((S, m, 3, 3)), "force": np.zeros((S, 3, 3)),
                         "good": np.zeros((S, m), bool), "trust": np.full(S, self.longest),
                         "enthalpy": np.full(S, np.inf), "begun": False}

    def advance(self, simulation):
        state, k = simulation.state, self.kept
        f, g = self.slopes(simulation)
        H = self.enthalpy(simulation)
        if k["begun"]:
            self._learn(simulation, f, g, H)
        dr, dq = self._direction(simulation, f, g)
        factor = self.shorten(simulation, dr, dq, k["trust"])
        dr, dq = dr * self.by_atom(simulation, factor)[:, None], dq * factor[:, None, None]
        state.lbfgs_s[:, 1:], state.lbfgs_y[:, 1:] = state.lbfgs_s[:, :-1].copy(), state.lbfgs_y[:, :-1].copy()
        for name in ("s", "y", "good"):
            k[name][:, 1:] = k[name][:, :-1].copy()
        state.lbfgs_s[:, 0], k["s"][:, 0] = dr, dq
        state.lbfgs_force[:], k["force"] = f, g
        k["good"][:, 0], k["enthalpy"], k["begun"] = False, H.copy(), True
        self.move(simulation, dr, dq)

    def _learn(self, simulation, f, g, H):
        """Complete the newest pair, and see whether the last step was a good one."""
        state, k = simulation.state, self.kept
        state.lbfgs_y[:, 0], k["y"][:, 0] = state.lbfgs_force - f, k["force"] - g
        s, y = self._pair(simulation, 0)
        k["good"][:, 0] = self.dot(simulation, s, y) > 1e-12 * self.dot(simulation, y, y)
        risen = H > k["enthalpy"] + 1e-10 * np.abs(H)
        k["good"][risen] = False
        k["trust"] = np.where(risen, 0.5 * k["trust"], np.minimum(1.2 * k["trust"], self.longest))

    def _pair(self, simulation, j):
        state, k = simulation.state, self.kept
        return (state.lbfgs_s[:, j], k["s"][:, j]), (state.lbfgs_y[:, j], k["y"][:, j])

    def _direction(self, simulation, f, g):
        """H f by the two loops."""
        k, dot = self.kept, self.dot
        a, q = f.copy(), g.copy()
        used = [j for j in range(self.memory) if k["good"][:, j].any()]
        alpha, rho = {}, {}
        inverse = np.full(len(q), 1.0 / self.stiffness)
        for j in used:
            s, y = self._pair(simulation, j)
            good = k["good"][:, j]
            rho[j] = np.where(good, 1.0 / np.where(good, dot(simulation, s, y), 1.0), 0.0)
            alpha[j] = rho[j] * dot(simulation, s, (a, q))
            a -= self.by_atom(simulation, alpha[j])[:, None] * y[0]
            q -= alpha[j][:, None, None] * y[1]
        for j in reversed(used):  # the newest good pair has the last word
            s, y = self._pair(simulation, j)
            good = k["good"][:, j]
            inverse = np.where(good, dot(simulation, s, y) / np.where(good, dot(simulation, y, y), 1.0), inverse)
        a *= self.by_atom(simulation, inverse)[:, None]
        q *= inverse[:, None, None]
        for j in reversed(used):
            s, y = self._pair(simulation, j)
            more = alpha[j] - rho[j] * dot(simulation, y, (a, q))
            a += self.by_atom(simulation, more)[:, None] * s[0]
            q += more[:, None, None] * s[1]
        return a, q

    def state_dict(self):
        return dict(self.kept)

    def load_state_dict(self, tree):
        self.kept = {name: np.array(value) for name, value in tree.items()}
        self.kept["begun"] = bool(tree["begun"])
