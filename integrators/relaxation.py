"""What minimisers share: coordinates of atoms and cell, the forces on them, and when to stop.

A move is (dr, dq): r → (r + dr) e^ε and h → h e^ε with ε = dq/ℓ. The enthalpy that falls is E + P0 V, and the forces are

    f = −∂E/∂r,    g = −∂(E + P0 V)/∂q = Π(W − P0 V)/ℓ

| symbol | name here |
|---|---|
| ℓ = √N (V/N)^{1/3} | ``length`` (S, 1, 1), Å; it makes the cell about as stiff as an atom |
| Π | the strains that ``cell`` permits (``integrators.stress``) |
| P0 | ``pressure``, GPa |

Every system has its own minimiser: sums are (S,) and no system knows of another. Velocities are left as they are, for
the stage that follows; the pressure that is relaxed is without them.
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.contracts import Stateful
from engine.errors import InputError
from integrators.operators import scale
from integrators.stress import components, exponential, project, refuse_impossible

CONVERGED = "converged"
MOST_STRAIN = 0.02  # of one step


class Relaxation(Stateful):
    """Base of minimisers: a dataclass with `force` (eV/Å), `cell`, `pressure` and `stress` (GPa); gives `advance`."""

    barostat = None
    conserves_momentum = True

    def start(self, simulation):
        state = simulation.state
        if not self.force > 0:
            raise InputError(f"relaxation: force = {self.force} must be positive (eV/Å)")
        if self.cell is not None:
            refuse_impossible(simulation, "relaxing the cell")
            number = simulation.state.sum_by_system(np.ones(state.n))
            self.length = (np.sqrt(number) * (state.volume / number) ** (1 / 3))[:, None, None]

    def needs(self, step):
        return frozenset({"energy"} if self.cell is None else {"energy", "virial"})

    def step(self, simulation, needs):
        """One move and one evaluation of the forces; stops the run when all systems have converged."""
        if self.finished(simulation):
            simulation.stop_reason = CONVERGED
            return
        before = simulation.potential_energy().copy()
        self.advance(simulation)
        simulation.forces.all_levels(needs | self.needs(0))
        simulation.account.add("relaxation", simulation.potential_energy() - before, simulation.state.n_systems)
        if self.finished(simulation):
            simulation.stop_reason = CONVERGED

    # -- forces and moves -----------------------------------------------------------------------------------------------
    def slopes(self, simulation):
        """f (n, 3) on atoms and g (S, 3, 3) on cells, eV/Å; g is zero where the cell is kept."""
        f = np.array(simulation.forces.total("forces"))
        if self.cell is None:
            return f, np.zeros((simulation.state.n_systems, 3, 3))
        return f, self.excess(simulation) * simulation.state.volume[:, None, None] / self.length

    def excess(self, simulation):
        """Π(W/V − P0), (S, 3, 3) eV/Å³: what is left of the stress."""
        P0 = components(self.pressure) if isinstance(self.pressure, list | tuple) else self.pressure * np.eye(3)
        W = simulation.forces.total("virial")
        return project(W / simulation.state.volume[:, None, None] - P0 * units.GPa, self.cell)

    def move(self, simulation, dr, dq):
        """Move atoms by dr (n, 3) Å and cells by dq (S, 3, 3) Å."""
        state = simulation.state
        state.positions[: state.n] += dr
        if self.cell is not None:
            scale(state, exponential(dq / self.length), momenta=False)

    def enthalpy(self, simulation):
        """E + P0 V, (S,) eV; what falls. (With a pressure tensor, P0 is a third of its trace.)"""
        if self.cell is None:
            return simulation.potential_energy()
        P0 = np.mean(self.pressure[:3]) if isinstance(self.pressure, list | tuple) else self.pressure
        return simulation.potential_energy() + P0 * units.GPa * simulation.state.volume

    # -- sums by system ---------------------------------------------------------------------------------------------------
    @staticmethod
    def dot(simulation, a, b):
        """Inner product (S,) of two (atoms, cells) pairs."""
        return simulation.state.sum_by_system((a[0] * b[0]).sum(1)) + (a[1] * b[1]).sum((1, 2))

    def largest(self, simulation, dr):
        """Longest row of `dr` in each system, (S,)."""
        state = simulation.state
        out = np.zeros(state.n_systems)
        np.maximum.at(out, state.system[: state.n], np.sqrt((dr * dr).sum(1)))
        return state.comm.max(out)

    def shorten(self, simulation, dr, dq, longest):
        """Factors (S,) ≤ 1 that keep every atom's move below `longest` (S,) Å and the strain below MOST_STRAIN."""
        factor = longest / np.maximum(self.largest(simulation, dr), longest)
        if self.cell is not None:
            strain = np.abs(dq / self.length).max((1, 2))
            factor = np.minimum(factor, MOST_STRAIN / np.maximum(strain, MOST_STRAIN))
        return factor

    def residuals(self, simulation):
        """Largest force (S,) eV/Å and largest component of the excess stress (S,) GPa."""
        force = self.largest(simulation, simulation.forces.total("forces"))
        if self.cell is None:
            return force, np.zeros_like(force)
        return force, np.abs(self.excess(simulation)).max((1, 2)) / units.GPa

    def finished(self, simulation):
        force, stress = self.residuals(simulation)
        return bool((force < self.force).all() and (stress < self.stress).all())

    def by_atom(self, simulation, values):
        """(S, ...) → (n, ...)"""
        state = simulation.state
        return values[state.system[: state.n]]
