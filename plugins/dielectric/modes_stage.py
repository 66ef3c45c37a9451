"""``kind = "modes"``: a stage that finds the polar vibrations of a crystal that the stage before has relaxed.

```toml
[[stage]]
kind = "relax"

[[stage]]
kind = "modes"
direction = [0, 0, 1]     # of the waves whose LO shift is told
file = "modes.npz"        # what [[hook]] kind = "mode-spectrum" reads
```
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat

from engine.errors import InputError
from engine.stages import Stage
from integrators.nve import NVE
from plugins.dielectric.modes import modes, require_charges

REST = 0.05  # eV/Å, the largest force of atoms that may be called relaxed


@dataclass
class ModesStage(Stage):
    """Vibrations at Γ with their infrared intensities, LO shifts and, where the potential has a polarizability, Raman activities.

    file : where they go, for ``kind = "mode-spectrum"``;  step : Å, of the finite differences
    direction : of waves whose LO shift is told
    """

    file: str = "modes.npz"
    direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    step: PositiveFloat = 0.01

    def __post_init__(self):
        if not 0 < np.linalg.norm(self.direction) < np.inf:
            raise InputError(f"modes: direction = {list(self.direction)} must be three numbers that are not all zero")

    def files(self):
        return [self.file]

    def prepare(self, simulation):
        simulation.set_levels()
        simulation.set_integrator(NVE(timestep=1.0))  # which takes no step
        electric = simulation.electric
        if simulation.state.n_systems > 1 or not simulation.state.periodic.all():
            raise InputError("modes: this stage takes one system, periodic in all directions")
        require_charges(simulation.forces)
        if simulation.state.constrained:
            raise InputError("modes: this stage moves all atoms, and some are fixed; take their constraints out of the structure")
        if electric is not None and electric.displacement:
            raise InputError("modes: a displacement is prescribed; modes at a fixed field have the LO shift as well")

    def proceed(self, simulation):
        simulation.proceed()
        force = simulation.comm.max(np.abs(simulation.quantity("forces")).max(initial=0.0))
        if force > REST:
            raise InputError(f"modes: a force of {force:.2g} eV/Å is left on an atom; put a stage of kind = \"relax\" before")
        field = np.zeros(3) if simulation.electric is None else simulation.electric.inside(simulation.state)[0]
        atoms = simulation.atoms()
        if atoms is not None:
            found = modes(atoms, simulation.potentials, self.step, field, simulation.state.exclusions)
            found.save(self.file)
            for screen in simulation.hooks:
                if hasattr(screen, "say"):
                    screen.say(self.table(found))
        simulation.comm.barrier()

    def table(self, found):
        along = " ".join(f"{x:g}" for x in self.direction)
        rows = [f"{'modes':>6} {'1/cm':>9} {'infrared, (D/Å)²/u':>19} {f'LO shift along {along}, 1/cm':>27} {'Raman, Å⁴/u':>12}"]
        rows += [f"{count:6.0f} {wave:9.2f} {infrared:19.4g} {shift:27.2f} {raman:12.4g}"
                 for count, wave, infrared, shift, raman in found.lines(self.direction)]
        tensor = lambda x: ", ".join(f"{v:.3f}" for v in np.diag(x))
        return "\n".join([*rows, f"ε∞ (xx, yy, zz) {tensor(found.optical)}; ε(0), harmonic {tensor(found.static())}; "
                                 f"all modes are in {self.file}"])
