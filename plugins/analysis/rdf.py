"""Radial distribution functions of all pairs of species, and running coordination numbers.

    g_ab(r) = V <number of b at r … r + dr from an a> / (N_a (N_b − δ_ab) v(r)),   v(r) = 4π/3 ((r + dr)³ − r³)
    n_ab(r) = number of b within r of an a

so that g is exactly 1 in an ideal gas of any size. Counts are integers: neither the order of atoms nor ranks matter.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from pydantic import PositiveInt

from engine.config.quantities import Length
from engine.errors import InputError
from plugins.analysis.observer import Observer, Series, per_system, volume


@njit(cache=True)
def _count(x, species, system, offsets, indices, cutoff, bins, out):
    """Add each pair of a half list to the histogram of both its orders, out (S, T, T, bins)."""
    scale, cutoff2 = bins / cutoff, cutoff * cutoff
    for i in range(offsets.shape[0] - 1):
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1], x[j, 2] - x[i, 2]
            r2 = dx * dx + dy * dy + dz * dz
            if r2 < cutoff2:
                b = min(int(np.sqrt(r2) * scale), bins - 1)
                out[system[i], species[i], species[j], b] += 1
                out[system[i], species[j], species[i], b] += 1


@dataclass(kw_only=True)
class RadialDistribution(Observer):
    """cutoff : Å, by default that of the potentials (a longer one costs ghosts);  bins : number of them up to there"""

    cutoff: Length | None = None
    bins: PositiveInt = 200

    kind = "rdf"
    TOTALS = ("counts", "pairs", "atoms")
    PARTIAL = ("counts",)

    @property
    def reach(self):
        return self.cutoff

    def start(self, simulation):
        super().start(simulation)
        state = simulation.state
        volume(state)
        if self.cutoff is None:
            self.cutoff = simulation.domain.cutoff
        simulation.widen(self.cutoff)
        if self.cutoff <= 0:
            raise InputError("hook 'rdf': the potentials have no cutoff, so the hook must be given one")
        if not hasattr(self, "counts"):
            shape = (state.n_systems, len(state.species_names), len(state.species_names))
            self.counts = np.zeros((*shape, self.bins), np.int64)
            self.pairs = np.zeros(shape)  # Σ over samples of N_a (N_b − δ_ab) / V
            self.atoms = np.zeros(shape[:2])  # Σ over samples of N_a

    def observe(self, simulation):
        state = simulation.state
        csr = simulation.domain.neighbors.half(self.cutoff)
        _count(state.positions, state.species, state.system, csr.offsets, csr.indices, self.cutoff, self.bins, self.counts)
        here = np.zeros(self.atoms.shape)
        np.add.at(here, (state.system[: state.n], state.species[: state.n]), 1.0)
        number = simulation.comm.sum(here)
        self.atoms += number
        pairs = number[:, :, None] * number[:, None, :]
        pairs[:, np.arange(len(here[0])), np.arange(len(here[0]))] -= number
        self.pairs += pairs / volume(state)[:, None, None]

    def result(self, simulation):
        names = simulation.state.species_names
        kinds = [(a, b) for a in range(len(names)) for b in range(a, len(names))]
        labels = tuple(f"{names[a]}-{names[b]}" for a, b in kinds)
        a, b = np.array(kinds).T
        edges = np.linspace(0.0, self.cutoff, self.bins + 1)
        shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
        counts = simulation.comm.sum(self.counts)[:, a, b].astype(float)
        expected = self.pairs[:, a, b, None] * shell
        g = np.divide(counts, expected, out=np.zeros_like(counts), where=expected > 0)
        atoms = np.maximum(self.atoms[:, a, None], 1.0)
        return {
            "r": Series(0.5 * (edges[1:] + edges[:-1]), "Å"),
            "g": Series(per_system(g), "", "r", labels),
            "radius": Series(edges[1:], "Å"),
            "coordination": Series(per_system(np.cumsum(counts, -1) / atoms), "", "radius", labels),
        }
