"""The contract tests on every registered integrator, field, hook and updater."""

import numpy as np
import pytest
from ase import Atoms

from engine.build import state_from_atoms, thermalise
from engine.contracts import Hook, Updater
from engine.errors import InputError
from engine.parallel import Serial
from engine.simulation import Simulation
from engine.testing import FieldContract, HookContract, IntegratorContract, UpdaterContract, check_registered
from engine.testing_parts import Ions, crystal, soft_crystal, world
from integrators.bussi import Bussi
from integrators.cell_rescaling import CellRescaling
from integrators.fire import FIRE
from integrators.langevin import Langevin
from integrators.lbfgs import LBFGS
from integrators.nose_hoover import NoseHoover
from integrators.nve import NVE
from integrators.replica_exchange import ReplicaExchange
from plugins.analysis.msd import MeanSquareDisplacement
from plugins.analysis.profile import Profile
from plugins.analysis.rdf import RadialDistribution
from plugins.analysis.stress import StressAutocorrelation
from plugins.analysis.vacf import VelocityAutocorrelation
from plugins.dielectric.hysteresis import Hysteresis
from plugins.dielectric.permittivity import Permittivity
from plugins.dielectric.spectra import Conductivity, Infrared, Raman
from potentials.dielectric_bonds import Bond, PolarizableBonds
from potentials.fields import Chirp, Constant, GaussianPulse, Quadrupole, Ramp, Sine, Tabulated

ROOM = dict(temperature=300.0)
INTEGRATORS = {
    "nve": (lambda dt: NVE(dt), dict(reversible=True)),
    "langevin": (lambda dt: Langevin(dt, friction=0.01, **ROOM), {}),
    "bussi": (lambda dt: Bussi(dt, time=100.0, **ROOM), {}),
    "nose-hoover": (lambda dt: NoseHoover(dt, time=100.0, **ROOM), {}),
    "fire": (lambda dt: FIRE(), dict(conserves=False)),
    "lbfgs": (lambda dt: LBFGS(), dict(conserves=False)),
    "bussi with cell-rescaling": (lambda dt: Bussi(dt, time=100.0, barostat=CellRescaling(pressure=20.0, time=500.0), **ROOM),
                                  dict(moves_cell=True, tolerance=1e-3)),
    "langevin with a flexible cell": (
        lambda dt: Langevin(dt, friction=0.01, barostat=CellRescaling(pressure=20.0, time=500.0, coupling="flexible"), **ROOM),
        dict(moves_cell=True, tolerance=1e-3)),
}
PULSE = dict(amplitude=0.05, center=60, width=20, period=80, direction=[1, 1, 2])
FIELDS = {
    "constant": lambda: Constant([0, 0.02, 0.05]),
    "ramp": lambda: Ramp(last=[0.1, 0.05, 0.03], start=20.0, end=150.0),
    "sine": lambda: Sine(amplitude=0.05, period=97.0, direction=[1, 0, 1]),
    "gaussian-pulse": lambda: GaussianPulse(**PULSE),
    "chirp": lambda: Chirp(**PULSE, rate=1e-5),
    "tabulated": lambda: Tabulated(file=TABLE),
    "quadrupole": lambda: Quadrupole(matrix=[[1e-3, 0, 0], [0, 1e-3, 0], [0, 0, -2e-3]], period=150.0),
}
LOOKS = dict(every=2, lags=8)
HOOKS = {
    "rdf": lambda: RadialDistribution(every=3, cutoff=5.0, bins=20),
    "msd": lambda: MeanSquareDisplacement(origins=4, **LOOKS),
    "vacf": lambda: VelocityAutocorrelation(origins=4, **LOOKS),
    "stress": lambda: StressAutocorrelation(**LOOKS),
    "profile": lambda: Profile(every=3, along="c", bins=4),
    "infrared": lambda: Infrared(block=8, source="current"),
    "raman": lambda: Raman(block=8),
    "conductivity": lambda: Conductivity(block=8),
    "permittivity": lambda: Permittivity(every=2),
    "hysteresis": lambda: Hysteresis(every=2, period=20.0, points=5, skip=0),
}
ELECTRIC = ("infrared", "raman", "conductivity", "permittivity", "hysteresis")
TABLE = ""


@pytest.fixture(autouse=True)
def _table(tmp_path, monkeypatch):
    t = np.linspace(0, 400, 41)
    path = tmp_path / "field.txt"
    np.savetxt(path, np.stack([t, 0.03 * np.sin(t / 60), 0 * t, 0.02 * np.cos(t / 45)], 1))  # each rank has a folder of its own
    monkeypatch.setitem(globals(), "TABLE", str(path))


class _OfIntegrator(IntegratorContract):
    name = ""

    def integrator(self, timestep):
        return INTEGRATORS[self.name][0](timestep)


class _OfField(FieldContract):
    name = ""

    def field(self):
        return FIELDS[self.name]()


class _OfHook(HookContract):
    name, results = "", True

    def hook(self):
        return HOOKS[self.name]()

    def simulation(self, hooks, comm=None):
        if self.name not in ELECTRIC:
            return super().simulation(hooks, comm)
        rng = np.random.default_rng(2)
        atoms = Atoms("Na6Cl6", rng.uniform(0, 12, (12, 3)), cell=[[12, 0, 0], [2, 12, 0], [-1, 1, 12]], pbc=True)
        atoms.set_initial_charges([1] * 6 + [-1] * 6)
        state = state_from_atoms(atoms)
        thermalise(state, 300.0, 4)
        fields = [Sine(amplitude=0.05, period=20.0, direction=[0, 0, 1])] if self.name == "hysteresis" else []
        potentials = {"ions": Ions()}
        if self.name in ("infrared", "raman"):
            potentials["bonds"] = PolarizableBonds([Bond("Na-Cl", charge=0.5, parallel=0.3, perpendicular=0.1)], cutoff=5.0)
        return Simulation(state, potentials, NVE(timestep=2.0), hooks=hooks, fields=fields, comm=comm or world())


def classes(base, names, options=lambda name: {}):
    for name in names:
        title = base.__name__.removeprefix("_") + "".join(part.capitalize() for part in name.replace("-", " ").split())
        yield f"Test{title}", type(f"Test{title}", (base,), {"name": name, "__module__": __name__, **options(name)})


class TestReplicaExchange(UpdaterContract):
    """Temperatures so near that nearly every attempt swaps."""

    def updater(self):
        return ReplicaExchange(every=4)

    def simulation(self, updaters, comm=None):
        integrator = Langevin(2.0, friction=0.01, temperature={"systems": [300.0, 301.0, 302.0]})
        return soft_crystal(integrator, images=[crystal(seed=seed) for seed in (1, 2, 3)], comm=comm, updaters=updaters)


globals().update(classes(_OfIntegrator, INTEGRATORS, lambda name: INTEGRATORS[name][1]))
globals().update(classes(_OfField, FIELDS))
globals().update(classes(_OfHook, HOOKS))


def test_all_that_is_registered_is_tested():
    check_registered("integrators", INTEGRATORS, {"tdscha": "moves a Gaussian, not atoms: tests/integrators/test_tdscha_*.py"})
    check_registered("fields", FIELDS)
    check_registered("updaters", {"replica-exchange"})
    check_registered("hooks", HOOKS, {
        "gaussian": "watches TD-SCHA's Gaussian: tests/integrators/test_tdscha_run.py",
        "uncertainty": "needs a learned model: tests/equivariant/test_uncertainty.py",
        "mode-spectrum": "needs a file of phonons: tests/dielectric/test_modes.py"})
    with pytest.raises(InputError, match="langevin"):
        check_registered("integrators", set(INTEGRATORS) - {"langevin"}, {"tdscha": ""})


# -- the contracts find what is wrong -----------------------------------------------------------------------------------
class Leaky(NVE):
    """Gains energy that nobody counts."""

    def step(self, simulation, needs):
        super().step(simulation, needs)
        simulation.state.velocities *= 1.001


class Forgetful(NVE):
    """Steps of alternating length, of which a checkpoint knows nothing."""

    def step(self, simulation, needs):
        self.turn = not getattr(self, "turn", False)
        self.timestep = 2.0 if self.turn else 1.0
        super().step(simulation, needs)


class Pushing(Hook):
    """A hook that changes what it looks at."""

    def act(self, simulation):
        simulation.state.velocities += 1e-9


class Heating(Updater):
    """Changes velocities and returns nothing of it."""

    def act(self, simulation):
        simulation.state.velocities *= 1.01
        return 0.0


class Shoving(Updater):
    """Moves atoms, which it does not say."""

    def act(self, simulation):
        simulation.state.positions[0] += 1e-3
        simulation.forces.stale = True
        return 0.0


def contract(base, **methods):
    return type("Broken", (base,), methods)()


def test_contracts_catch_mistakes():
    leaky = contract(IntegratorContract, integrator=lambda self, dt: Leaky(dt))
    with pytest.raises(AssertionError, match="conserved quantity"):
        leaky.test_conserved_quantity()
    with pytest.raises(AssertionError, match="restart"):
        contract(IntegratorContract, integrator=lambda self, dt: Forgetful(dt)).test_restart_is_no_restart()
    thermostat = contract(IntegratorContract, integrator=lambda self, dt: Langevin(dt, friction=0.01, **ROOM), reversible=True)
    with pytest.raises(AssertionError, match="come back"):
        thermostat.test_reversibility()
    with pytest.raises(AssertionError, match="with the hook"):
        contract(HookContract, hook=lambda self: Pushing()).test_it_only_looks()
    for updater, complaint in ((Heating(), "more than it returned"), (Shoving(), "changed")):
        with pytest.raises(AssertionError, match=complaint):
            contract(UpdaterContract, updater=lambda self, given=updater: given).test_it_does_what_it_says()
    moving = type("Moving", (Constant,), {"value": lambda self, time: np.array([0, 0, 1e-3 * time])})
    lying = contract(FieldContract, field=lambda self: moving([0, 0, 0]))
    with pytest.raises(AssertionError, match="steady"):
        lying.test_steady_means_steady()
    with pytest.raises(AssertionError, match="account"):
        lying.test_work_is_counted()


def test_matter_of_the_contracts_is_right():
    """Forces of the soft spheres are those of their energy: their own tests rest on it."""
    simulation = soft_crystal(NVE(1.0), comm=Serial())
    simulation.forces.all_levels(frozenset({"energy"}))
    force, energies = simulation.array("forces")[5, 1], []
    row = int(np.flatnonzero(simulation.state.tags[: simulation.state.n] == 5)[0])
    for sign in (1, -1):
        simulation.state.positions[row, 1] += sign * 1e-4
        simulation.forces.all_levels(frozenset({"energy"}))
        energies.append(simulation.potential_energy()[0])
        simulation.state.positions[row, 1] -= sign * 1e-4
    assert (energies[0] - energies[1]) / 2e-4 == pytest.approx(-force, abs=1e-8)
