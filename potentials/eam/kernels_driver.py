"""Runs the fast passes of an embedded-atom potential: tables packed for the cache, buffers kept from step to step."""
import numpy as np

from engine.kernels.simd import register_bits
from engine.kernels.specialize import specialize
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
        self._near = np.empty(0, np.int32)

    def compute(self, atoms, neighbors, halo, needs, out):
        """Add energy, forces and virial."""
        x, species_here, system, n, n_all = atoms.positions, atoms.species, atoms.system, atoms.n, atoms.n_all
        csr = neighbors.half(self.cutoff)
        species = neighbors.derived("species and one more", lambda: np.append(species_here, np.int32(0)))
        longest = neighbors.derived(("longest half row", self.cutoff), lambda: int(np.diff(csr.offsets).max(initial=0)))
        room = len(csr.indices) + (n + 4) * self.width
        if len(self._near) < room:
            self._near = np.empty(room + room // 16, np.int32)
        near_start = np.empty(n + 1, np.int64)
        records, scale = self._records(x, neighbors)
        rho, slope = np.zeros(n_all + 1), np.empty(n_all)
        flat = records.ravel()
        self.densities(n, flat, scale, csr.offsets, csr.padded, species, self.cutoff2, self.per_r, self.table, self.rows,
                       rho, self._near, near_start, np.empty(kernels_simd.BATCH * (longest + 2 * self.width), self.real))
        halo.reverse(rho[:n_all])
        energy = out.energy if "energy" in needs else np.zeros(1)
        kernels.embed(rho, species, system, n, self.per_rho, self.F, slope, energy, energy, "energy" in needs, False)
        halo.forward(slope)
        kernels_simd.put_slopes(slope, records.view(np.float32) if self.mixed else records)
        force = np.zeros((n_all + 1, 4))
        self.forces(n, flat, scale, self._near, near_start, species, system, self.cutoff2, self.per_r, self.table,
                    self.rows, slope, force.ravel(), energy, "energy" in needs)
        virial = out.virial if "virial" in needs else np.zeros((1, 3, 3))
        kernels_simd.unpack(force, x, system, out.forces, virial, "virial" in needs)

    def _records(self, x, neighbors):
        """Position records and the length that a unit of them stands for."""
        if not self.mixed:
            records = np.empty((len(x) + 1, 4))
            kernels_simd.pack(x, records)
            return records, 1.0
        low, extent = neighbors.derived(("extent", self.cutoff), lambda: self._extent(neighbors))
        records = np.empty((len(x) + 1, 4), np.int32)
        kernels_simd.pack_fixed(x, low, FIXED_RANGE / extent, records)
        return records, extent / FIXED_RANGE

    def _extent(self, neighbors):
        """A corner below all atoms and a length beyond all of them, with room to move until the next rebuild."""
        x = neighbors.reference if len(neighbors.reference) else np.zeros((1, 3))
        low, high = x.min(0) - neighbors.skin, x.max(0) + neighbors.skin
        return low, max(float((high - low).max()), 4.0 * self.cutoff)
