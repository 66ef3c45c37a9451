"""Force constants up to fourth order, and their strain coupling, from labelled configurations of one supercell.

    python -m plugins.lattice.fit ensemble.npz dyn-file model.h5 [--third 6] [--fourth 3] [--train 2500] [--charges ph.out]

symfc makes the basis that obeys permutation, translation and the space group, and solves the least squares of the forces;
a constant force (allowed by symmetry where the reference is no minimum) and the energy's constant follow from what is left.
The virial is a quadratic polynomial of displacements, fitted to the stresses of all symmetry images at once, so that it
has the crystal's symmetry; translations are projected out of it. Errors are those of configurations not used.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from engine import units
from engine.errors import InputError
from plugins.lattice.quantum_espresso import read_charges, read_dyn
from plugins.lattice.symmetry import Symmetry
from potentials.force_constants import VOIGT, ForceConstants, StrainCoupling
from potentials.polynomial import Polynomial, pairs


@dataclass
class Errors:
    """Root mean squares over configurations not fitted to: eV/Å, meV per cell, GPa; and of the labels themselves."""

    force: float
    force_rms: float
    energy: float
    energy_rms: float
    stress: float | None = None
    stress_rms: float | None = None

    def __str__(self):
        text = (f"held out: forces {1000 * self.force:.2f} meV/Å (labels {1000 * self.force_rms:.0f}),"
                f" energy {1000 * self.energy:.2f} meV/cell (labels {1000 * self.energy_rms:.0f})")
        if self.stress is not None:
            text += f", stress {self.stress:.3f} GPa (labels {self.stress_rms:.3f})"
        return text


def fit_forces(lattice, displacements, forces, third=6.0, fourth=3.0, group=None):
    """The Cartesian polynomial (no constant) of `lattice` from displacements and forces (N, n, 3); cutoffs in Å."""
    from ase.data import atomic_numbers
    from symfc import Symfc
    from symfc.utils.utils import SymfcAtoms

    n = len(lattice)
    cell = SymfcAtoms(numbers=[atomic_numbers[s] for s in lattice.symbols], cell=lattice.cell,
                      scaled_positions=lattice.positions @ np.linalg.inv(lattice.cell))
    solver = Symfc(cell, displacements=displacements, forces=forces, cutoff={3: third, 4: fourth}, symprec=1e-3)
    solver.run(max_order=4, is_compact_fc=False)
    fc = solver.force_constants
    full = lambda k: fc[k].transpose([x for a in range(k) for x in (a, k + a)]).reshape((3 * n,) * k)
    tidy = lambda t: np.where(np.abs(t) > 1e-10 * np.abs(t).max(), t, 0.0)  # beyond the cutoffs: exactly nothing
    p = Polynomial.from_tensors(full(2), tidy(full(3)), tidy(full(4)))
    rest = (forces.reshape(len(forces), -1) - p.evaluate(displacements.reshape(len(forces), -1))[1]).mean(0)
    rest = (group or Symmetry.of(lattice)).vector(rest.reshape(-1, 3))
    p.linear = -(rest - rest.mean(0)).ravel()
    return p


def fit_virial(lattice, displacements, virials, group=None, ridge=1e-6):
    """`StrainCoupling` from virials (N, 3, 3) eV; every configuration counts with all its symmetry images."""
    group = group or Symmetry.of(lattice)
    c = lattice.coordinates()
    project = np.kron(np.eye(len(lattice)), np.eye(3)) - np.kron(np.ones((len(lattice),) * 2) / len(lattice), np.eye(3))
    basis = np.linalg.svd(project)[0][:, : c.size]  # translation-free Cartesian directions
    d = c.size
    i, j, multiplicity, index = pairs(d)
    size = 1 + d + len(i)
    gram, right = np.zeros((size, size)), np.zeros((size, 6))
    for Q, to in zip(group.rotations, group.maps):
        u = np.empty_like(displacements)
        u[:, to] = displacements @ Q.T
        U = u.reshape(len(u), -1) @ basis
        X = np.hstack([np.ones((len(U), 1)), U, 0.5 * multiplicity * U[:, i] * U[:, j]])
        W = Q @ virials @ Q.T
        gram += X.T @ X
        right += X.T @ np.stack([W[:, a, b] for a, b in VOIGT], 1)
    scale = 1 / np.sqrt(np.diag(gram))
    solved = scale[:, None] * np.linalg.solve(gram * np.outer(scale, scale) + ridge * np.eye(size), scale[:, None] * right)
    second = solved[1 + d :].T[:, index]
    second = np.einsum("vij,ai,bj->vab", second, basis, basis, optimize=True)
    return StrainCoupling(solved[0], solved[1 : 1 + d].T @ basis.T, second)


def fit(lattice, positions, energies, forces, virials=None, born=None, third=6.0, fourth=3.0, train=None, path="model.h5"):
    """Fit to the first `train` configurations, write `path`, return the `Errors` on the others."""
    train = train or int(0.85 * len(positions))
    if not 0 < train < len(positions):
        raise InputError(f"train = {train}: must leave some of the {len(positions)} configurations for testing")
    group = Symmetry.of(lattice)
    u = positions - lattice.positions
    f = u @ np.linalg.inv(lattice.cell)
    u = (f - np.round(f)) @ lattice.cell
    u = u - u.mean(1, keepdims=True)
    p = fit_forces(lattice, u[:train], forces[:train], third, fourth, group)
    flat = u.reshape(len(u), -1)
    E, F = p.evaluate(flat)
    p.constant = float((energies - E)[:train].mean())
    test = slice(train, None)
    errors = Errors(
        float(np.sqrt(np.mean((F - forces.reshape(F.shape))[test] ** 2))), float(np.sqrt(np.mean(forces[test] ** 2))),
        float(np.std((E - energies)[test])), float(np.std(energies[test])))
    coupling = None
    if virials is not None:
        coupling = fit_virial(lattice, u[:train], virials[:train], group)
        W = np.stack([virials[:, a, b] for a, b in VOIGT], 1)
        scale = abs(np.linalg.det(lattice.cell)) * units.GPa
        errors.stress = float(np.sqrt(np.mean((coupling.evaluate(flat) - W)[test] ** 2))) / scale
        errors.stress_rms = float(np.std(W[test], axis=0).max()) / scale
    ForceConstants.save(path, lattice.symbols, lattice.positions, lattice.cell, p, coupling, born)
    return errors


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m plugins.lattice.fit", description="Force constants from labelled configurations.")
    parser.add_argument("data", help="npz with positions, energies, forces, and stresses (eV/Å³) if there are any")
    parser.add_argument("dyn", help="Quantum ESPRESSO dyn file: reference positions and symmetry")
    parser.add_argument("model", help="file to write")
    parser.add_argument("--third", type=float, default=6.0, help="cutoff of third order, Å")
    parser.add_argument("--fourth", type=float, default=3.0, help="cutoff of fourth order, Å")
    parser.add_argument("--train", type=int, help="configurations to fit to; the others test")
    parser.add_argument("--charges", help="ph.x output with Born charges to keep in the model")
    parser.add_argument("--stress-sign", type=int, choices=(1, -1), default=-1, help="-1: stress = -virial/V (tension positive)")
    a = parser.parse_args(arguments)
    data, lattice = np.load(a.data), read_dyn(a.dyn)
    volume = abs(np.linalg.det(lattice.cell))
    virials = a.stress_sign * volume * data["stresses"] if "stresses" in data else None
    born = read_charges(a.charges)[1] if a.charges else None
    if born is not None:
        born = born - born.mean(0)
    print(fit(lattice, data["positions"], data["energies"], data["forces"], virials, born, a.third, a.fourth, a.train, a.model))


if __name__ == "__main__":
    main()
