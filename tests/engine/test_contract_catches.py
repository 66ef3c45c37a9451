"""The contract tests fail where they must: potentials that are wrong on purpose, each in one way."""

import numpy as np
import pytest
from ase.build import bulk
from conftest import rattled, sheared

from engine import testing
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones


class Wrong(LennardJones):
    """Lennard-Jones after which `spoil(atoms, needs, out, before)` does its harm."""

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        before = {name: array.copy() for name, array in out.items()}
        super().compute(atoms, neighbors, halo, inputs, needs, out)
        self.spoil(atoms, needs, out, before)


def wrong(spoil):
    potential = Wrong(epsilon=0.0104, sigma=3.4, cutoff=8.0, truncation="force-shifted")
    potential.spoil = spoil
    return potential


def scale_forces(atoms, needs, out, before):
    out.forces[...] = before["forces"] + 1.00001 * (out.forces - before["forces"])


def transpose_error(atoms, needs, out, before):
    if "virial" in needs:
        out.virial[:, 0, 1] += 1e-4


def overwrite(atoms, needs, out, before):
    if "energy" in needs:
        out.energy[...] -= before["energy"]


def depends_on_needs(atoms, needs, out, before):
    if "energy" in needs:
        out.forces[0] += 1e-4
        out.forces[1] -= 1e-4


def forget_ghosts(atoms, needs, out, before):
    out.forces[atoms.n :] = before["forces"][atoms.n :]


def first_system_takes_all(atoms, needs, out, before):
    if "energy" in needs:
        out.energy[0], out.energy[1:] = out.energy.sum(), 0.0


def depends_on_place(atoms, needs, out, before):
    if "energy" in needs:
        out.energy[atoms.system[0]] += 1e-6 * atoms.positions[0, 0]


def atoms_of_half_the_energy(atoms, needs, out, before):
    if "atom_energy" in needs:
        out.atom_energy *= 0.5


@pytest.mark.parametrize("spoil, check", [
    (scale_forces, testing.check_forces), (transpose_error, testing.check_virial), (overwrite, testing.check_needs),
    (depends_on_needs, testing.check_needs), (forget_ghosts, testing.check_sums), (forget_ghosts, testing.check_small_cells),
    (first_system_takes_all, testing.check_systems), (depends_on_place, testing.check_invariance),
    (atoms_of_half_the_energy, testing.check_sums),
], ids=lambda thing: thing.__name__)
def test_a_wrong_potential_fails(spoil, check):
    atoms = rattled(sheared(bulk("Ar", cubic=True, a=5.3)), 0.15)
    check(wrong(lambda *arguments: None), atoms)
    with pytest.raises(AssertionError):
        check(wrong(spoil), atoms)


def test_lists_that_are_not_renewed_fail():
    """A potential that takes vectors of the last rebuild."""

    class Stale(ZhouEAM):
        def compute(self, atoms, neighbors, halo, inputs, needs, out):
            now = atoms.positions.copy()
            atoms.positions[...] = neighbors.reference
            super().compute(atoms, neighbors, halo, inputs, needs, out)
            atoms.positions[...] = now

    atoms = rattled(bulk("Cu", cubic=True), 0.1)
    with pytest.raises(AssertionError, match="lists from before a move"):
        testing.check_skin(Stale(), atoms)


def test_open_directions_are_compared():
    class Periodic(LennardJones):
        def compute(self, atoms, neighbors, halo, inputs, needs, out):
            super().compute(atoms, neighbors, halo, inputs, needs, out)
            if "energy" in needs and not np.all(atoms.periodic):
                out.energy += 1e-6

    atoms = rattled(bulk("Ar", cubic=True, a=5.3), 0.1)
    with pytest.raises(AssertionError, match="open directions"):
        testing.check_open_directions(Periodic(epsilon=0.0104, sigma=3.4, cutoff=8.0), atoms)
