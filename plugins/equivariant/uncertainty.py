"""How far a run is from what its model knows: ``[[hook]] kind = "uncertainty"``, and two columns of the thermo table.

A model that was trained here knows the variance of every atom's energy (``last_layer``), a committee that and the variance of
every force. Each look takes the atom that is least certain, and says so where that is too much:

```toml
[[hook]]
kind = "uncertainty"
every = 20
stop = 0.5               # eV
frames = "strange.xyz"   # to label and train on
```

`output.columns` may have ``uncertainty`` (eV, the largest of an atom's energy) and ``force_uncertainty`` (eV/Å).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from engine.errors import InputError
from engine.output.columns import column
from engine.output.file import writing
from engine.output.screen import console
from plugins.analysis.observer import PS, Observer, Series, per_system

STRANGE = 3.0  # times the largest uncertainty of an atom in known frames
QUANTITIES = {"energy": ("atom_variance", "eV"), "forces": ("force_variance", "eV/Å")}


def largest(simulation, name):
    """(S,) the largest standard deviation of an atom; `name` is that of the variance."""
    state, values = simulation.state, np.sqrt(simulation.quantity(name))
    out = np.zeros(state.n_systems)
    np.maximum.at(out, state.system[:state.n], values)
    return simulation.comm.max(out)


column("uncertainty", "eV", lambda s: largest(s, "atom_variance"), 14, ".5f", ["atom_variance"])
column("force_uncertainty", "eV/Å", lambda s: largest(s, "force_variance"), 14, ".5f", ["force_variance"])


@dataclass(kw_only=True)
class Uncertainty(Observer):
    """of : "energy" (of an atom, eV) or "forces" (on an atom, eV/Å; committees only), by default of forces where they are known
    warn, stop : standard deviations of an atom past which it says so, or ends the run; without `warn`, three times the largest
    in the frames that the training held out, where the model knows that
    frames : an extended XYZ file to which frames past `warn` are added (those past `stop`, too), with every atom's
    standard deviation; apart : steps between two of them at least
    """

    of: Literal["energy", "forces"] | None = None
    warn: PositiveFloat | None = None
    stop: PositiveFloat | None = None
    frames: str | None = None
    apart: int = 100

    kind = "uncertainty"
    TOTALS = ("table", "strange", "written")
    strange = 0  # looks past `warn`
    written = None  # step of the last frame

    def start(self, simulation):
        super().start(simulation)
        provides = simulation.forces.provides
        of = self.of or ("forces" if "force_variance" in provides else "energy")
        self.quantity, self.unit = QUANTITIES[of]
        if self.quantity not in provides:
            raise InputError(f"hook '{self.label}': the potentials in use do not know the uncertainty of {of}; a model trained "
                             "here with energies knows that of energies, kind = \"equivariant/committee\" both")
        self.needs = frozenset({self.quantity})
        known = [p.known.get(self.quantity, np.nan) for p in simulation.potentials.values() if hasattr(p, "known")]
        self.known = max((k for k in known if k > 0), default=np.nan)
        self.limit = self.warn or (STRANGE * self.known if self.known > 0 else np.inf)
        if self.frames and min(self.limit, self.stop or np.inf) == np.inf:
            raise InputError(f"hook '{self.label}': these models do not say how uncertain they are of {of} in frames that they "
                             f"were tested on, so that nothing would go into {self.frames}; say warn = .. ({self.unit})")
        if not hasattr(self, "table"):
            self.table = np.zeros((0, 2 + 2 * simulation.state.n_systems))

    def observe(self, simulation):
        state, values = simulation.state, np.sqrt(simulation.quantity(self.quantity))
        most, mean = largest(simulation, self.quantity), state.sum_by_system(values) / simulation.atoms_per_system()
        self.table = np.append(self.table, [[state.step, state.time * PS, *most, *mean]], axis=0)
        worst = float(most.max())
        if worst > min(self.limit, self.stop or np.inf):
            self.strange += 1
            said = self.said(simulation, values, worst)
            if self.strange == 1 and simulation.comm.rank == 0:
                console.print(f"warning: {said}", markup=False, highlight=False)
            if self.frames and (self.written is None or state.step - self.written >= self.apart):
                self.add_frame(simulation, values)
                self.written = state.step
            if self.stop and worst > self.stop:
                simulation.stop_reason = said

    def said(self, simulation, values, worst):
        """Which atom it is, in a line."""
        state = simulation.state
        rows = np.argsort(values)[-1:]
        mine = [(float(values[k]), int(state.tags[k]), state.species_names[state.species[k]]) for k in rows]
        _, tag, species = max(sum(simulation.comm.gather(mine), []))
        times = f", {worst / self.known:.1f} times the largest in frames it was tested on" if self.known > 0 else ""
        return (f"step {state.step}: the model is uncertain by {worst:.3g} {self.unit} of atom {tag} ({species}){times}: "
                "it may be far outside its training data")

    def add_frame(self, simulation, values):
        """The frame with what the model says of it, and every atom's standard deviation."""
        import io

        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.io import write

        from engine.build import COLUMNS, atoms_from_state

        state, energy = simulation.state, simulation.potential_energy()
        rows = {name: getattr(state, name)[:state.n] for name in COLUMNS}
        rows = simulation.comm.gather_rows({**rows, "forces": simulation.quantity("forces"), "uncertainty": values})
        if rows is None:
            return
        found, text = atoms_from_state(state, rows=rows, extra=("forces", "uncertainty")), io.StringIO()
        for s, atoms in enumerate(found if isinstance(found, list) else [found]):
            atoms.calc = SinglePointCalculator(atoms, energy=float(energy[s]), forces=atoms.arrays.pop("forces"))
            atoms.info.update(step=state.step, system=s)
            write(text, atoms, format="extxyz", parallel=False)
        with writing(self.frames), open(self.frames, "a") as file:
            file.write(text.getvalue())

    def result(self, simulation):
        systems = simulation.state.n_systems
        most, mean = self.table[:, 2:2 + systems].T, self.table[:, 2 + systems:].T
        return {"time": Series(self.table[:, 1], "ps"), "largest": Series(per_system(most), self.unit, "time"),
                "mean": Series(per_system(mean), self.unit, "time")}

    def finish(self, simulation):
        super().finish(simulation)
        if self.strange > 1 and simulation.comm.rank == 0:
            past = min(self.limit, self.stop or np.inf)
            console.print(f"warning: at {self.strange} of {self.samples} looks an atom was uncertain by more than {past:.3g} "
                          f"{self.unit}", markup=False, highlight=False)
