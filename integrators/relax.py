"""A stage that minimises: ``kind = "relax"``."""

from dataclasses import dataclass
from typing import Literal

from engine.errors import InputError
from engine.stages import Stage
from integrators.fire import FIRE
from integrators.lbfgs import LBFGS
from integrators.relaxation import CONVERGED
from integrators.stress import Coupling, PressureTensor

METHODS = {"lbfgs": LBFGS, "fire": FIRE}


@dataclass
class Relax(Stage):
    """Move atoms, and the cell if `cell` says how, to the next minimum of E + P0 V; velocities stay for what follows.

    method: "lbfgs" or "fire";  force: largest force on an atom, eV/Å;  cell: "isotropic", "anisotropic" or "flexible";
    pressure and stress (largest component that may be left): GPa;  steps: the most
    """

    method: Literal["lbfgs", "fire"] = "lbfgs"
    force: float = 1e-3
    cell: Coupling | None = None
    pressure: PressureTensor = 0.0
    stress: float = 0.01
    steps: int = 1000

    def prepare(self, simulation):
        if isinstance(self.pressure, dict) or hasattr(self.pressure, "first"):
            raise InputError("relax: pressure must be a number or components; a relaxation has no time to ramp over")
        simulation.set_levels()
        simulation.set_integrator(METHODS[self.method](self.force, self.cell, self.pressure, self.stress))

    def proceed(self, simulation):
        simulation.proceed()
        if simulation.stop_reason == CONVERGED:
            simulation.stop_reason = None
        elif simulation.stop_reason is None and not simulation.integrator.finished(simulation):
            force, stress = simulation.integrator.residuals(simulation)
            left = f"a force of {force.max():.2g} eV/Å is left (force = {self.force})"
            if self.cell is not None:
                left += f" and a stress of {stress.max():.2g} GPa (stress = {self.stress})"
            simulation.stop_reason = f"relax has not converged in {self.steps} steps: {left}; resume goes on to the next stage"
