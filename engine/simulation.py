"""The loop: an integrator moves the state, potentials give forces, updaters change it, hooks read it.

    for each step:                                   # the outermost one; multiple time steps divide it
        needs = what hooks and the integrator ask for after this step
        integrator.step(simulation, needs)           # kick, drift, [forces], kick
        updaters that are due                        # then hooks that are due
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.config import plugins
from engine.config.ramp import check_systems
from engine.contracts import PER_ATOM, Account, Hook
from engine.domain.domain import Domain
from engine.domain.migration import combined, merged, share_out, take_share
from engine.electric import Electric
from engine.errors import InputError, PhysicsError, nearest
from engine.forces import Forces
from engine.molecules import unique
from engine.parallel import Serial
from engine.state import temperature

DEFAULT_SKIN = 1.0  # Å
SANITY = 100  # steps between looks at whether all is still finite
HOTTEST = 1e6  # K, the mean; nothing that a force field describes is hotter


class Simulation:
    """S systems, potentials, an integrator, and whoever watches.

    Parameters
    ----------
    state : ``engine.state.State`` (see ``engine.build`` for making one from ASE Atoms)
    potentials : one potential, or {name: potential}
    integrator : an object of ``integrators``
    levels : [{name: weight}] with `every` [int]: multiple time steps, the fastest first
    hooks, updaters : lists, acted on in their order
    seed : 64-bit key of every random number of the run
    skin : Å beyond the cutoff that lists reach, or "auto": chosen while running
    precision : "double", or "mixed": single precision inside potentials that know how, sums in double precision
    """

    def __init__(self, state, potentials, integrator=None, *, levels=None, every=None, hooks=(), updaters=(), fields=(),
                 seed=0, skin=None, domain=None, comm=None, precision="double"):
        self.state = state
        self.comm = comm or Serial()
        share_out(state, self.comm)
        self.precision = precision
        self.potentials = potentials if isinstance(potentials, dict) else {"potential": potentials}
        refuse_ranks(self.potentials, self.comm)
        for potential in self.potentials.values():
            plugins.check(potential)
            potential.precision = precision
            potential.bind(state.species_names)
        cutoffs = [p.capabilities().cutoff for p in self.potentials.values()] + [hook.reach or 0.0 for hook in hooks]
        cutoff = max(cutoffs, default=0.0)
        self.hooks, self.updaters = [plugins.check(hook) for hook in hooks], list(updaters)
        skin, half = DEFAULT_SKIN if skin is None else skin, self.half_lists(self.comm.size)
        self.domain = domain or Domain(state, cutoff, skin, half=half)
        self.fields = list(fields)
        self.electric = Electric(self.fields) if self.fields else None
        self.seed = int(seed)
        self.account = Account()
        self.stop_reason = None
        self.stage = 0  # index of the stage that is running
        self.stage_start = 0  # step at which it began
        self.stage_steps = 0  # steps that it has
        self.started = False
        self.finished = False  # all stages of an input file are done
        self.to_come = frozenset()  # paths of files that stages of an input file write
        self.set_levels(levels, every)
        self.integrator = None
        if integrator is not None:
            self.set_integrator(integrator)

    def half_lists(self, ranks):
        """Are half lists all that anybody reads? (Of ranks the first ones would have more to do where space is open.)"""
        kinds = {potential.capabilities().lists for potential in self.potentials.values()}
        readers = any(hook.reach != 0.0 for hook in self.hooks)
        everybody = kinds <= {"half", "none"} and not readers and not len(self.state.exclusions)
        return everybody and (ranks == 1 or bool(self.state.periodic.all()))

    @classmethod
    def from_atoms(cls, atoms, potentials, integrator=None, *, temperature=None, seed=0, exclusions=None, **options):
        """From ASE Atoms, or a list of them (one system each), without an input file.

        temperature : K, draws velocities (a number, or one for each system); without it, those of the atoms
        exclusions : (m, 2) numbers of atoms, of all systems one after another, whose pairs no list holds: ``engine.molecules``
        options : whatever else a simulation takes
        """
        state = state_from_atoms(atoms)
        if exclusions is not None:
            state.exclusions = unique(exclusions)
            if not ((state.exclusions >= 0) & (state.exclusions < state.n)).all():
                raise InputError(f"exclusions name an atom that is not there; they run from 0 to {state.n - 1}")
        if temperature is not None:
            thermalise(state, temperature, seed)
        return cls(state, potentials, integrator, seed=seed, **options)

    @classmethod
    def from_toml(cls, path):
        """What the input file describes, with the integrator of its first stage; nothing is run or written."""
        from engine.run import from_file

        return from_file(path).build()

    # -- putting parts in -----------------------------------------------------------------------------------------
    def set_levels(self, levels=None, every=None):
        """Group the named potentials into levels, the fastest first; without arguments one level of all."""
        self.forces = Forces(self.state, self.domain, self.potentials, levels, every, self.electric)

    def set_integrator(self, integrator):
        self.integrator = plugins.check(integrator)
        check_systems([integrator, *filter(None, [getattr(integrator, "barostat", None)])], self.state.n_systems)
        integrator.start(self)

    def attach(self, watcher, every=1, needs=frozenset()):
        """Let a hook watch from now on, or call `watcher(simulation)` every so many steps, with `needs` fresh."""
        hook = plugins.check(watcher) if isinstance(watcher, Hook) else _Attached(watcher, every, frozenset(needs))
        self.hooks.append(hook)
        self.widen(self.domain.cutoff if hook.reach is None else hook.reach)
        return watcher

    def widen(self, cutoff):
        """Have ghosts and lists of all kinds reach to `cutoff` Å at least."""
        if cutoff > self.domain.cutoff or (cutoff and self.domain.half):
            self.domain.cutoff, self.domain.half = max(float(cutoff), self.domain.cutoff), False
            self.domain.invalidate()
            self.forces.stale = True

    # -- running ----------------------------------------------------------------------------------------------------
    def run(self, steps):
        """Take `steps` steps, or fewer if somebody sets `stop_reason`; returns the number taken."""
        first = self.state.step
        self.begin_stage(self.stage, steps)
        self.proceed()
        self.finish()
        return self.state.step - first

    def begin_stage(self, index, steps):
        """Ramps are counted from here."""
        self.stage, self.stage_start, self.stage_steps = index, self.state.step, steps

    def proceed(self):
        """Go on to the end of the present stage, or to the step after which somebody sets `stop_reason`."""
        if self.integrator is None:
            raise InputError("a simulation needs an integrator before it can run")
        state, end = self.state, self.stage_start + self.stage_steps
        self.stop_reason = None
        self._begin()
        while state.step < end and self.stop_reason is None:
            if self.forces.stale:
                self.forces.all_levels(self.integrator.needs(state.step))
            self.integrator.step(self, self.needs_after(state.step + 1))
            state.step += 1
            if state.step % SANITY == 0:
                self.check_sane()
            for updater in self.updaters:
                if state.step % updater.every == 0:
                    self._update(updater)
            self._observe()

    def finish(self):
        """Let every hook write what it still holds."""
        for hook in self.hooks:
            hook.finish(self)

    def needs_after(self, step):
        """What must be computed with the forces at the end of `step`: look ahead, so that nobody pays for more."""
        needs = self.integrator.needs(step)
        for hook in self.hooks:
            if step % hook.every == 0:
                needs |= hook.needs
        return needs

    def _begin(self):
        """Forces, hooks and the first row, once for a run; stages and resumed runs go on without repeating them."""
        if self.electric is not None:
            self.electric.begin(self)
        for hook in self.hooks:  # first, for some learn here what they need
            hook.start(self)
        self.forces.all_levels(self.needs_after(self.state.step))
        if not self.started:
            self.started = True
            self._observe()

    def _update(self, updater):
        energy = updater.act(self)
        self.account.add(type(updater).__name__, energy, self.state.n_systems)
        if updater.touches - {"velocities"}:
            self.forces.stale = True

    def _observe(self):
        due = [hook for hook in self.hooks if self.state.step % hook.every == 0]
        if due and self.forces.stale:
            self.forces.all_levels(self.needs_after(self.state.step))
        for hook in due:
            hook.act(self)

    # -- what is going on -------------------------------------------------------------------------------------------
    def degrees_of_freedom(self):
        """(S,) free components, less three where the total momentum is conserved."""
        state = self.state
        count = state.sum_by_system(state.free).sum(1)
        if self.integrator is not None and self.integrator.conserves_momentum and not state.constrained:
            count = count - 3
        return count

    def kinetic_energy(self):
        """(S,) eV"""
        return 0.5 * np.trace(self.state.kinetic_tensor(), axis1=1, axis2=2)

    def potential_energy(self):
        """(S,) eV; evaluated again if the last evaluation did not include it."""
        return self.quantity("energy")

    def quantity(self, name):
        """A quantity at the present positions, summed over levels, evaluated if it is not there yet."""
        if self.forces.stale or not self.forces.has(name):
            self.forces.all_levels(frozenset({"energy", name}))
        return self.forces.total(name)

    def atoms_per_system(self):
        """(S,)"""
        return self.state.sum_by_system(np.ones(self.state.n))

    def mass_per_system(self):
        """(S,) u"""
        return self.state.sum_by_system(self.state.masses)

    def temperature(self):
        """(S,) K"""
        return temperature(self.kinetic_energy(), self.degrees_of_freedom())

    def pressure_tensor(self):
        """(Σ m v⊗v + W)/V in GPa, (S, 3, 3); refused with an open direction."""
        tensor = self.state.kinetic_tensor() + self.quantity("virial")
        return tensor / self.state.volume[:, None, None] / units.GPa

    def conserved(self):
        """(S,) eV: total energy less what integrator, updaters and fields have put in."""
        return self.kinetic_energy() + self.potential_energy() - self.account.total()

    def atoms(self, unwrapped=False, forces=False):
        """The state as ASE Atoms in the order of tags (a list where S > 1); on rank 0, None elsewhere."""
        from engine.build import COLUMNS, atoms_from_state

        state = self.state
        rows = {name: getattr(state, name)[: state.n] for name in COLUMNS}
        if unwrapped:
            rows["positions"] = state.unwrapped()
        if forces:
            rows["forces"] = self.quantity("forces")
        rows = self.comm.gather_rows(rows)
        return None if rows is None else atoms_from_state(state, rows=rows, extra=("forces",) if forces else ())

    def array(self, name):
        """A per-atom quantity in the order of tags, which is the order of the atoms that were put in: an attribute of the
        state (``positions``, ``velocities``, ``images``, ...), ``unwrapped`` positions, or one that the potentials give
        (``forces``, ``atom_energy``, ...). A copy, in internal units; on rank 0, None elsewhere."""
        state = self.state
        if name in PER_ATOM:
            values = self.quantity(name)
        elif name == "unwrapped":
            values = state.unwrapped()
        elif name in state.table:
            values = getattr(state, name)[: state.n]
        else:
            known = [*state.table, "unwrapped", *PER_ATOM]
            raise InputError(f"there is no per-atom quantity '{name}'{nearest(name, known)}; there are: {', '.join(known)}")
        rows = self.comm.gather_rows({"tags": state.tags[: state.n], "values": values})
        return None if rows is None else rows["values"][np.argsort(rows["tags"], kind="stable")]

    def set_atoms(self, atoms):
        """Go on from other positions, cells and velocities of the same atoms (ASE Atoms, or a list of them); on one rank."""
        if self.comm.size > 1:
            raise InputError(f"set_atoms is for one rank, and there are {self.comm.size}: make a new simulation")
        other = state_from_atoms(atoms, self.state.species_names)
        state, mine = self.state, self.state.tags[: self.state.n]
        if other.n != state.n or (other.species[: other.n][mine] != state.species[: state.n]).any():
            raise InputError("these are not the atoms of the simulation: their number or their species differ")
        state.cells, state.origin = other.cells, other.origin
        state.set("images", 0)
        for name in ("positions", "velocities"):
            state.set(name, getattr(other, name)[: other.n][mine])
        self.domain.invalidate()
        self.forces.stale = True

    def check_sane(self):
        """Raise a PhysicsError that names the step, the atom and the likely cause if something has exploded."""
        state = self.state
        forces = self.forces.total("forces")
        hottest = float(np.max(self.temperature()))
        quick = np.isfinite(forces.sum() + state.velocities.sum())
        finite = np.ones(1, bool) if quick else (np.isfinite(forces) & np.isfinite(state.velocities)).all(1)
        if not finite.all():
            bad, what = int(np.argmin(finite)), "the force on it, or its velocity, is not a number"
        elif hottest > HOTTEST:
            bad = int(np.argmax(state.masses * (state.velocities**2).sum(1))) if state.n else -1
            what = f"it is the fastest at a temperature of {hottest:.3g} K"
        else:
            return
        atom = f"atom {int(state.tags[bad])} ({state.species_names[state.species[bad]]})" if bad >= 0 else "an atom"
        raise PhysicsError(
            f"step {state.step}: the run has exploded at {atom}: {what}; the usual causes are overlapping atoms in the start "
            "structure, or a time step too long"
        )

    # -- persistence --------------------------------------------------------------------------------------------------
    def state_dict(self):
        return {
            "state": self.state.state_dict(),
            "domain": self.domain.state_dict(),
            "integrator": self.integrator.state_dict(),
            "account": dict(self.account.entries),
            "potentials": {name: part.state_dict() for name, part in self.potentials.items()},
            "updaters": {name: part.state_dict() for name, part in _named(self.updaters)},
            "hooks": {name: part.state_dict() for name, part in _named(self.hooks)},
            "electric": self.electric.state_dict() if self.electric is not None else {},
            "run": {"seed": self.seed, "stage": self.stage, "stage_start": self.stage_start,
                    "stage_steps": self.stage_steps, "started": self.started},
        }

    def load_checkpoint(self, data):
        """Take over a checkpoint (``engine.output.checkpoint``): this rank's part of it, bit for bit, or a share of
        all atoms where the run goes on with another number of ranks."""
        if int(data["ranks"]) == self.comm.size:
            self.load_state_dict(data["trees"][str(self.comm.rank)])
            return
        trees = [data["trees"][str(k)] for k in range(int(data["ranks"]))]
        hooks = {name: combined(part, [t["hooks"][name] for t in trees], self.comm.rank)
                 for name, part in _named(self.hooks) if name in trees[0]["hooks"]}
        self.load_state_dict({**trees[0], "state": merged([t["state"] for t in trees]), "hooks": hooks,
                              "domain": {**trees[0]["domain"], "built": False}})
        take_share(self.state, self.comm)
        self.domain.invalidate()

    def load_state_dict(self, tree):
        self.state.load_state_dict(tree["state"])
        self.domain.load_state_dict(tree["domain"])
        self.integrator.load_state_dict(tree["integrator"])
        self.account.entries = {name: np.array(value) for name, value in tree["account"].items()}
        if self.electric is not None:
            self.electric.load_state_dict(tree["electric"])
        for name, part in self.potentials.items():
            part.load_state_dict(tree.get("potentials", {}).get(name, {}))
        for group in ("updaters", "hooks"):
            for name, part in _named(getattr(self, group)):
                if name in tree[group]:
                    part.load_state_dict(tree[group][name])
        run = tree["run"]
        self.seed = int(run["seed"])
        self.stage, self.stage_start = int(run["stage"]), int(run["stage_start"])
        self.stage_steps, self.started = int(run["stage_steps"]), bool(run["started"])
        self.forces.stale = True


def refuse_ranks(potentials, comm):
    """An InputError if there are several ranks and one of {name: potential} runs on one only."""
    for name, potential in potentials.items():
        if comm.size > 1 and potential.alone:
            raise InputError(f"potential '{name}' {potential.alone}; run on one rank with several threads")


def _named(parts):
    """(``RDF``, part), (``RDF-2``, part), ...: names that stay when other kinds of parts come and go."""
    counts: dict[str, int] = {}
    for part in parts:
        kind = type(part).__name__
        counts[kind] = counts.get(kind, 0) + 1
        yield (kind if counts[kind] == 1 else f"{kind}-{counts[kind]}"), part


class _Attached(Hook):
    """A function that wants to be called."""

    def __init__(self, function, every, needs):
        self.function, self.every, self.needs = function, every, needs

    def act(self, simulation):
        self.function(simulation)
