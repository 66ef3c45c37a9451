"""Contract tests of integrators, fields, hooks and updaters; ``engine.testing`` offers them beside those of potentials.

>>> from engine.testing import IntegratorContract
>>> class TestMine(IntegratorContract):
...     def integrator(self, timestep):
...         return Mine(timestep=timestep, temperature=300.0)

Each class has matter of its own to move, soft spheres, ions without interaction, or what `simulation` is overridden to give.
Under a launcher the systems are spread over ranks, and runs are compared with serial ones.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from engine.build import state_from_atoms, thermalise
from engine.contracts import Capabilities, Field, Potential
from engine.errors import InputError
from engine.kernels.pair import PairPotential
from engine.parallel import Serial
from engine.simulation import Simulation


def soft(r2, strength, inverse2):
    """ε (1 − r²/c²)³: two continuous derivatives at the cutoff c."""
    x = 1.0 - r2 * inverse2
    return strength * x * x * x, 6.0 * strength * x * x * inverse2


@dataclass
class SoftSpheres(PairPotential):
    """Repulsive spheres that overlap; strength in eV, cutoff in Å."""

    strength: float = 3.0
    cutoff: float = 4.0
    function = staticmethod(soft)  # type: ignore[assignment]

    def tables(self, species_names):
        full = lambda value: np.full((len(species_names),) * 2, float(value))
        return full(self.cutoff), {"strength": full(self.strength), "inverse2": full(self.cutoff**-2)}


@dataclass
class Ions(Potential):
    """Charges that feel a field and nothing else: F = −Σ q [E·r + ½ r·G·r], P = Σ q r, Q = Σ q r⊗r."""

    itinerant = True  # what crosses the boundary is in P

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none", takes=frozenset({"charges", "field", "field_gradient"}),
                            provides=frozenset({"energy", "forces", "virial", "polarization", "quadrupole", "born_charges"}))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        n, x, q, s = atoms.n, atoms.unwrapped(), atoms.charges[: atoms.n, None], atoms.system[: atoms.n]
        gradient = np.zeros((3, 3)) if inputs.field_gradient is None else inputs.field_gradient
        field = np.zeros((atoms.n_systems, 3)) if inputs.field is None else inputs.field
        out.forces[:n] += q * (field[s] + x @ gradient)
        if "energy" in needs:
            np.add.at(out.energy, s, -(q * x * (field[s] + 0.5 * x @ gradient)).sum(1))
        if "polarization" in needs:
            np.add.at(out.polarization, s, q * x)
        if "born_charges" in needs:
            out.born_charges[:n] += q[..., None] * np.eye(3)
        if "quadrupole" in needs:
            np.add.at(out.quadrupole, s, q[..., None] * x[:, :, None] * x[:, None, :])


def crystal(repeat=3, seed=1):
    """A rattled fcc crystal, ASE Atoms."""
    from ase.build import bulk

    atoms = bulk("Cu", cubic=True, a=3.9).repeat(repeat)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=atoms.positions.shape)
    return atoms


def world():
    from engine import testing

    return testing.world()


def soft_crystal(integrator, images=None, temperature=300.0, comm=None, fixed=0, **options):
    """A Simulation of soft spheres in an fcc crystal (or `images`, one system each); the first `fixed` atoms do not move."""
    state = state_from_atoms(images or crystal())
    state.free[:fixed] = 0.0
    state.constrained = fixed > 0
    thermalise(state, temperature, 7)
    return Simulation(state, SoftSpheres(), integrator, seed=3, skin=0.6, comm=comm or world(), **options)


def everything(simulation):
    """Positions followed through the boundaries, velocities, cells and account, in the order of tags; on all ranks."""
    arrays = {name: simulation.comm.bcast(simulation.array(name)) for name in ("unwrapped", "velocities")}
    return {**arrays, "cells": simulation.state.cells.copy(),
            **{f"account of {name}": np.array(value) for name, value in sorted(simulation.account.entries.items())}}


def same(one, two, tolerance=0.0, what="runs"):
    assert set(one) == set(two), f"{what}: {sorted(set(one) ^ set(two))} is in one of them only"
    for name, value in one.items():
        other, known = np.asarray(two[name]), np.isfinite(value)
        assert value.shape == other.shape and (known == np.isfinite(other)).all(), f"{what}: {name} differs in what is known"
        error, scale = np.abs(value - other)[known].max(initial=0.0), max(np.abs(value[known]).max(initial=0.0), 1e-3)
        assert error <= tolerance * scale, f"{what}: {name} differs by {error:.3g} at a scale of {scale:.3g}"


def interrupted(make, first, second):
    """(a simulation run at one go, one whose state was taken over by another after `first` steps)."""
    whole, before, after = make(), make(), make()
    for simulation in (whole, before, after):
        simulation.begin_stage(0, first + second)
    whole.proceed()
    before.stage_steps = first
    before.proceed()
    before.stage_steps = first + second
    tree = copy.deepcopy(before.state_dict())
    after.load_state_dict(tree)
    after.proceed()
    return whole, after


class Contract:
    """Base of all contract tests: under a launcher, all ranks run them together."""


class IntegratorContract(Contract):
    """Inherit, say what `integrator` is, and let pytest run it.

    conserves : has it a conserved quantity (``simulation.conserved()``)? False for relaxation
    reversible : does it come back when velocities are turned around?
    moves_cell : may the cell change?
    timestep : fs, of the tests;  tolerance : eV an atom, that the conserved quantity may deviate by at that time step
    """

    conserves = True
    reversible = False
    moves_cell = False
    timestep = 2.0
    tolerance = 2e-4

    def integrator(self, timestep):
        raise TypeError(f"{type(self).__name__} must say which integrator it tests")

    def simulation(self, timestep=None, **options):
        return soft_crystal(self.integrator(timestep or self.timestep), **options)

    def _deviation(self, timestep, time=100.0):
        """Of the conserved quantity, root mean square over a run from its mean, eV an atom."""
        simulation, values = self.simulation(timestep), []
        simulation.attach(lambda s: values.append(s.conserved()), needs={"energy"})
        simulation.run(round(time / timestep))
        assert len(values) > 10
        return float(np.std(values, axis=0).max() / simulation.atoms_per_system()[0])

    def test_conserved_quantity(self):
        """Flat to the time step's error: below the tolerance, and falling with the step."""
        if not self.conserves:
            return
        coarse, fine = self._deviation(self.timestep), self._deviation(0.5 * self.timestep)
        assert coarse < self.tolerance, f"the conserved quantity deviates by {coarse:.2g} eV an atom"
        assert fine < 0.6 * coarse or fine < 1e-9, f"its deviation does not fall with the time step: {coarse:.2g}, {fine:.2g}"

    def test_restart_is_no_restart(self):
        whole, parts = interrupted(self.simulation, 7, 8)
        same(everything(whole), everything(parts), what="a restart")

    def test_systems_do_not_know_of_each_other(self):
        """The first of two systems, the second hotter and strained, moves as it does alone."""
        other = crystal(seed=2)
        other.set_cell(other.cell[:] * 1.02, scale_atoms=True)
        alone, together = self.simulation(comm=Serial()), self.simulation(images=[crystal(), other], comm=Serial())
        for simulation in (alone, together):
            simulation.state.velocities[simulation.state.system[: simulation.state.n] == 1] *= 1.5
            simulation.run(12)
        n = alone.state.n
        scale = np.abs(alone.array("velocities")).max()
        assert np.abs(alone.array("unwrapped") - together.array("unwrapped")[:n]).max() < 1e-8
        assert np.abs(alone.array("velocities") - together.array("velocities")[:n]).max() < 1e-8 * scale

    def test_fixed_atoms_stay(self):
        if self.moves_cell:
            return
        simulation = self.simulation(fixed=9)
        before = everything(simulation)
        simulation.run(12)
        after = everything(simulation)
        moved = np.abs(after["unwrapped"] - before["unwrapped"]).max(1)
        assert moved[:9].max() < 1e-9 < moved[9:].max() and not after["velocities"][:9].any()  # rounding of wrapped places

    def test_momentum(self):
        """The total momentum stays what it was where the integrator says so."""
        simulation = self.simulation()
        momentum = lambda: simulation.comm.sum((simulation.state.masses[:, None] * simulation.state.velocities).sum(0))
        before = momentum()
        simulation.run(20)
        scale = simulation.comm.sum(np.abs(simulation.state.masses[:, None] * simulation.state.velocities).sum())
        if simulation.integrator.conserves_momentum:
            assert np.abs(momentum() - before).max() < 1e-12 * max(scale, 1.0)

    def test_reversibility(self):
        if not self.reversible:
            return
        simulation = self.simulation()
        before = everything(simulation)
        for _ in range(2):
            simulation.run(25)
            simulation.state.velocities *= -1
        after = everything(simulation)
        assert np.abs(after["unwrapped"] - before["unwrapped"]).max() < 1e-8, "it does not come back"

    def test_the_cell_moves_only_if_it_may(self):
        simulation = self.simulation()
        before = simulation.state.cells.copy()
        simulation.run(20)
        assert self.moves_cell != np.array_equal(before, simulation.state.cells)

    def test_ranks_agree(self):
        """Under a launcher: the same trajectory as on one rank."""
        if world().size == 1:
            return
        runs = []
        for comm in (Serial(), world()):
            simulation = self.simulation(comm=comm)
            simulation.run(15)
            runs.append(everything(simulation))
        same(*runs, tolerance=1e-9, what="ranks")


class FieldContract(Contract):
    """Inherit, say what `field` is; `integrator(timestep)` is velocity Verlet, by its registered name, if not overridden.

    times : fs, at which the field is looked at;  timestep : fs, short against the field's changes
    """

    times = tuple(np.linspace(0.0, 400.0, 41))
    timestep = 1.0

    def field(self) -> Field:
        raise TypeError(f"{type(self).__name__} must say which field it tests")

    def integrator(self, timestep):
        from engine import registry

        return registry.get("integrators", "nve")(timestep=timestep)

    def simulation(self, timestep=None, comm=None):
        """Six ions on their way, in the field."""
        from ase import Atoms

        rng = np.random.default_rng(2)
        atoms = Atoms("Na3Cl3", rng.uniform(0, 12, (6, 3)), cell=[[12, 0, 0], [2, 12, 0], [-1, 1, 12]], pbc=self.periodic())
        atoms.set_initial_charges([1, 1, 1, -1, -1, -1])
        state = state_from_atoms(atoms)
        thermalise(state, 300.0, 4)
        return Simulation(state, Ions(), self.integrator(timestep or self.timestep), fields=[self.field()],
                          comm=comm or world())

    def periodic(self):
        """Where it has a gradient, directions are open."""
        return self.field().gradient(0.0) is None

    def test_value_is_three_finite_numbers(self):
        field = self.field()
        for time in self.times:
            value = np.asarray(field.value(time))
            assert value.shape == (3,) and np.isfinite(value).all(), f"at {time} fs: {value}"
            assert np.array_equal(value, field.value(time)), f"at {time} fs: another value when asked again"

    def test_gradient_is_symmetric(self):
        for time in self.times:
            gradient = self.field().gradient(time)
            if gradient is not None:
                gradient = np.asarray(gradient)
                assert gradient.shape == (3, 3) and np.isfinite(gradient).all() and np.array_equal(gradient, gradient.T)

    def test_steady_means_steady(self):
        field = self.field()
        values = np.array([field.value(time) for time in self.times])
        if field.steady:
            assert (values == values[0]).all(), "a field that is steady changes"
        assert field.fixes in ("E", "D")

    def _deviation(self, timestep, time=200.0):
        simulation, values = self.simulation(timestep), []
        simulation.attach(lambda s: values.append(s.conserved()[0]), needs={"energy"})
        simulation.run(round(time / timestep))
        return float(np.ptp(values))

    def test_work_is_counted(self):
        """Total energy less the field's work is conserved, with an error that falls as the square of the time step."""
        if self.field().fixes == "D":
            return
        coarse, fine = self._deviation(self.timestep), self._deviation(0.5 * self.timestep)
        assert coarse < 1e-3 and (fine < 0.4 * coarse or fine < 1e-9), f"the account does not close: {coarse:.2g}, {fine:.2g} eV"

    def test_restart_is_no_restart(self):
        if self.field().fixes == "D":
            return
        whole, parts = interrupted(self.simulation, 30, 40)
        same(everything(whole), everything(parts), what="a restart")


class HookContract(Contract):
    """Inherit, say what `hook` is; it watches a crystal of soft spheres, or what `simulation(hooks)` gives.

    results : does it have `result(simulation)`, as observers do? Then ranks must agree on it
    """

    results = False
    steps = 24

    def hook(self):
        raise TypeError(f"{type(self).__name__} must say which hook it tests")

    def simulation(self, hooks, comm=None):
        from engine import registry

        integrator = registry.get("integrators", "nve")(timestep=2.0)
        return soft_crystal(integrator, comm=comm, hooks=hooks)

    def test_it_only_looks(self):
        """The run is the same, bit for bit, whether it watches or not."""
        runs = []
        for hooks in ([], [self.hook()]):
            simulation = self.simulation(hooks)
            simulation.domain.cutoff = max(simulation.domain.cutoff, self.hook().reach or 0.0)
            simulation.domain.half &= self.hook().reach == 0.0  # else pairs are added in another order
            simulation.run(self.steps)
            runs.append(everything(simulation))
        same(*runs, what="with the hook and without it")

    def test_restart_is_no_restart(self):
        first = self.steps // 2 - 1
        whole, parts = interrupted(lambda: self.simulation([self.hook()]), first, self.steps - first)
        _equal_trees(whole.hooks[0].state_dict(), parts.hooks[0].state_dict(), type(whole.hooks[0]).__name__)
        same(everything(whole), everything(parts), what="a restart")
        if self.results:
            self._same_results(whole, parts, 0.0)

    def test_ranks_agree(self):
        """Under a launcher: the same results as on one rank."""
        if world().size == 1 or not self.results:
            return
        runs = []
        for comm in (Serial(), world()):
            simulation = self.simulation([self.hook()], comm=comm)
            simulation.run(self.steps)
            runs.append(simulation)
        self._same_results(*runs, 1e-9)

    @staticmethod
    def _same_results(one, two, tolerance):
        found = [{name: np.asarray(series.values) for name, series in s.hooks[0].result(s).items()} for s in (one, two)]
        assert found[0], "it has no results after these steps"
        same(*found, tolerance=tolerance, what="results")


class UpdaterContract(Contract):
    """Inherit, say what `updater` is; it acts on the systems of `simulation(updaters)`, by default one crystal of soft spheres.

    steps : of the tests; it must act within them
    """

    steps = 24

    def updater(self):
        raise TypeError(f"{type(self).__name__} must say which updater it tests")

    def simulation(self, updaters, comm=None):
        from engine import registry

        return soft_crystal(registry.get("integrators", "nve")(timestep=2.0), comm=comm, updaters=updaters)

    @staticmethod
    def _energy(simulation):
        simulation.forces.all_levels(frozenset({"energy"}))
        return simulation.potential_energy() + simulation.kinetic_energy()

    def test_it_does_what_it_says(self):
        """Every time it acts: what is not in `touches` is as before; the total energy has changed by what it returned."""
        updater, changed = self.updater(), []
        simulation = self.simulation([])
        for _ in range(self.steps):
            simulation.run(1)
            if simulation.state.step % updater.every:
                continue
            before, energy = everything(simulation), self._energy(simulation)
            added = updater.act(simulation)
            if updater.touches - {"velocities"}:
                simulation.forces.stale = True
            error = np.abs(self._energy(simulation) - energy - added).max()
            after = everything(simulation)
            assert error < 1e-9 * np.abs(energy).max(), f"the total energy changed by {error:.3g} eV more than it returned"
            for name, array in (("positions", "unwrapped"), ("velocities", "velocities"), ("cells", "cells")):
                moved = before[array].shape != after[array].shape or not np.array_equal(before[array], after[array])
                assert not moved or name in updater.touches, f"{name} changed, which `touches` does not say"
                changed += [name] * moved
        assert changed, f"it changed nothing within {self.steps} steps"

    def test_restart_is_no_restart(self):
        first = self.steps // 2 - 1
        whole, parts = interrupted(lambda: self.simulation([self.updater()]), first, self.steps - first)
        _equal_trees(whole.updaters[0].state_dict(), parts.updaters[0].state_dict(), type(whole.updaters[0]).__name__)
        same(everything(whole), everything(parts), what="a restart")

    def test_ranks_agree(self):
        """Under a launcher: the same run as on one rank."""
        if world().size == 1:
            return
        runs = []
        for comm in (Serial(), world()):
            simulation = self.simulation([self.updater()], comm=comm)
            simulation.run(self.steps)
            runs.append(everything(simulation))
        same(*runs, tolerance=1e-9, what="ranks")


def _equal_trees(one, two, place):
    if isinstance(one, dict):
        assert set(one) == set(two), f"{place}: a restart lost or made {sorted(set(one) ^ set(two))}"
        for key in one:
            _equal_trees(one[key], two[key], f"{place}.{key}")
    else:
        floats = np.asarray(one).dtype.kind == "f"
        assert np.array_equal(one, two, equal_nan=floats), f"{place} is not what it was after a restart"


def check_registered(group, tested, excused=()):
    """Every name registered in `group` is `tested`, or excused with a reason: {name: why}; for our own tests."""
    from engine import registry

    missing = set(registry.names(group)) - set(tested) - set(excused)
    if missing:
        raise InputError(f"{group} without a contract test: {', '.join(sorted(missing))}")
