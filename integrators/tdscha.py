"""TD-SCHA: nuclear quantum dynamics of a Gaussian in the time-dependent self-consistent harmonic approximation.

    dR/dt = P    dP/dt = <f>    dA/dt = G + Gᵀ    dG/dt = B − A K    dB/dt = −(K G + (K G)ᵀ),   K = <∂²V/∂R²>

(arXiv:2408.00902, 2408.12421; the notation is ``integrators.gaussian.state``'s). The integrator owns the Gaussian; the
State that is evaluated is its ensemble, one configuration x_i = R + A^{1/2} y_i in each of the S systems, so that a run
says ``[system] copies = S`` and everything that can compute forces can be followed. All systems carry the centroid's
velocity; what the fluctuations' kinetic energy Tr B/2 changes is in the account, so that the mean of `conserved` is

    <V> − 𝓔·<𝒫> + |P|²/2 + Tr B/2 + ∫<𝒫>·d𝓔,

the energy less ∫𝓔·d𝒫 up to a constant. Forces of a field come from the potentials that take it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine import units
from engine.config.quantities import InputFile, Temperature, Time
from engine.contracts import Stateful
from engine.errors import InputError, PhysicsError
from engine.output.columns import column
from integrators.electric_field import count_work
from integrators.gaussian.averages import CURVATURES, Averages, configurations
from integrators.gaussian.ensemble import StateEnsemble
from integrators.gaussian.lattice import Coordinates, Lattice
from integrators.gaussian.observables import momentum_flux
from integrators.gaussian.propagators import PROPAGATORS
from integrators.gaussian.sampling import correlated_normals
from integrators.gaussian.state import Gaussian, square_root

SUM_RULE = 1e-4  # e


@dataclass
class TDSCHA(Stateful):
    """timestep in fs.

    lattice : file written by a scha stage; by default what an earlier stage of the same run has found
    temperature : K, of the initial state; by default the lattice file's
    propagator : "kick-drift-kick" (symplectic, the default: four times smaller errors and no drift in our tests),
        "generalised-verlet" (the published one), "fixed" (only the centroid moves), "classical" (a point that starts
        at the centroid: no covariance at all)
    averages : "sampled", or "exact" with potentials that know their Gaussian averages (force constants)
    curvature : "gradient" of the sampled energy, or "published"
    whiten : exact second moments of the samples (needs two configurations per mode)
    """

    timestep: Time
    lattice: InputFile | None = None
    temperature: Temperature | None = None
    propagator: Literal["kick-drift-kick", "generalised-verlet", "fixed", "classical"] = "kick-drift-kick"
    averages: Literal["sampled", "exact"] = "sampled"
    curvature: Literal["gradient", "published"] = "gradient"
    whiten: bool = True

    conserves_momentum = True
    barostat = None

    def __post_init__(self):
        self.gaussian = None

    # -- starting -----------------------------------------------------------------------------------------------------
    def start(self, simulation):
        if not self.timestep > 0:
            raise InputError(f"timestep = {self.timestep} must be positive (fs)")
        if len(simulation.forces.levels) > 1:
            raise InputError("integrator = 'tdscha' has one time step: take the levels out")
        if simulation.state.constrained:
            raise InputError("integrator = 'tdscha' cannot hold atoms fixed")
        self.ensemble = StateEnsemble(simulation)
        self.average = None
        found = Lattice.load(self.lattice) if self.lattice else getattr(simulation, "lattice", None)
        if found is not None:
            self._begin(simulation, found)

    def _begin(self, simulation, lattice):
        names = self.ensemble.species()
        if lattice.symbols != names:
            raise InputError(f"the lattice ({len(lattice)} atoms) and the system ({len(names)}) differ in their atoms or order")
        if np.abs(lattice.cell - simulation.state.cells).max() > 1e-4:
            raise InputError("the lattice's cell and the system's differ")
        self.coordinates = lattice.coordinates()
        self.omega = np.sqrt(np.diag(self.coordinates.matrix(lattice.force_constants)))
        self.gaussian = lattice.gaussian(self.coordinates, self.temperature)
        if self.propagator == "classical":
            d = self.gaussian.size
            self.gaussian = Gaussian(self.gaussian.R, self.gaussian.P, *np.zeros((3, d, d)))
        self._prepare(simulation)
        self._place(simulation)
        self._carry(simulation)

    def _prepare(self, simulation):
        """What follows from the coordinates: noise, or the potentials' own averages; charges' sum rule."""
        d = self.coordinates.size
        self.moving = PROPAGATORS["fixed" if self.propagator == "classical" else self.propagator]
        if self.averages == "exact":
            self._know(simulation)
        elif self.propagator == "classical":
            self.noise = np.zeros((self.ensemble.S, d))
        else:
            self.noise = correlated_normals(self.ensemble.S, d, simulation.seed, whiten=self.whiten)
        for name in simulation.forces.levels[0]:
            born = getattr(simulation.potentials[name], "born", None)
            if born is not None and np.abs(born.sum(0)).max() > SUM_RULE:
                raise InputError(
                    f"potential '{name}': Born charges sum to {np.abs(born.sum(0)).max():.2g} e, more than {SUM_RULE} e:"
                    " the field would push the whole crystal; impose the acoustic sum rule"
                )

    def _know(self, simulation):
        """Each potential's weight, energy and virial as polynomials of q; of all of them P₀ and Z in P = P₀ + Z q."""
        self.exact, self.linear = [], (np.zeros(3), np.zeros((3, self.coordinates.size)))
        for name, weight in simulation.forces.levels[0].items():
            potential = simulation.potentials[name]
            if not hasattr(potential, "projected"):
                raise InputError(f"averages = 'exact': potential '{name}' does not know its Gaussian averages; use 'sampled'")
            place = self.coordinates.reference, self.coordinates.to_cartesian, simulation.state.cells[0]
            self.exact.append((weight, *potential.projected(*place)))
            for total, part in zip(self.linear, potential.polarization(*place) or (), strict=False):
                total += weight * part

    # -- a step -------------------------------------------------------------------------------------------------------
    def needs(self, step):
        return frozenset({"energy"})

    @property
    def step_length(self):
        return self.timestep

    def step(self, simulation, needs):
        """begin (kick and drift), new configurations, forces, averages, end (kick)."""
        if self.gaussian is None:
            raise InputError("integrator = 'tdscha' has nothing to start from: give lattice = FILE, or a scha stage before it")
        dt = self.timestep * units.fs
        if self.average is None:
            self.average = self._averages(simulation)
        count_work(simulation, 0, self.timestep)
        spread = self._spread()
        self.moving.begin(self.gaussian, self.average.force, self.average.curvature, dt)
        simulation.state.time += dt
        self._place(simulation)
        simulation.forces(needs | {"energy"}, 0)
        self.average = self._averages(simulation)
        self.moving.end(self.gaussian, self.average.force, self.average.curvature, dt)
        count_work(simulation, 0, -self.timestep)
        self._carry(simulation)
        simulation.account.add("fluctuations", spread - self._spread(), simulation.state.n_systems)

    def _spread(self):
        """Tr B/2, and in exact mode <V> less V at the centroid, which is what the systems show."""
        return 0.5 * float(np.trace(self.gaussian.B)) + (self._offset if self.averages == "exact" and self.average else 0.0)

    def _place(self, simulation):
        """The ensemble of the present Gaussian into the State."""
        g, c = self.gaussian, self.coordinates
        if self.averages == "exact" or self.propagator == "classical":
            x = np.broadcast_to(g.R, (self.ensemble.S, c.size))
        else:
            self.root = square_root(g.A)
            x = configurations(g.R, self.root, self.noise)
        self.ensemble.place(c.positions(x))

    def _carry(self, simulation):
        """The centroid's velocity for all systems."""
        c = self.coordinates
        v = (c.to_cartesian @ self.gaussian.P).reshape(-1, 3)
        state = simulation.state
        state.velocities[:] = v[state.tags[: state.n] % self.ensemble.n]

    def _averages(self, simulation):
        g, c = self.gaussian, self.coordinates
        energies = self.ensemble.energies()
        if self.averages == "exact":
            return self._exact_averages(simulation, float(energies.mean()))
        forces = c.forces(self.ensemble.forces())
        if not np.isfinite(forces).all():
            raise PhysicsError(f"step {simulation.state.step}: a force of the ensemble is not a number")
        if self.propagator == "classical":
            return Averages(float(energies.mean()), forces.mean(0), np.zeros_like(g.A))
        if not hasattr(self, "root"):
            self.root = square_root(g.A)
        K = CURVATURES[self.curvature](self.root, self.noise, forces)
        return Averages(float(energies.mean()), forces.mean(0), K)

    def _exact_averages(self, simulation, shown):
        g, total = self.gaussian, Averages(0.0, np.zeros(self.coordinates.size), np.zeros_like(self.gaussian.A))
        for weight, polynomial, _ in self.exact:
            energy, force, K = polynomial.averages(g.R, g.A)
            total.energy += weight * energy
            total.force += weight * force
            total.curvature += weight * K
        if simulation.electric is not None:
            self._feel(simulation, total)
        self._offset = total.energy - shown
        return total

    def _feel(self, simulation, total):
        """Add what the field does: the mean of −E·P, or at a displacement, where P depolarizes, of −P·D/ε0 + P²/(2ε0 V)."""
        electric, state, g, (P0, Z) = simulation.electric, simulation.state, self.gaussian, self.linear
        E, given = electric.inside(state)[0], electric.at(state)[0]  # the same, or D/ε0
        total.energy -= 0.5 * float((E + given) @ (P0 + Z @ g.R))
        total.force += E @ Z
        if electric.displacement:
            K = Z.T @ Z / (units.epsilon0 * float(state.volume[0]))
            total.energy += 0.5 * float(np.vdot(K, g.A))
            total.curvature += K

    # -- what it is doing ------------------------------------------------------------------------------------------------
    def present(self, simulation):
        """Averages at the present state, computed if there are none yet."""
        if self.average is None:
            self.average = self._averages(simulation)
        return self.average

    def mean_virial(self, simulation):
        """<W> (3, 3) eV."""
        if self.averages == "exact":
            W = np.zeros((3, 3))
            for weight, _, virial in self.exact:
                w = virial.mean(self.gaussian.R, self.gaussian.A)
                for v, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
                    W[a, b] += weight * w[v]
                    W[b, a] = W[a, b]
            return W + self._field_virial(simulation) if simulation.electric is not None else W
        return simulation.quantity("virial").mean(0)

    def _field_virial(self, simulation):
        """The mean of a displacement's own, ε0 V (½ E² − E⊗E), where E fluctuates with P; else zero."""
        electric, volume = simulation.electric, float(simulation.state.volume[0])
        if not electric.displacement:
            return np.zeros((3, 3))
        E, Z = electric.inside(simulation.state)[0], self.linear[1]
        square = np.outer(E, E) + Z @ self.gaussian.A @ Z.T / (units.epsilon0 * volume) ** 2
        return units.epsilon0 * volume * (0.5 * np.trace(square) * np.eye(3) - square)

    def force_displacement(self, simulation):
        """Σ_i <f_i u_iᵀ> (3, 3) eV."""
        g, c = self.gaussian, self.coordinates
        if self.averages == "exact" or self.propagator == "classical":
            fu = -self.present(simulation).curvature @ g.A
        else:
            forces = c.forces(self.ensemble.forces())
            u = configurations(np.zeros(c.size), self.root, self.noise)
            fu = forces.T @ u / len(u)
        full = c.basis @ fu @ c.basis.T  # mass-scaled f and u: the masses cancel atom by atom
        n = len(c.reference)
        return np.einsum("iaib->ab", full.reshape(n, 3, n, 3))

    def energy(self, simulation):
        """<V> − 𝓔·<𝒫> + |P|²/2 + Tr B/2, eV."""
        return self.present(simulation).energy + self.gaussian.kinetic()

    # -- persistence --------------------------------------------------------------------------------------------------
    def state_dict(self):
        if self.gaussian is None:
            return {}
        tree = {"gaussian": self.gaussian.state_dict(), "reference": self.coordinates.reference,
                "masses": self.coordinates.masses, "basis": self.coordinates.basis, "omega": self.omega}
        if self.average is not None:
            tree["average"] = {"energy": self.average.energy, "force": self.average.force, "curvature": self.average.curvature}
            if self.averages == "exact":
                tree["offset"] = self._offset
        return tree

    def load_state_dict(self, tree):
        if not tree:
            return
        self.gaussian = Gaussian.from_state_dict(tree["gaussian"])
        self.coordinates = Coordinates(*(np.array(tree[k]) for k in ("reference", "masses", "basis")))
        self.omega = np.array(tree["omega"])
        self._prepare(self.ensemble.simulation)
        if self.averages == "sampled" and self.propagator != "classical":
            self.root = square_root(self.gaussian.A)
        if "average" in tree:
            a = tree["average"]
            self.average = Averages(float(a["energy"]), np.array(a["force"]), np.array(a["curvature"]))
            self._offset = float(tree.get("offset", 0.0))


def _shown(simulation, quantity):
    """A column's value while TD-SCHA runs, not a number in other stages."""
    integrator = simulation.integrator
    return quantity(integrator) if isinstance(integrator, TDSCHA) and integrator.gaussian is not None else np.nan


column("quantum_energy", "eV", lambda s: _shown(s, lambda i: i.energy(s)), 18, ".8f", ["energy"])
column("quantum_kinetic", "eV", lambda s: _shown(s, lambda i: i.gaussian.kinetic()), 17, ".8f")
column("quantum_temperature", "K", lambda s: _shown(
    s, lambda i: np.trace(momentum_flux(i.gaussian, i.coordinates)) / (i.gaussian.size * units.kB)), 20, ".2f")
