"""Contract tests: what every potential, integrator, field, hook and updater must satisfy, for plugin authors to run on theirs.

>>> from engine.testing import PotentialContract
>>> class TestMine(PotentialContract):
...     def potential(self):
...         return Mine(depth=0.3)
...     def structures(self):
...         return [bulk("Ar", cubic=True, a=5.3)]

pytest then runs every ``test_`` method of the class. Structures are ASE Atoms, best small, rattled and triclinic, with
every species that the potential knows. A class attribute relaxes what does not apply; none does by default:

open_directions : False for potentials that exist only in periodic matter (Ewald sums)
smooth : False where the energy jumps (a cutoff without a shift), which finite differences see
tolerance : largest relative error of finite differences

``IntegratorContract``, ``FieldContract``, ``HookContract`` and ``UpdaterContract`` are used alike;
``engine.testing_parts`` has them.

`evaluate` is of use beside the class: everything that a potential says about a structure, in the structure's order.

Under a launcher (``mpiexec -n 2 python -m pytest``) every structure is spread over the ranks, and all of them check.
"""

from types import SimpleNamespace

import numpy as np

from engine.build import state_from_atoms
from engine.contracts import PER_ATOM
from engine.domain.domain import Domain
from engine.domain.migration import share_out
from engine.errors import InputError
from engine.forces import Forces
from engine.kernels import team
from engine.parallel import world
from engine.testing_parts import Contract, FieldContract, HookContract, IntegratorContract, UpdaterContract, check_registered

__all__ = ["Contract", "FieldContract", "HookContract", "IntegratorContract", "PotentialContract", "UpdaterContract",
           "check_registered", "evaluate"]

SUMS = frozenset({"energy", "forces", "virial"})


def evaluate(potential, atoms, needs=None, skin=0.5, species=None):
    """What `potential` gives for ASE Atoms (or a list of them: one system each), atoms in their own order.

    needs : names of ``engine.contracts.SHAPES``; by default energy, forces, virial and the per-atom forms that the
        potential provides. Returns a namespace of arrays: energy (S,), forces (n, 3), virial (S, 3, 3), ...
    """
    forces = _forces(potential, atoms, skin, species)
    out = forces(frozenset(needs) if needs is not None else _wanted(potential))
    return _ordered(forces.state, out)


def _forces(potential, atoms, skin, species=None):
    state = state_from_atoms(atoms, species)
    share_out(state, world())
    potential.bind(state.species_names)
    domain = Domain(state, potential.capabilities().cutoff, skin)
    return Forces(state, domain, {"potential": potential})


def _wanted(potential):
    return (SUMS | {"atom_energy", "atom_virial"}) & potential.capabilities().provides


def _ordered(state, out):
    """Arrays of all atoms in the order of tags, and sums, on every rank."""
    names = ["tags", *(name for name, _ in out.items() if name in PER_ATOM)]
    rows = {name: getattr(state if name == "tags" else out, name)[: state.n] for name in names}
    rows = state.comm.bcast(state.comm.gather_rows(rows))
    order = np.argsort(rows["tags"])
    return SimpleNamespace(**{k: rows[k][order] if k in rows else v.copy() for k, v in out.items()})


def _energy(potential, atoms):
    return float(evaluate(potential, atoms, {"energy"}).energy[0])


def _derivative(energy, step):
    """Central difference of fourth order at zero."""
    return (8.0 * (energy(step) - energy(-step)) - (energy(2 * step) - energy(-2 * step))) / (12.0 * step)


def _close(value, expected, tolerance, what):
    scale = max(np.abs(expected).max(initial=0.0), np.abs(value).max(initial=0.0), 1e-3)
    error = np.abs(np.asarray(value) - expected).max(initial=0.0)
    assert error <= tolerance * scale, f"{what}: differs by {error:.3g} at a scale of {scale:.3g}"


def _moved(atoms, displacement):
    out = atoms.copy()
    out.positions = atoms.positions + displacement
    return out


def _strained(atoms, strain):
    out = atoms.copy()
    out.set_cell(atoms.cell[:] @ (np.eye(3) + strain))
    out.positions = atoms.positions @ (np.eye(3) + strain)
    return out


def random_rotation(seed=0):
    """A proper rotation matrix (3, 3)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


# -- single checks: usable outside the class --------------------------------------------------------------------------
def check_forces(potential, atoms, tolerance=1e-6, step=1e-3, directions=3):
    """Forces are −∂E/∂R, along random directions of all coordinates and of single atoms."""
    rng = np.random.default_rng(3)
    force = evaluate(potential, atoms, SUMS).forces
    for k in range(2 * directions):
        d = rng.normal(size=force.shape)
        if k >= directions:
            d[np.arange(len(d)) != rng.integers(len(d))] = 0.0
        d /= np.abs(d).max()
        slope = _derivative(lambda h, d=d: _energy(potential, _moved(atoms, h * d)), step)
        scale = np.abs(force * d).sum() + 1e-3
        error = abs(slope + (force * d).sum())
        assert error < tolerance * scale, f"forces are not −∂E/∂R: {-(force * d).sum():.10g} against {slope:.10g} eV/Å"


def check_virial(potential, atoms, tolerance=1e-6, step=3e-4):
    """The virial is −∂E/∂ε, component by component; a periodic system's only, as an open one has the same formula."""
    virial = evaluate(potential, atoms, SUMS).virial[0]
    numerical = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            unit = np.zeros((3, 3))
            unit[a, b] = 1.0
            numerical[a, b] = -_derivative(lambda h, u=unit: _energy(potential, _strained(atoms, h * u)), step)
    _close(virial, numerical, tolerance, "the virial is not −∂E/∂ε")


def check_sums(potential, atoms):
    """Atom energies add up to the energy, atom virials to the virial, forces to nothing."""
    result = evaluate(potential, atoms)
    if hasattr(result, "atom_energy"):
        _close(result.atom_energy.sum(), result.energy[0], 1e-10, "sum of the atom energies")
    if hasattr(result, "atom_virial"):
        _close(result.atom_virial.sum(0), result.virial[0], 1e-9, "sum of the atom virials")
    _close(result.forces.sum(0), np.zeros(3), 1e-9 * max(1.0, np.abs(result.forces).max()) * len(atoms), "net force")


def check_needs(potential, atoms):
    """Forces are the same whatever else is asked for, and results are added to what was there."""
    reference = evaluate(potential, atoms)
    wanted = _wanted(potential)
    for needs in [frozenset(), *(frozenset({name}) for name in sorted(wanted - {"atom_virial"}))]:
        result = evaluate(potential, atoms, needs | {"forces"})
        for name in needs | {"forces"}:
            _close(getattr(result, name), getattr(reference, name), 1e-11, f"{name} with needs = {sorted(needs)}")
    forces = _forces(potential, atoms, 0.5)
    forces(wanted)
    out, before = forces.outputs[0], {}
    for name, array in out.items():
        array[...] = 1.0
        before[name] = np.ones_like(array)
    potential.compute(forces.state, forces.domain.neighbors, forces.domain.halo, forces.inputs, wanted | {"forces"}, out)
    for name, array in out.items():
        if name in PER_ATOM:
            forces.domain.halo.reverse(array)
            forces.domain.halo.reverse(before[name])
        array -= before[name]
    forces.state.comm.add_up([array for name, array in out.items() if name not in PER_ATOM])
    for name, value in vars(_ordered(forces.state, out)).items():
        _close(value, getattr(reference, name), 1e-9, f"{name} is overwritten, not added to,")


def check_invariance(potential, atoms, seed=4):
    """Energy and forces under translation, rotation of atoms and cell, and another order of the atoms."""
    reference = evaluate(potential, atoms)
    shifted = evaluate(potential, _moved(atoms, [0.37, -1.91, 5.3]))
    _close(shifted.energy, reference.energy, 1e-9, "energy after a translation")
    _close(shifted.forces, reference.forces, 1e-8, "forces after a translation")
    turn = random_rotation(seed)
    rotated = atoms.copy()
    rotated.set_cell(atoms.cell[:] @ turn)
    rotated.positions = atoms.positions @ turn
    turned = evaluate(potential, rotated)
    _close(turned.energy, reference.energy, 1e-9, "energy after a rotation")
    _close(turned.forces, reference.forces @ turn, 1e-8, "forces after a rotation")
    _close(turned.virial[0], turn.T @ reference.virial[0] @ turn, 1e-8, "virial after a rotation")
    order = np.random.default_rng(seed).permutation(len(atoms))
    permuted = evaluate(potential, atoms[order])
    _close(permuted.energy, reference.energy, 1e-10, "energy after a permutation")
    _close(permuted.forces, reference.forces[order], 1e-9, "forces after a permutation")


def check_systems(potential, atoms):
    """Several systems in one state are the same as each by itself."""
    smaller = _strained(atoms, 0.01 * np.random.default_rng(5).normal(size=(3, 3)))
    images = [atoms, smaller, _moved(atoms, np.random.default_rng(6).normal(scale=0.02, size=(len(atoms), 3)))]
    if atoms.pbc.all():
        images.append(atoms.repeat((2, 1, 1)))
    species = sorted(set(atoms.get_chemical_symbols()))
    together = evaluate(potential, images, species=species)
    first = 0
    for s, image in enumerate(images):
        alone = evaluate(potential, image, species=species)
        rows = slice(first, first + len(image))
        for name, value in vars(alone).items():
            part = getattr(together, name)
            _close(part[rows] if name in PER_ATOM else part[s : s + 1], value, 1e-10, f"{name} of system {s} of {len(images)}")
        first += len(image)


def check_small_cells(potential, atoms):
    """A cell and its 3 × 2 × 2 supercell agree: cutoffs beyond half the box (and beyond the box) are right."""
    if not atoms.pbc.all():
        return
    one, many = evaluate(potential, atoms), evaluate(potential, atoms.repeat((3, 2, 2)))
    _close(many.energy, 12 * one.energy, 1e-9, "energy of a supercell")
    _close(many.virial, 12 * one.virial, 1e-8, "virial of a supercell")
    _close(many.forces, np.tile(one.forces, (12, 1)), 1e-8, "forces in a supercell")


def check_skin(potential, atoms):
    """Nothing depends on the skin, nor on whether the lists are new or atoms have moved since."""
    reference = evaluate(potential, atoms, skin=0.0)
    wide = evaluate(potential, atoms, skin=1.3)
    _close(wide.energy, reference.energy, 1e-10, "energy with another skin")
    _close(wide.forces, reference.forces, 1e-9, "forces with another skin")
    step = np.random.default_rng(7).uniform(-0.1, 0.1, (len(atoms), 3))
    forces = _forces(potential, _moved(atoms, -step), 1.0)
    forces(SUMS)
    forces.state.positions[: forces.state.n] += step[forces.state.tags[: forces.state.n]]
    moved = _ordered(forces.state, forces(SUMS))
    assert forces.domain.rebuilds == 1, "the move was meant to be smaller than half the skin"
    _close(moved.energy, reference.energy, 1e-10, "energy with lists from before a move")
    _close(moved.forces, reference.forces, 1e-9, "forces with lists from before a move")


def check_threads(potential, atoms):
    """Two and three threads give what one gives, to rounding, and the same bits again when asked again."""
    atoms = atoms.repeat(2)
    evaluate(potential, atoms, {"forces"})
    needs = potential.capabilities().provides & {"energy", "forces", "virial"}
    alone = evaluate(potential, atoms, needs)
    for threads in (2, 3):
        with team.using(threads):
            first, again = evaluate(potential, atoms, needs), evaluate(potential, atoms, needs)
        for name in sorted(needs):
            a, b = getattr(first, name), getattr(again, name)
            assert a.tobytes() == b.tobytes(), f"{name} on {threads} threads is not the same bits when repeated"
            _close(a, getattr(alone, name), 1e-10, f"{name} on {threads} threads")


def check_open_directions(potential, atoms):
    """A cluster, and a slab open along z, are the same as in periodic cells with enough vacuum."""
    reach = 2.0 * potential_cutoff(potential, atoms) + 10.0
    for open_axes in ((0, 1, 2), (2,)):
        bare = atoms.copy()
        bare.pbc = [d not in open_axes for d in range(3)]
        padded = bare.copy()
        cell = padded.cell[:].copy()
        for d in open_axes:
            length = np.linalg.norm(cell[d])
            cell[d] *= (length + reach + np.ptp(bare.positions)) * 2.0 / length
        padded.set_cell(cell)
        padded.pbc = True
        alone, wrapped = evaluate(potential, bare), evaluate(potential, padded)
        _close(alone.energy, wrapped.energy, 1e-10, "energy with open directions")
        _close(alone.forces, wrapped.forces, 1e-9, "forces with open directions")
        _close(alone.virial, wrapped.virial, 1e-9, "virial with open directions")


def potential_cutoff(potential, atoms):
    """Å, once the species of `atoms` are bound."""
    potential.bind(sorted(set(atoms.get_chemical_symbols())))
    return potential.capabilities().cutoff


def check_unknown_species(potential):
    """An element without parameters is refused by name, in one line."""
    try:
        potential.bind(["Xx"])
    except InputError as error:
        assert "Xx" in str(error) and "\n" not in str(error), f"not a line that names the species: {error}"
    else:
        raise AssertionError("a species without parameters ('Xx') is not refused")


class PotentialContract(Contract):
    """Inherit, say what `potential` and `structures` are, and let pytest run it."""

    open_directions = True
    smooth = True
    any_species = False  # True for a potential that has one set of parameters for whatever comes
    tolerance = 1e-6

    def potential(self):
        raise TypeError(f"{type(self).__name__} must say which potential it tests")

    def structures(self):
        raise TypeError(f"{type(self).__name__} must give structures (ASE Atoms) to test on")

    def _each(self, check, **options):
        for atoms in self.structures():
            check(self.potential(), atoms, **options)

    def test_forces_are_minus_the_gradient(self):
        if self.smooth:
            self._each(check_forces, tolerance=self.tolerance)

    def test_virial_is_minus_the_strain_derivative(self):
        if self.smooth:
            self._each(check_virial, tolerance=self.tolerance)

    def test_atoms_sum_to_the_whole(self):
        self._each(check_sums)

    def test_needs_change_nothing(self):
        self._each(check_needs)

    def test_invariance(self):
        self._each(check_invariance)

    def test_systems_equal_one_by_one(self):
        self._each(check_systems)

    def test_small_cells(self):
        self._each(check_small_cells)

    def test_skin_and_old_lists(self):
        self._each(check_skin)

    def test_threads(self):
        self._each(check_threads)

    def test_open_directions(self):
        if self.open_directions:
            self._each(check_open_directions)

    def test_unknown_species_are_refused(self):
        if not self.any_species:
            check_unknown_species(self.potential())
