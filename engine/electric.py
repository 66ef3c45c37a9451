"""Fields applied to systems: which act in a stage, what a moving cell does to them, and a prescribed displacement.

What a field gives is meant for the cell h₀ (rows are vectors) in which it began to act. The reduced field Ē = h₀·E, the
voltages along the cell's vectors, is held when the cell h changes, so inside is

    E = h⁻¹ h₀ · value(t)                                            along periodic directions; E = value(t) across open ones

and the potentials' virial, taken at fixed Ē, contains all of the cell's share. The fields' work is left to
``integrators.electric_field``.

A field may be linear in space, E(r) = E + G·r, along open directions, where positions need no image.

Stages may switch fields, and an integrator with ``feels_fields = False`` has none in its stage (the SCHA).

With a prescribed displacement D (Stengel, Spaldin and Vanderbilt, Nat. Phys. 5, 304 (2009), eq. 2), E follows from
ε0 E + P(R, E)/V = D, and the energy whose derivatives at fixed D are the forces is F + E·P + ½ ε0 V E². When the cell moves,
what is held is the reduced displacement d = V h⁻ᵀ D, the charge through its faces, so inside is D = (V₀/V) hᵀ h₀⁻ᵀ D₀(t). The
energy is the least over Ē = h·E of F + Ē·d − ½ ε0 V E², so its virial is that of F at fixed Ē and the field's own,

    W = W_F + ε0 V (½ E² − E⊗E)

and its derivative to d is Ē. Taken from it is the field energy f(t) = ½ V₀ D₀²/ε0 of the cell h₀, which time alone changes:

    U = F + ½ P·(E − D/ε0) + ½ V D²/ε0 − f(t),      ∂U/∂t = −P·(∂D/∂t)/ε0 + V D·(∂D/∂t)/ε0 − f'(t)

of which in a cell that does not move F + ½ P·(E − D/ε0) is left, and ∂U/∂(D/ε0) = −P, just as ∂F/∂E = −P.

With multiple time steps level k is U of the levels 0 to k together less U of the levels 0 to k − 1, each at the E of its own,
so that their sum is U of everything, and what is fast is a whole U already.

| equation | name here |
|---|---|
| h₀, and the time at which t = 0 | ``begins[k]``, for each field |
| D/ε0, V/Å | what fields with ``fixes = "D"`` give |
| E at which the levels 0 to k have the displacement | ``solutions[k]`` |
| ½ V D²/ε0 − f(t) | ``stored`` |
| P = −∂F/∂E, ∂P/∂E | ``out.polarization``, ``out.polarizability`` |
| Q = −2 ∂F/∂G | ``out.quadrupole`` |
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.contracts import Stateful
from engine.errors import InputError, PhysicsError

TOLERANCE = 1e-12  # V/Å, of the field that belongs to a displacement
ROUGH = 1e-5  # V/Å, below which it need not fall further where it cannot: a model in single precision
ITERATIONS = 50


class Electric(Stateful):
    """The fields of a simulation, seen from its systems. `begin` must be called before the first evaluation."""

    def __init__(self, fields):
        self.fields = list(fields)
        self.displacement = any(field.fixes == "D" for field in self.fields)
        if self.displacement and not all(field.fixes == "D" for field in self.fields):
            raise InputError("fields: some prescribe E and some D; it must be all one or the other")
        if self.displacement and all(getattr(field, "stages", None) is not None for field in self.fields):
            raise InputError('field: a displacement must be prescribed in all stages, for D = 0 is not the same as no field; '
                             'take `stages` out of one of the fields with fixes = "D", or add a constant one, which may be zero')
        self.steady = all(field.steady for field in self.fields)
        self.begins = [None] * len(self.fields)  # (time fs, cells (S, 3, 3))
        self.active = ()  # indices of the fields that act in this stage
        self.initial = None  # (S,) `offset` when the first field began
        self.solutions = None  # (levels, S, 3) the fields that belong to the displacement, guesses for the next ones
        self._recent = {}
        self.graded = any(field.gradient(0.0) is not None for field in self.fields)
        self.needs = frozenset() if self.steady and not self.displacement else frozenset({"polarization"})
        if self.graded:
            self.needs |= {"polarization", "quadrupole"}

    # -- stages -----------------------------------------------------------------------------------------------------
    def begin(self, simulation):
        """Switch fields on and off where a stage begins; the step of the field, if any, is work done at fixed atoms."""
        state, forces, felt = simulation.state, simulation.forces, getattr(simulation.integrator, "feels_fields", True)
        active = tuple(
            k for k, field in enumerate(self.fields)
            if felt and (getattr(field, "stages", None) is None or simulation.stage in field.stages)
        )
        self._check(simulation, active)
        if active == self.active:
            return
        if simulation.started:
            forces.all_levels(frozenset({"energy"}))
            before = np.array(simulation.potential_energy())
        self.active = active
        for k in active:
            if self.begins[k] is None:
                self.begins[k] = (state.time / units.fs, state.cells.copy())
        forces.all_levels(frozenset({"energy", "polarization"}))
        if simulation.started:
            simulation.account.add("field", simulation.potential_energy() - before, state.n_systems)
        if self.initial is None:
            self.initial = np.zeros(state.n_systems) if simulation.started else self.offset(simulation)

    def exchange(self, target):
        """Systems have changed places in pairs: the cell in which a field began goes with them."""
        self.begins = [began and (began[0], began[1][target]) for began in self.begins]
        if self.solutions is not None:
            self.solutions = self.solutions[:, target]

    def _check(self, simulation, active):
        """Refuse fields that no potential takes, or not of this kind, or not in this cell."""
        acting = set(simulation.potentials)
        if active:  # in this stage
            acting = {name for level in simulation.forces.levels for name, weight in level.items() if weight}
        if not any("field" in simulation.potentials[name].capabilities().takes for name in acting):
            raise InputError("there is a [[field]], but no potential takes one; add one that has charges or a polarization")
        if self.graded:
            self._check_gradient(simulation)
        if self.displacement and not simulation.state.periodic.all():
            raise InputError("a prescribed displacement needs a cell periodic in all directions; prescribe the field instead")

    def _check_gradient(self, simulation):
        if self.displacement:
            raise InputError("a prescribed displacement is uniform: it and a field with a gradient do not go together")
        for name, potential in simulation.potentials.items():
            takes = potential.capabilities().takes
            if "field" in takes and "field_gradient" not in takes:
                raise InputError(f"[[field]]: the potential '{name}' knows uniform fields only; one with a gradient acts on "
                                 "fixed-charges")
        vectors = simulation.state.cells[:, simulation.state.periodic]
        for k, field in enumerate(self.fields):
            gradient = field.gradient(0.0)
            if gradient is None:
                continue
            changes, rounding = np.abs(vectors @ gradient), 1e-12 * np.abs(vectors).max(initial=0.0) * np.abs(gradient).max()
            if changes.max(initial=0.0) > rounding:  # from an atom to its image
                raise InputError(f"field[{k}]: along a periodic direction a field cannot be linear in space; set pbc = false "
                                 "there, or take a `matrix` that is zero along the cell's vector")

    # -- the field ----------------------------------------------------------------------------------------------------
    def at(self, state, later=0.0):
        """(S, 3) V/Å inside the present cells, `later` fs after the present time; D/ε0 where D is prescribed."""
        return self._in_cells(state, state.cells, later)

    def _in_cells(self, state, cells, later=0.0):
        total = np.zeros((state.n_systems, 3))
        for k, value in self._values(round(state.time / units.fs + later, 9)):
            total += self._carried(state, self.begins[k][1], cells) @ value
        return total

    def gradient(self, state, later=0.0):
        """(3, 3) V/Å² `later` fs after the present time."""
        now, total = round(state.time / units.fs + later, 9), np.zeros((3, 3))
        for k in self.active:
            found = self.fields[k].gradient(now - self.begins[k][0])
            if found is not None:
                total += found
        return total

    def inside(self, state):
        """(S, 3) V/Å, the field inside now, whichever of E and D is prescribed."""
        return self.solutions[-1] if self.displacement and self.active else self.at(state)

    def _values(self, now):
        """[(field, value)] at a time in fs; the last few are kept, for the kicks of neighboring steps share them."""
        key = (now, self.active)
        if key not in self._recent:
            if len(self._recent) == 8:
                del self._recent[next(iter(self._recent))]
            self._recent[key] = [(k, np.asarray(self.fields[k].value(now - self.begins[k][0]))) for k in self.active]
        return self._recent[key]

    def _carried(self, state, begin, cells):
        """(S, 3, 3) what takes a field of the cells `begin` to `cells`: at fixed voltages h⁻¹ h₀; a displacement at fixed
        charge through the faces, (V₀/V) (h₀⁻¹ h)ᵀ."""
        if np.array_equal(begin, cells):
            return np.eye(3)
        if self.displacement:
            volumes = np.abs(np.linalg.det(begin) / np.linalg.det(cells))
            return volumes[:, None, None] * np.linalg.solve(begin, cells).transpose(0, 2, 1)
        if state.periodic.all():
            return np.linalg.solve(cells, begin)
        h, h0 = cells[:, state.periodic], begin[:, state.periodic]
        inverse = np.linalg.pinv(h)
        return inverse @ h0 + np.eye(3) - inverse @ h

    def _first_cells(self):
        """(S, 3, 3) h₀ of the field that began first."""
        return min((b for b in self.begins if b is not None), key=lambda b: b[0])[1]

    def stored(self, state):
        """(S,) eV, the energy of the prescribed displacement in the present cells less that in the first ones; else zero."""
        if not (self.displacement and self.active) or np.array_equal(first := self._first_cells(), state.cells):
            return np.zeros(state.n_systems)
        energy = lambda cells: np.abs(np.linalg.det(cells)) * (self._in_cells(state, cells) ** 2).sum(1)
        return 0.5 * units.epsilon0 * (energy(state.cells) - energy(first))

    # -- evaluation ---------------------------------------------------------------------------------------------------
    def evaluate(self, forces, needs, level):
        """One level's forces in the present field."""
        field = self.at(forces.state)
        if self.graded:
            forces.inputs.field_gradient = self.gradient(forces.state)
        forces.inputs.time = forces.state.time / units.fs
        if not (self.displacement and self.active):  # no displacement is prescribed before it begins, not even D = 0
            forces.inputs.field = field
            return forces.evaluate(needs, level)
        return self._at_displacement(forces, needs, level, field)

    def _at_displacement(self, forces, needs, level, displacement):
        """Newton's method for ε0 V E + P = V D, then U and its forces, less those of the levels below."""
        state, eps = forces.state, units.epsilon0
        volume = state.volume[:, None]
        if self.solutions is None or self.solutions.shape[:2] != (len(forces.levels), len(displacement)):
            self.solutions = np.zeros((len(forces.levels), *displacement.shape))
        field = self.solutions[level]
        needs = needs | {"polarization", "polarizability"}
        together = forces.together(level)
        last = np.inf
        for _ in range(ITERATIONS):
            forces.inputs.field = field
            out = forces.evaluate(needs, level, together)
            excess = eps * volume * (field - displacement) + out.polarization
            slope = eps * volume[:, :, None] * np.eye(3) + out.polarizability
            change = np.linalg.solve(slope, excess[:, :, None])[:, :, 0]
            size = np.abs(change).max()
            if size < TOLERANCE or last < ROUGH and size > 0.5 * last:
                break
            field, last = field - change, size
        else:
            raise PhysicsError("no electric field belongs to this displacement: the polarization does not converge; the model "
                               "is outside its range, or E jumps between two branches")
        self.solutions[level] = field
        if "energy" in out:
            out.energy += 0.5 * ((field - displacement) * out.polarization).sum(1) + self.stored(state)
        if "virial" in out:
            square = 0.5 * (field * field).sum(1)[:, None, None] * np.eye(3)
            out.virial += eps * volume[:, :, None] * (square - field[:, :, None] * field[:, None, :])
        for below in forces.outputs[:level]:
            for key, value in out.items():
                value -= getattr(below, key)
        return out

    # -- the account --------------------------------------------------------------------------------------------------
    def work(self, state, out, h, level=0):
        """(S,) eV, −P·dE − ½ Q:dG of the half kick at the present time, which has `out`: of its part of the field's change
        over a step of `h` fs; h > 0 for the kick that opens a step, h < 0 for the one that closes it."""
        def change(of):
            return np.sign(h) * (8.0 * of(state, 0.5 * h) - 7.0 * of(state) - of(state, h)) / 6.0

        total = -(out.polarization * change(self.at)).sum(1)
        first = self._first_cells() if self.displacement and level == 0 else state.cells
        if not np.array_equal(first, state.cells):  # what the moved cells' own field energy changes, counted once
            for cells, sign in ((state.cells, 1.0), (first, -1.0)):
                of = lambda state, later=0.0, cells=cells: self._in_cells(state, cells, later)
                total += sign * units.epsilon0 * np.abs(np.linalg.det(cells)) * (of(state) * change(of)).sum(1)
        return total - 0.5 * (out.quadrupole * change(self.gradient)).sum((1, 2)) if self.graded else total

    def offset(self, simulation):
        """(S,) eV, what the matter's own energy F + E·P exceeds the conserved one by: E·P + ½ G:Q, or ½ P·(E + D/ε0) less
        what is `stored`."""
        state, P = simulation.state, simulation.quantity("polarization")  # first, for E at fixed D comes with it
        total = 0.5 * ((self.inside(state) + self.at(state)) * P).sum(1) - self.stored(state)
        if self.graded:
            total += 0.5 * (self.gradient(state) * simulation.quantity("quadrupole")).sum((1, 2))
        return total

    def deposited(self, simulation):
        """(S,) eV, ∫E·dP since the fields began: the energy that the systems have taken up."""
        if self.initial is None:
            return np.zeros(simulation.state.n_systems)
        work = simulation.account.entries.get("field", np.zeros(simulation.state.n_systems))
        return work + self.offset(simulation) - self.initial

    # -- persistence --------------------------------------------------------------------------------------------------
    def state_dict(self):
        began = {str(k): {"time": b[0], "cells": b[1]} for k, b in enumerate(self.begins) if b is not None}
        tree = {"begins": began, "active": np.array(self.active, int)}
        for name in ("initial", "solutions"):
            if getattr(self, name) is not None:
                tree[name] = getattr(self, name)
        return tree

    def load_state_dict(self, tree):
        self.active = tuple(int(k) for k in tree["active"])
        for k, began in tree["begins"].items():
            self.begins[int(k)] = (float(began["time"]), np.array(began["cells"]))
        for name in ("initial", "solutions"):
            if name in tree:
                setattr(self, name, np.array(tree[name]))
