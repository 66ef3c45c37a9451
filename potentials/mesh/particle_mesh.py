"""Smooth particle-mesh Ewald (U. Essmann et al., J. Chem. Phys. 103, 8577 (1995)): what its potentials have in common.

A pair's energy is divided into a short-ranged part, summed over pairs inside a cutoff, and a smooth part, summed over wave
numbers from sources that splines spread on a mesh: E = E_pairs + E_mesh + E_self − (smooth part of excluded pairs).
Forces are the exact derivatives of that energy, the splines differentiated; so momentum is conserved to the accuracy asked
for, energy to rounding.

Mesh and splitting are chosen at the first evaluation (``settings.py``). The splitting then stays; a mesh is chosen anew
when its cell has changed by more than SWELLING.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Literal

import numpy as np

from engine import cell as cells_
from engine.config.quantities import Length, quantity
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from engine.kernels.specialize import specialize
from engine.kernels.team import team_for
from potentials.mesh import kernels, settings
from potentials.mesh.influence import Influence
from potentials.mesh.splines import lanes_of, polynomials
from potentials.mesh.transform import Pencils, Whole

ForceError = quantity("eV/angstrom", "root mean square error of the forces", least=0)
InverseLength = quantity("1/angstrom", "inverse length", least=0)
SWELLING = 0.1  # relative change of a height of the cell after which its mesh is chosen anew
SHARE = 0.5  # of the squared error that the sum over pairs may have
AIM = 0.95  # of the error allowed is aimed at, as what comes out scatters about the estimate
VERSIONS = count()  # of settings, of all potentials of this kind
NOTHING = np.empty((0, 3))
PIECES = 8  # systems whose influence functions are kept; more systems than that share one


@lru_cache
def compiled(order):
    return specialize(kernels, ORDER=order, LANES=lanes_of(order))


@dataclass
class Brick:
    """Part of a mesh that the atoms `rows` of this rank spread on: points low … low + size − 1; whole: all of a direction."""

    rows: np.ndarray
    low: np.ndarray
    size: np.ndarray
    whole: np.ndarray

    @property
    def box(self):
        return [[int(a), int(a + s)] for a, s in zip(self.low, self.size)]


@dataclass(kw_only=True)
class ParticleMesh(Potential):
    """accuracy : eV/Å, root mean square error of the forces that is aimed at (LAMMPS's relative 1e-4 is 1.4e-3 eV/Å)
    cutoff : Å, of the sum over pairs
    part : "all", or only the "real" sum over pairs or the "mesh" (with self energy and exclusions): as levels of multiple
        time steps
    alpha : 1/Å, splitting;  order : of the splines;  spacing : Å of the mesh; chosen from `accuracy` where not given
    """

    accuracy: ForceError = 1e-3
    cutoff: Length = 9.0
    part: Literal["all", "real", "mesh"] = "all"
    alpha: InverseLength | None = None
    order: int | None = None
    spacing: Length | None = None

    kind = None  # of ``influence.py``
    label = "particle mesh"
    atomwise = frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"})

    # -- what a kind of source says about itself -----------------------------------------------------------------------
    strength = 0.0  # of the energy of two unit sources

    def sources(self, atoms):
        """(n_all,) charges, or square roots of dispersion coefficients."""
        raise TypeError(f"{type(self).__name__} has no sources")

    def pairs(self, alpha):
        """The potential that sums over pairs."""
        raise TypeError(f"{type(self).__name__} has no sum over pairs")

    def self_energy(self):
        """Energy of a unit source with its own smooth cloud, to be taken away: added as it is, so negative for charges."""
        raise TypeError(f"{type(self).__name__} has no self energy")

    def excluded(self, atoms, neighbors, needs, out):
        """Take the smooth part of excluded pairs away."""

    # -- setting up ------------------------------------------------------------------------------------------------------
    def bind(self, species_names):
        if not (self.accuracy > 0 and self.cutoff > 0):
            raise InputError(f"{self.label}: accuracy = {self.accuracy} and cutoff = {self.cutoff} must be positive")
        if self.order is not None and not 3 <= self.order <= 16:
            raise InputError(f"{self.label}: order = {self.order} must be from 3 to 16")
        self._species = list(species_names)
        self._alpha = self._order = self._points = None

    def capabilities(self):
        return Capabilities(cutoff=float(self.cutoff), lists="half", reach="global", takes=self.takes, provides=self.atomwise,
                            heat_flux=False)

    takes = frozenset()

    def _choose(self, atoms):
        """Splitting and order, once; a mesh for each system."""
        q = self.sources(atoms)[: atoms.n]
        sums = atoms.sum_by_system(np.column_stack([np.ones(atoms.n), q**2, q**4]))
        sources = [settings.Sources(max(number, 1.0), max(squares, 1e-12), fourths, cell.copy())
                   for (number, squares, fourths), cell in zip(sums, atoms.cells)]
        alpha, order = self._alpha or self.alpha, self._order or self.order
        if alpha is None:
            alpha = settings.splitting(self.kind, self.cutoff, AIM * self.accuracy * np.sqrt(SHARE), sources, self.strength)
        rest = AIM * self.accuracy * np.sqrt(1.0 - SHARE)
        if order is None and self.spacing is None:
            best = settings.cheapest(self.kind, alpha, rest, max(sources, key=lambda s: s.count), self.strength)
            order = best[0] if best else settings.ORDERS[-1]
        order = order or 6
        known, points = {}, []
        for s in sources:
            key = f"{s.count:.9g} {s.squares:.9g} {s.fourths:.9g}", s.cell.round(9).tobytes()  # sums differ by rounding
            if key not in known:
                known[key] = (settings.points_for(s.cell, self.spacing) if self.spacing else
                              settings.mesh(self.kind, alpha, order, rest, s, self.strength))
            if known[key] is None:
                raise InputError(f"{self.label}: no mesh of up to {settings.MOST:.2g} points gives accuracy = "
                                 f"{self.accuracy:g} eV/Å at cutoff = {self.cutoff:g} Å; raise one of them, or `order`")
            points.append(known[key])
        self._use(alpha, order, points, cells_.heights(atoms.cells))

    def _use(self, alpha, order, points, heights):
        """Settings and what hangs on them; heights (S, 3) Å of the cells that the meshes (S, 3) were chosen for."""
        if alpha != self._alpha:
            self._alpha = float(alpha)
            self._pairs = self.pairs(self._alpha)
            self._pairs.precision = self.precision
            self._pairs.bind(self._species)
        self._order, self._heights = int(order), np.array(heights)
        self._points = [tuple(int(k) for k in p) for p in points]
        self._kernels = compiled(self._order)
        self._coefficients = polynomials(self._order).ravel()
        self._transforms, self._influences, self._bricks = {}, {}, {}
        self._version = next(VERSIONS)

    def state_dict(self):
        """The settings, so that a resumed run goes on with those that it began with."""
        if self._points is None:
            return {}
        return {"alpha": self._alpha, "order": self._order, "points": np.array(self._points), "heights": self._heights}

    def load_state_dict(self, tree):
        if tree:
            self._use(**tree)

    def _settle(self, atoms):
        """Have settings that fit the present cells."""
        if self._points is None or len(self._points) != atoms.n_systems:
            self._choose(atoms)
        else:
            heights = cells_.heights(atoms.cells)
            if (np.abs(heights / self._heights - 1.0) > SWELLING).any():
                self._choose(atoms)

    def chosen(self):
        """What was chosen: {alpha, order, mesh}; empty before the first evaluation."""
        return {} if self._points is None else {"alpha": self._alpha, "order": self._order, "mesh": list(self._points)}

    def _plan(self, atoms, skin):
        """[(system, brick or None, transform)] of systems that this rank has to do with, until the next rebuild."""
        system, comm, plan = atoms.system[: atoms.n], atoms.comm, []
        fractional = atoms.fractional()
        margin = skin / cells_.heights(atoms.cells)
        bricks = {}
        for s in range(atoms.n_systems):
            rows = np.arange(atoms.n) if atoms.n_systems == 1 else np.flatnonzero(system == s)
            if len(rows):
                bricks[s] = self._brick(rows, fractional[rows], np.array(self._points[s]), margin[s], comm.size > 1)
        everyone = comm.gather({s: b.box for s, b in bricks.items()})
        for s in range(atoms.n_systems):
            boxes = {r: mine[s] for r, mine in enumerate(everyone) if s in mine}
            if len(boxes) == 1 and s not in bricks:
                continue
            transform = self._transform(self._points[s], tuple(boxes), comm)
            plan.append((s, bricks.get(s), transform, boxes))
        return plan

    def _brick(self, rows, fractional, points, margin, several):
        whole = np.ones(3, bool)
        low, size = np.zeros(3, np.int64), points + self._order - 1
        if several:
            u = fractional * points
            a = np.floor(u.min(0) - margin * points).astype(np.int64) - 1
            b = np.floor(u.max(0) + margin * points).astype(np.int64) + 1 + self._order
            whole = b - a >= points + self._order - 1
            low, size = np.where(whole, 0, a), np.where(whole, size, b - a)
        return Brick(rows, low, size, whole)

    def _transform(self, points, ranks, comm):
        key = points, ranks
        if key not in self._transforms:
            self._transforms[key] = Whole(points) if len(ranks) == 1 else Pencils(points, ranks, comm)
        return self._transforms[key]

    def _influence(self, s, systems, transform):
        key = id(transform), s if systems <= PIECES else 0
        if key not in self._influences:
            self._influences[key] = Influence(self.kind, self._alpha, self.strength, transform.points, self._order,
                                              transform.waves)
        return self._influences[key]

    # -- evaluating ------------------------------------------------------------------------------------------------------
    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if not atoms.periodic.all():
            raise InputError(f"{self.label}: sums over a lattice need three periodic directions")
        self._settle(atoms)
        if self.part != "mesh":
            self.real(atoms, neighbors, halo, inputs, needs, out)
        if self.part == "real":
            return
        self.excluded(atoms, neighbors, needs, out)
        q = self.sources(atoms)
        plan = neighbors.derived(("particle mesh", self._version), lambda: self._plan(atoms, neighbors.skin))
        for s, brick, transform, boxes in plan:
            self._system(s, brick, transform, boxes, atoms, q, needs, out)
        self._self(atoms, q[: atoms.n], needs, out)

    def real(self, atoms, neighbors, halo, inputs, needs, out):
        self._pairs.compute(atoms, neighbors, halo, inputs, needs, out)

    def _self(self, atoms, q, needs, out):
        each = self.self_energy() * q
        if "energy" in needs:
            out.energy += np.bincount(atoms.system[: atoms.n], weights=each * q, minlength=atoms.n_systems)
        if "atom_energy" in needs:
            out.atom_energy[: atoms.n] += each * q
        if "charge_gradient" in needs:
            out.charge_gradient[: atoms.n] += 2.0 * each

    def _system(self, s, brick, transform, boxes, atoms, q, needs, out):
        """The mesh of one system."""
        transform.place(boxes)
        size = brick.size if brick is not None else np.zeros(3, np.int64)
        flat, mesh = self._mesh(size)
        influence = self._influence(s, atoms.n_systems, transform).at(atoms.cells[s])
        if brick is not None:
            rows, team = brick.rows, team_for(len(brick.rows))
            cuts = team.cuts(len(rows))
            shared = (atoms.positions, rows, q, atoms.origin[s], np.linalg.inv(atoms.cells[s]), np.array(transform.points),
                      brick.low, brick.whole, brick.size, self._coefficients)
            team.add_up(self._kernels.spread, cuts, *shared, into=flat)
        spectrum = transform.to_waves(mesh)
        if needs & {"energy", "virial"}:
            energy, virial = influence.sums(spectrum)
            if "energy" in needs:
                out.energy[s] += energy
            if "virial" in needs:
                out.virial[s] += virial
        if "atom_virial" in needs:
            shaped = np.empty_like(spectrum)
            for a in range(3):
                for b in range(a + 1):
                    influence.shaped(spectrum, a, b, shaped)
                    transform.to_brick(shaped, mesh)
                    if brick is not None:
                        part = np.empty(len(rows))
                        team(self._kernels.interpolate, cuts, *shared, flat, part, NOTHING)
                        part *= 0.5 * q[rows]
                        out.atom_virial[rows, a, b] += part
                        if a != b:
                            out.atom_virial[rows, b, a] += part
        influence.multiply(spectrum)
        transform.to_brick(spectrum, mesh)
        if brick is None:
            return
        potential = np.empty(len(rows) if needs & {"atom_energy", "charge_gradient"} else 0)
        team(self._kernels.interpolate, cuts, *shared, flat, potential, out.forces)
        if "atom_energy" in needs:
            out.atom_energy[rows] += 0.5 * q[rows] * potential
        if "charge_gradient" in needs:
            out.charge_gradient[rows] += potential

    def _mesh(self, size):
        """A brick of zeros, flat with room for a register behind it, and in three dimensions; valid until the next call."""
        points = int(np.prod(size))
        key = points + lanes_of(self._order)
        if key not in self._bricks:
            self._bricks = {key: np.empty(key)}
        flat = self._bricks[key]
        flat[:] = 0.0
        return flat, flat[:points].reshape(size)
