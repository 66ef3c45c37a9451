"""Labelled frames of copper, from the analytic potential of Zhou et al.: python make.py  ->  copper.xyz"""

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from engine.testing import evaluate
from potentials.eam.zhou import ZhouEAM


def frames(count=40, seed=0):
    """Rattled, strained cells of 32 atoms with energies, forces and stresses."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, rng.uniform(0.02, 0.25), atoms.positions.shape)
        found = evaluate(ZhouEAM(), atoms, {"energy", "forces", "virial"})
        atoms.calc = SinglePointCalculator(atoms, energy=float(found.energy[0]), forces=found.forces,
                                           stress=-found.virial[0] / atoms.get_volume())
        out.append(atoms)
    return out


if __name__ == "__main__":
    write("copper.xyz", frames(), format="extxyz")
