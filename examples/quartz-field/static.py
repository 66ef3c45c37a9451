"""Static and optical permittivity of a crystal along z at zero temperature: relax in the field +E and −E.

    python static.py quartz.extxyz --model model          published for α-quartz: ε∞ 2.41, ε_zz(0) 4.74 at ±0.0364 V/Å
"""

import argparse

import numpy as np
from ase.io import read

from engine import units
from engine.build import state_from_atoms
from engine.simulation import Simulation
from integrators.relax import Relax
from plugins.dielectric.permittivity import finite_field
from plugins.dielectric.potential import Dielectric
from potentials.fields import Constant


def relaxed(atoms, potential, field, force, steps):
    """The simulation after relaxation of the atoms in `field`."""
    simulation = Simulation(state_from_atoms(atoms), potential, fields=[Constant(field)])
    stage = Relax(force=force, steps=steps)
    stage.prepare(simulation)
    simulation.begin_stage(0, steps)
    stage.proceed(simulation)
    if simulation.stop_reason:
        print(simulation.stop_reason)
    return simulation


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("structure")
    p.add_argument("--model", default="model")
    p.add_argument("--field", type=float, default=0.0364, help="V/Å, along z")
    p.add_argument("--force", type=float, default=1e-3, help="eV/Å, largest that may be left")
    p.add_argument("--steps", type=int, default=300)
    given = p.parse_args(arguments)
    atoms, potential = read(given.structure), Dielectric(given.model)
    E = np.array([0, 0, given.field])
    up, down = (relaxed(atoms, potential, sign * E, given.force, given.steps) for sign in (1, -1))
    P = [s.quantity("polarization")[0] for s in (up, down)]
    volume = atoms.get_volume()
    optical = 1 + np.diag(up.quantity("polarizability")[0]) / (units.epsilon0 * volume)
    static = finite_field(*P, E, volume)
    print(f"ε∞ (xx, yy, zz) {np.round(optical, 3)}   ε_zz(0) {static[2]:.3f}")
    return optical, static


if __name__ == "__main__":
    main()
