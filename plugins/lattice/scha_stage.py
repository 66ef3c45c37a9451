"""The SCHA as a stage: `[[stage]] kind = "scha"`, one population a step, checkpointed and resumed as any run.

The S systems of the State are the ensemble (``[system] copies = S``). What is found is written as a lattice file, which
TD-SCHA starts from, and handed to the stages that follow.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine import units
from engine.config.quantities import InputFile, Length, Pressure, Temperature
from engine.errors import InputError, PhysicsError
from engine.stages import Stage
from integrators.gaussian.ensemble import StateEnsemble
from integrators.gaussian.lattice import Lattice
from integrators.gaussian.observables import momentum_flux
from integrators.gaussian.sampling import correlated_normals
from integrators.gaussian.state import Gaussian
from integrators.scha import ClosedForm, Minimiser, draw, stability, thermal_covariance
from plugins.lattice.phonopy_files import read_phonopy
from plugins.lattice.quantum_espresso import read_charges, read_dyn, write_dyn
from plugins.lattice.symmetry import Symmetry

SOFTEST = 5.0  # cm⁻¹: what a start with unstable modes is lifted to


@dataclass
class SCHA(Stage):
    """start : Quantum ESPRESSO dyn files of all stars, a lattice file (.h5), a phonopy yaml file, or "harmonic" (finite
        differences with the run's own potential); unstable modes are made stable by the modulus of their frequency
    temperature : K;  steps : populations at most;  tolerance : cm⁻¹, of a fresh population
    averages : "sampled", or "exact" with potentials that know their Gaussian averages
    centroids : move them (else only the force constants);  symmetry : impose the crystal's space group
    cell, pressure : relax the cell to a pressure (GPa) within `stress_tolerance`, with `stiffness` (GPa) as the guess of
        its elastic constants
    hessian : compute the free-energy Hessian, with the third-order term, at the end
    born : ph.x output with charges and ε∞ to keep with the lattice
    reweight : relax by importance reweighting between populations; by default with 20 configurations a mode or more
    keep : an ensemble is reused by reweighting while its effective share stays above this
    file : where the lattice goes;  dyn : also write a Quantum ESPRESSO dyn file
    """

    start: InputFile | list[InputFile]
    temperature: Temperature = 0.0
    steps: int = 20
    tolerance: float = 0.5
    averages: Literal["sampled", "exact"] = "sampled"
    centroids: bool = True
    symmetry: bool = True
    symmetry_tolerance: Length = 1e-3
    cell: bool = False
    pressure: Pressure = 0.0
    stiffness: Pressure = 200.0
    stress_tolerance: Pressure = 0.05
    hessian: bool = False
    born: InputFile | None = None
    reweight: bool | None = None
    keep: float = 0.6
    file: str = "scha.h5"
    dyn: str | None = None

    # -- as a stage ---------------------------------------------------------------------------------------------------
    def prepare(self, simulation):
        simulation.set_levels(None, None)
        self.minimiser = None
        self.converged = False
        self._said = False
        simulation.set_integrator(_Mover(self))

    def proceed(self, simulation):
        simulation.proceed()
        if self.minimiser is not None and simulation.stop_reason is None:
            self._finish(simulation)

    # -- as what moves the state --------------------------------------------------------------------------------------
    def begin(self, simulation):
        self.ensemble = StateEnsemble(simulation)

    def needs(self, step):
        return frozenset({"energy", "virial"} if self.cell else {"energy"})

    def step(self, simulation, needs):
        """One population: draw, evaluate, report, relax by reweighting. After convergence nothing is left to do."""
        if self.converged:
            return
        if self.minimiser is None:
            self._set_up(simulation, self._read(simulation))
        self.converged = self.minimiser.step(self.tolerance, lambda line: self._report(simulation, line))
        if self.cell:
            self.converged &= self._relax_cell(simulation)

    # -- setting up ---------------------------------------------------------------------------------------------------
    def _read(self, simulation):
        files = [self.start] if isinstance(self.start, str) else list(self.start)
        name = files[0].rsplit("/", 1)[-1]
        if name == "harmonic":
            lattice = self._harmonic(simulation)
        elif name.endswith(".h5"):
            lattice = Lattice.load(files[0])
        elif name.endswith((".yaml", ".yaml.xz")):
            lattice = read_phonopy(files[0])
        else:
            lattice = read_dyn(files)
        if lattice.symbols != self.ensemble.species():
            raise InputError(f"scha.start: the lattice ({len(lattice)} atoms) and the system ({self.ensemble.n}) differ in their"
                             " atoms or their order")
        if np.abs(lattice.cell - simulation.state.cells).max() > 1e-3:
            raise InputError("scha.start: the lattice's cell and the system's differ")
        lattice = replace(lattice, cell=np.array(simulation.state.cells[0]))
        if self.born:
            dielectric, born = read_charges(self.born)
            if born.shape[0] != len(lattice):
                raise InputError(f"scha.born: {born.shape[0]} charges for {len(lattice)} atoms")
            lattice = replace(lattice, born=born, dielectric=dielectric)
        return lattice.sum_rule()

    def _harmonic(self, simulation, h=0.01):
        """Force constants by central differences, as many displacements at once as there are systems."""
        e, S = self.ensemble, self.ensemble.S
        x0 = e.positions()[0]
        n = len(x0)
        masses = e.gather_scalar(simulation.state.masses)
        moves = np.concatenate([np.eye(3 * n), -np.eye(3 * n)]).reshape(-1, n, 3) * h
        forces = []
        for k in range(0, len(moves), S):
            batch = np.zeros((S, n, 3))
            batch[: len(moves[k : k + S])] = moves[k : k + S]
            e.place(x0 + batch)
            simulation.forces(frozenset({"energy"}), 0)
            forces.append(e.forces()[: len(moves[k : k + S])])
        f = np.concatenate(forces).reshape(2, 3 * n, 3 * n)
        phi = -(f[0] - f[1]) / (2 * h)
        return Lattice(e.species(), np.array(simulation.state.cells[0]), x0, masses, 0.5 * (phi + phi.T))

    def _set_up(self, simulation, lattice):
        self.lattice = lattice
        self.group = Symmetry.of(lattice, self.symmetry_tolerance) if self.symmetry else None
        self.coordinates = c = lattice.coordinates()
        D = c.matrix(lattice.force_constants)
        w2, e = np.linalg.eigh(D)
        if w2[0] <= 0:
            D = (e * np.maximum(np.abs(w2), (SOFTEST / units.per_cm) ** 2)) @ e.T
        self.minimiser = Minimiser(
            lambda R, D: self._sample(simulation, R, D), np.zeros(c.size), D,
            symmetrise=self.group.reduced(c) if self.group else None, keep=self.keep, move_centroids=self.centroids,
            reweight=self.ensemble.S >= 20 * c.size or self.averages == "exact" if self.reweight is None else self.reweight,
        )
        if self.averages == "sampled":
            self.noise = correlated_normals(self.ensemble.S, c.size, simulation.seed)

    def _sample(self, simulation, R, D):
        c = self.coordinates
        if self.averages == "exact":
            return ClosedForm(self._exact(simulation).averages, self.temperature)

        def evaluate(x):
            self.ensemble.place(c.positions(x))
            simulation.forces(self.needs(0), 0)
            forces = c.forces(self.ensemble.forces())
            if not np.isfinite(forces).all():
                raise PhysicsError("a force of the SCHA ensemble is not a number: the potential does not reach that far")
            return self.ensemble.energies().copy(), forces

        return draw(evaluate, self.noise, R, D, self.temperature)

    def _exact(self, simulation):
        parts = list(simulation.forces.levels[0].items())
        if len(parts) != 1 or parts[0][1] != 1.0 or not hasattr(simulation.potentials[parts[0][0]], "projected"):
            raise InputError("scha.averages = 'exact' needs one potential that knows its averages over a Gaussian")
        c = self.coordinates
        potential = simulation.potentials[parts[0][0]]
        polynomial, self._virial = potential.projected(c.reference, c.to_cartesian, simulation.state.cells[0])
        return polynomial

    # -- the cell -----------------------------------------------------------------------------------------------------
    def mean_stress(self, simulation):
        """σ (3, 3) eV/Å³ of the present Gaussian and ensemble, as momentum flux."""
        m, c = self.minimiser, self.coordinates
        A = thermal_covariance(m.D, self.temperature)
        if self.averages == "exact":
            w = self._virial.mean(m.R, A)
            W = np.array([[w[0], w[5], w[4]], [w[5], w[1], w[3]], [w[4], w[3], w[2]]])
        else:
            W = simulation.quantity("virial").mean(0)
        g = Gaussian.thermal(m.D, self.temperature, m.R)
        sigma = -(W + momentum_flux(g, c)) / float(simulation.state.volume[0])
        if self.group is not None:
            sigma = np.mean([Q @ sigma @ Q.T for Q in self.group.rotations], axis=0)
        return sigma

    def _relax_cell(self, simulation):
        """Strain the cell towards the wanted pressure; True if it was there."""
        excess = self.mean_stress(simulation) / units.GPa + self.pressure * np.eye(3)
        if np.abs(excess).max() < self.stress_tolerance:
            return True
        F = np.eye(3) - np.clip(excess / self.stiffness, -0.01, 0.01)
        state, c = simulation.state, self.coordinates
        positions = c.positions(self.minimiser.R) @ F
        state.cells = state.cells @ F
        self.lattice = replace(self.lattice, cell=self.lattice.cell @ F, positions=positions)
        c.reference = c.reference @ F
        self.minimiser.R = c.coordinates(positions)
        self.minimiser.history = []  # of another crystal
        return False

    # -- reporting ----------------------------------------------------------------------------------------------------
    def _report(self, simulation, line):
        if not self._said:
            _say(simulation, f"{'population':>10} {'F [eV]':>16} {'error':>10} {'centroid':>10} {'shift [1/cm]':>13}"
                             f" {'effective':>10} {'lowest [1/cm]':>14}" + (f"   {self.group.name}" if self.group else ""))
            self._said = True
        _say(simulation, f"{line.population:>10} {line.free_energy:>16.8f} {line.error:>10.2g} {line.displacement:>10.2g}"
                         f" {line.shift:>13.4g} {line.effective:>10.5g} {line.lowest:>14.5g}")

    def _finish(self, simulation):
        m, c = self.minimiser, self.coordinates
        notes = {"converged": self.converged, "report": m.state_dict()["reports"]}
        if self.hessian:
            third = self._exact(simulation).mean_third(m.R) if self.averages == "exact" else self._third()
            H = stability(m.D, third, self.temperature)
            notes["free_energy_hessian"] = c.force_constants(H)
            w2 = np.linalg.eigvalsh(H)[:3]
            lowest = np.sign(w2) * np.sqrt(np.abs(w2)) * units.per_cm
            _say(simulation, "free-energy Hessian, lowest [1/cm]: " + ", ".join(f"{x:.2f}" for x in lowest))
        found = replace(
            self.lattice, positions=c.positions(m.R), force_constants=c.force_constants(m.D), temperature=float(self.temperature),
            cell=np.array(simulation.state.cells[0]), notes=notes,
        )
        simulation.lattice = found
        if simulation.comm.rank == 0:
            found.save(self.file)
            if self.dyn:
                write_dyn(found, self.dyn)
        word = "converged" if self.converged else (
            f"NOT converged to {self.tolerance} 1/cm; go on with start = '{self.file}', or take more systems")
        _say(simulation, f"scha: {word}; written to {self.file}")

    def _third(self):
        third = self.minimiser.ensemble.third_order(self.minimiser.R, self.minimiser.D)
        if self.group is None:
            return third
        c = self.coordinates
        left = c.basis / c.weights[:, None]
        full = self.group.third(np.einsum("abc,xa,yb,zc->xyz", third, left, left, left, optimize=True))
        return np.einsum("xyz,xa,yb,zc->abc", full, *[c.to_cartesian] * 3, optimize=True)

    # -- persistence --------------------------------------------------------------------------------------------------
    def state_dict(self):
        if self.minimiser is None:
            return {}
        keep = {k: getattr(self.lattice, k) for k in ("cell", "positions", "masses", "force_constants", "born", "dielectric")}
        return {"minimiser": self.minimiser.state_dict(), "converged": self.converged, "symbols": self.lattice.symbols,
                "lattice": {k: v for k, v in keep.items() if v is not None}}

    def load_state_dict(self, tree):
        if not tree:
            return
        lattice = Lattice(list(tree["symbols"]), **{k: np.array(v) for k, v in tree["lattice"].items()})
        self._set_up(self.ensemble.simulation, lattice)
        self.minimiser.load_state_dict(tree["minimiser"])
        self.converged = bool(tree["converged"])


class _Mover:
    """The stage in the place of an integrator (the stage's own key `start` stands in the way of the method)."""

    conserves_momentum, barostat, gaussian = True, None, None
    feels_fields = False  # the equilibrium is that without them

    def __init__(self, stage):
        self.stage = stage
        self.needs, self.step = stage.needs, stage.step
        self.state_dict, self.load_state_dict = stage.state_dict, stage.load_state_dict

    def start(self, simulation):
        self.stage.begin(simulation)


def _say(simulation, text):
    """To the screen's hook, if there is one."""
    for hook in simulation.hooks:
        if hasattr(hook, "say"):
            hook.say(text)
