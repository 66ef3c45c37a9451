"""Matter whose averages are known exactly: free particles, and particles on springs."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from engine.build import state_from_atoms, thermalise
from engine.contracts import Capabilities, Potential
from engine.simulation import Simulation


@dataclass
class Springs(Potential):
    """½ k |r − r0|² for every atom, r0 its first place; k in eV/Å², 0 for free particles."""

    stiffness: float = 0.0

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none")

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if not self.stiffness:
            return
        n = atoms.n
        x = atoms.unwrapped()
        if not hasattr(self, "places"):
            self.places = np.empty_like(x)
            self.places[atoms.tags[:n]] = x
        away = x - self.places[atoms.tags[:n]]
        out.forces[:n] -= self.stiffness * away
        if "energy" in needs:
            out.energy += np.bincount(atoms.system[:n], 0.5 * self.stiffness * (away**2).sum(1), atoms.n_systems)


def gas(symbols, cell, seed=1):
    """Atoms at random places in a cell."""
    rng = np.random.default_rng(seed)
    return Atoms(symbols, cell=cell, pbc=True, scaled_positions=rng.random((len(Atoms(symbols)), 3)))


def simulation(atoms, integrator, temperature=300.0, stiffness=0.0, hooks=(), seed=5):
    state = state_from_atoms(atoms)
    thermalise(state, temperature, seed, exact=False)
    return Simulation(state, Springs(stiffness), integrator, hooks=list(hooks), seed=seed)
