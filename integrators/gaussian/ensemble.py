"""The ensemble as S systems of one State: configurations go in by tag and system, forces come out the same way."""

import numpy as np

from engine.errors import InputError


class StateEnsemble:
    """S copies of one crystal of n atoms: tag = system·n + atom. Atoms may lie on any rank; all ranks get all results."""

    def __init__(self, simulation):
        self.simulation = simulation
        state = simulation.state
        self.S = state.n_systems
        total = simulation.comm.sum(state.n)
        self.n = total // self.S
        counts = simulation.comm.sum(np.bincount(state.system[: state.n], minlength=self.S).astype(float))
        if (counts != self.n).any() or np.abs(state.cells - state.cells[0]).max() > 1e-9:
            raise InputError("[system]: an ensemble needs systems with the same atoms and cell; use copies = N")

    def _where(self):
        state = self.simulation.state
        tags = state.tags[: state.n]
        return tags // self.n, tags % self.n

    def place(self, positions, velocities=None):
        """Set the positions (S, n, 3) Å, unwrapped, and velocities (n, 3), the same for all systems."""
        state = self.simulation.state
        state.positions[: state.n] = positions.reshape(-1, 3)[state.tags[: state.n]]
        if state.images[: state.n].any():
            state.positions[: state.n] -= state.images[: state.n] @ state.cells[0]  # the same cell for all
        if velocities is not None:
            state.velocities[: state.n] = velocities[state.tags[: state.n] % self.n]

    def species(self):
        """Species names (n,) of the first system's atoms."""
        state = self.simulation.state
        system, atom = self._where()
        out = np.zeros(self.n)
        out[atom[system == 0]] = state.species[: state.n][system == 0]
        return [state.species_names[int(k)] for k in self.simulation.comm.sum(out)]

    def positions(self):
        """(S, n, 3) as they are, unwrapped."""
        return self._gather(self.simulation.state.unwrapped())

    def _gather(self, rows):
        out = np.zeros((self.S * self.n, 3))
        out[self.simulation.state.tags[: len(rows)]] = rows
        return self.simulation.comm.sum(out).reshape(self.S, self.n, 3)

    def gather_scalar(self, rows):
        """(n,) of the first system's atoms from a per-atom array of owned rows."""
        system, atom = self._where()
        out = np.zeros(self.n)
        out[atom[system == 0]] = rows[: len(atom)][system == 0]
        return self.simulation.comm.sum(out)

    def forces(self):
        """(S, n, 3) eV/Å."""
        return self._gather(self.simulation.forces.total("forces"))

    def energies(self):
        """(S,) eV"""
        return self.total("energy")

    def total(self, name):
        """A per-system quantity (S, ...), over all ranks already."""
        return self.simulation.forces.total(name)
