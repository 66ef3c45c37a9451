"""Pair potentials from tables: a cubic spline through the energies, whose end slopes are the table's forces.

Forces are the spline's exact derivative, so that energy is conserved whatever the table's own force column says
elsewhere. For evaluation the spline is kept on a uniform grid as fine as the file's finest step, with exact values
and slopes there: on a uniform file nothing is lost.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from scipy.interpolate import CubicSpline

from engine.config.quantities import InputFile, Length
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, PhysicsError
from engine.kernels.pair_clusters import ClusterDriver
from engine.kernels.simd import floor, gather_rows, select, sqrt, to_int64
from potentials.pair.table_files import read_section

NONE1, NONE3 = np.zeros(1), np.zeros((1, 3, 3))
MOST = 200_000  # grid intervals of one table


@dataclass
class Tabulated(Potential):
    """file : pair tables in LAMMPS's format, in eV and Å
    pairs : { A-B = "SECTION" }; may be left out if the file has one section, which is then for all pairs
    none : pairs that do not interact, as ["A-A"]
    cutoff : Å, by default where each table ends
    """

    file: InputFile
    pairs: dict[str, str] = field(default_factory=dict)
    none: list[str] = field(default_factory=list)
    cutoff: Length | None = None
    label = "potential 'table'"

    def bind(self, species_names):
        sections = {tuple(sorted(key.split("-"))): section for key, section in self.pairs.items()}
        silent = {tuple(sorted(key.split("-"))) for key in self.none}
        for key in [*sections, *silent]:
            if len(key) != 2:
                raise InputError(f"{self.label}: pair '{'-'.join(key)}' must be two species joined by a hyphen, as in 'Si-O'")
        T = len(species_names)
        self._cutoff2, self._low, self._per_r = np.zeros((T, T)), np.zeros((T, T)), np.ones((T, T))
        records = {}
        for a, first in enumerate(species_names):
            for b, second in enumerate(species_names[: a + 1]):
                key = tuple(sorted((first, second)))
                if key in silent:
                    continue
                if sections and key not in sections:
                    raise InputError(f"{self.label}: no section for the pair '{first}-{second}': give it in `pairs`, or name it "
                                     "in `none` if it does not interact")
                low, step, end, pieces = self._splines(sections.get(key))
                for i, j in ((a, b), (b, a)):
                    self._cutoff2[i, j], self._low[i, j], self._per_r[i, j] = end**2, low, 1.0 / step
                    records[i, j] = pieces
        self._records = np.zeros((T, T, max(map(len, records.values()), default=1), 4))
        for pair, pieces in records.items():
            self._records[pair][: len(pieces)] = pieces
        self._longest = float(np.sqrt(self._cutoff2.max()))
        first = np.arange(T * T).reshape(T, T) * self._records.shape[2]
        last = np.array([[len(records.get((a, b), [0])) - 1 for b in range(T)] for a in range(T)])
        table = np.stack([self._low, self._per_r, first, last], -1)
        self._fast = ClusterDriver(cubics, np.sqrt(self._cutoff2), table, self.precision, records=self._records)

    def _splines(self, name):
        """First distance, grid step, cutoff, and cubic pieces (m, 4) of one section."""
        section = read_section(self.file, self.label, name)
        r = section.r
        end = float(self.cutoff) if self.cutoff is not None else float(r[-1])
        if not r[0] < end <= r[-1] * (1 + 1e-12):
            raise InputError(f"{self.label}: cutoff = {end} must lie within the table, {r[0]} to {r[-1]} Å")
        spline = CubicSpline(r, section.u, bc_type=((1, -section.f[0]), (1, -section.f[-1])))
        intervals = int(min(np.ceil((r[-1] - r[0]) / np.diff(r).min() - 1e-6), MOST))
        grid = np.linspace(r[0], r[-1], intervals + 1)
        step = grid[1] - grid[0]
        u, slope = spline(grid), spline(grid, 1) * step
        rise, left, right = np.diff(u), slope[:-1], slope[1:]
        return float(r[0]), step, end, np.stack([u[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], -1)

    def capabilities(self):
        return Capabilities(cutoff=self._longest, lists="half",
                            provides=frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"}))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if "atom_virial" in needs:
            self._plain(atoms, neighbors, needs, out)
            return
        self._fast.compute(atoms, neighbors, halo, needs, out)
        if np.isnan(out.forces.sum()):
            self._plain(atoms, neighbors, needs, out)

    def _plain(self, atoms, neighbors, needs, out):
        """Every sum by the loop that can name a pair closer than the table begins."""
        csr = neighbors.half(self._longest)
        i, j = _evaluate(
            atoms.positions, atoms.species, atoms.system, atoms.n, csr.offsets, csr.indices, self._cutoff2, self._low,
            self._per_r, self._records, out.forces,
            out.energy if "energy" in needs else NONE1, out.virial if "virial" in needs else NONE3,
            out.atom_energy if "atom_energy" in needs else NONE1, out.atom_virial if "atom_virial" in needs else NONE3,
            np.array([name in needs for name in ("energy", "virial", "atom_energy", "atom_virial")]),
        )
        if i >= 0:
            r = np.linalg.norm(atoms.positions[i] - atoms.positions[j])
            raise PhysicsError(f"step {atoms.step}: atoms {atoms.tags[i]} and {atoms.tags[j]} are {r:.4f} Å apart, closer than "
                               f"the table of {self.file} begins; the time step may be too long or atoms may overlap")


def cubics(r2, low, per_r, first, last, records):
    """Energy and −dE/dr / r of registers of pairs from their pieces first … first + last; not a number below `low`."""
    r = sqrt(r2)
    s = (r - low) * per_r
    inside = s >= 0.0
    m = floor(select(inside, s, s * 0.0))
    m = select(m < last, m, last)
    nothing = select(inside, s * 0.0, s * np.nan)
    p = s - m
    c0, c1, c2, c3 = gather_rows(records, (to_int64(first) + to_int64(m)) * 4)
    return (((c3 * p + c2) * p + c1) * p + c0 + nothing,
            nothing - ((3.0 * c3 * p + 2.0 * c2) * p + c1) * per_r / r)


@njit(cache=True, error_model="numpy")
def _evaluate(x, species, system, n, offsets, indices, cutoff2, low, per_r, records, forces, energy, virial, atom_energy,
              atom_virial, want):
    """Add everything; returns a pair of rows that is closer than its table, or (−1, −1)."""
    g = np.empty(3)
    for i in range(n):
        si = species[i]
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            sj = species[j]
            d = (x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2])
            r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            if r2 >= cutoff2[si, sj]:
                continue
            r = r2**0.5
            s = (r - low[si, sj]) * per_r[si, sj]
            if s < 0.0:
                return i, j
            m = min(int(s), records.shape[2] - 1)
            p = s - m
            c = records[si, sj, m]
            u = ((c[3] * p + c[2]) * p + c[1]) * p + c[0]
            w = -((3.0 * c[3] * p + 2.0 * c[2]) * p + c[1]) * per_r[si, sj] / r
            for a in range(3):
                g[a] = w * d[a]
                forces[i, a] += g[a]
                forces[j, a] -= g[a]
            if want[0]:
                energy[system[i]] += u
            if want[2]:
                atom_energy[i] += 0.5 * u
                atom_energy[j] += 0.5 * u
            if want[1] or want[3]:
                for a in range(3):
                    for b in range(3):
                        if want[1]:
                            virial[system[i], a, b] += d[a] * g[b]
                        if want[3]:
                            atom_virial[i, a, b] += 0.5 * d[a] * g[b]
                            atom_virial[j, a, b] += 0.5 * d[a] * g[b]
    return -1, -1
