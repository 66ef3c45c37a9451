"""Runs the fast passes of an embedded-atom potential: tables packed for the cache, buffers kept from step to step."""
import math

import numpy as np

from engine.kernels.records import pack, pack_fixed, put_fourth, unpack
from engine.kernels.simd import register_bits
from engine.kernels.specialize import specialize
from engine.kernels.team import team_for
from potentials.eam import kernels, kernels_simd

FIXED_RANGE = 2.0**28       # how much of a 32-bit integer the atoms' extent takes


def pack_tables(f, rphi):
    """Rows (T·T·rows, 8 or 12) for pairs (species of i, species of j) and intervals: f of i, f of j, r φ; a row more
    than intervals, which holds the values at the end. Of one species f stands only once."""
    def extended(records):      # value and slope at p = 1 of the last interval
        c = records[..., -1, :]
        end = np.zeros_like(c)
        end[..., 0], end[..., 1] = c.sum(-1), c[..., 1] + 2 * c[..., 2] + 3 * c[..., 3]
        return np.concatenate([records, end[..., None, :]], -2)

    f, rphi = extended(f), extended(rphi)
    parts = [f, rphi] if len(f) == 1 else [f, f.swapaxes(0, 1), rphi]
    return np.ascontiguousarray(np.concatenate(parts, -1)), f.shape[2]


class FastPasses:
    """Densities, embedding and forces of one potential; f, rphi (T, T, intervals, 4) and F (T, intervals, 4)."""

    def __init__(self, cutoff, per_r, per_rho, f, rphi, F, precision="double"):
        self.mixed = precision == "mixed"
        self.real = np.float32 if self.mixed else np.float64
        self.width = max(4, register_bits() // 64)      # rows are short: wider registers would be half empty
        self.cutoff2, self.per_r, self.per_rho, self.F = cutoff**2, per_r, per_rho, F
        self.cutoff = cutoff
        table, self.rows = pack_tables(f, rphi)
        self.table = table.astype(self.real).ravel()
        compiled = specialize(kernels_simd, WIDTH=self.width, MIXED=self.mixed, SPECIES=len(F))
        self.densities, self.forces = compiled.densities, compiled.forces
        self._buffers = {}

    def compute(self, atoms, neighbors, halo, needs, out):
        """Add energy, forces and virial."""
        x, species_here, system, n, n_all = atoms.positions, atoms.species, atoms.system, atoms.n, atoms.n_all
        team = team_for(n)
        csr = neighbors.half(self.cutoff)
        species = neighbors.derived("species and one more", lambda: np.append(species_here, np.int32(0)))
        cuts = neighbors.derived(("half cuts", self.cutoff, team), lambda: team.balanced(csr.offsets[:-1], csr.offsets[1:]))
        longest = neighbors.derived(("longest half row", self.cutoff), lambda: int(np.diff(csr.offsets).max(initial=0)))
        room = len(csr.indices) + (n + 4) * self.width
        near, kept = self._buffer("near", room, np.int32), self._buffer("kept", (2 if len(self.F) == 1 else 3) * room, self.real)
        near_stop = self._buffer("near_stop", n, np.int64)
        records, scale = self._records(team, x, neighbors)
        flat, slope = records.ravel(), self._buffer("slope", n_all)
        want_energy, energy = "energy" in needs, out.energy if "energy" in needs else np.zeros(1)
        rho, pairs = self._buffer("rho", (team.size, n_all + 1)), np.empty((team.size, len(energy)))
        team(self.densities, cuts, flat, scale, csr.offsets, csr.padded, species, system, self.cutoff2, self.per_r, self.table,
             self.rows, want_energy, near, near_stop, kept, longest, private=(rho, pairs))
        if want_energy:
            energy += pairs.sum(0)
        rho = team.total(rho)
        halo.reverse(rho[:n_all])
        team.add_up(kernels.embed, team.cuts(n), rho, species, system, self.per_rho, self.F, slope, energy, want_energy, False,
                    into=energy)
        halo.forward(slope)
        team(put_fourth, team.cuts(n_all), slope, records.view(np.float32) if self.mixed else records)
        force = self._buffer("force", (team.size, 4 * (n_all + 1)))
        team(self.forces, cuts, flat, scale, csr.offsets, near, near_stop, kept, slope, private=(force,))
        virial = out.virial if "virial" in needs else np.zeros((1, 3, 3))
        team.add_up(unpack, team.cuts(n_all), force, x, system, out.forces, "virial" in needs, into=virial)

    def _buffer(self, name, shape, dtype=float):
        """An uninitialised array that is kept from step to step."""
        size = shape if isinstance(shape, int) else math.prod(shape)
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.empty(size + size // 16, dtype)
        return self._buffers[name][:size].reshape(shape)

    def _records(self, team, x, neighbors):
        """Position records and the length that a unit of them stands for; the last record is far from everything."""
        records = self._buffer("records", (len(x) + 1, 4), np.int32 if self.mixed else float)
        if not self.mixed:
            team(pack, team.cuts(len(x)), x, records)
            records[-1] = 1e6, 1e6, 1e6, 0.0
            return records, 1.0
        low, extent = neighbors.derived(("extent", self.cutoff), lambda: self._extent(neighbors))
        team(pack_fixed, team.cuts(len(x)), x, low, FIXED_RANGE / extent, records)
        records[-1] = 2**30, 2**30, 2**30, 0
        return records, extent / FIXED_RANGE

    def _extent(self, neighbors):
        """A corner below all atoms and a length beyond all of them, with room to move until the next rebuild."""
        x = neighbors.reference if len(neighbors.reference) else np.zeros((1, 3))
        low, high = (np.array([f(c) for c in x.T]) for f in (np.min, np.max))   # along an axis NumPy takes ten times as long
        low, high = low - neighbors.skin, high + neighbors.skin
        return low, max(float((high - low).max()), 4.0 * self.cutoff)
