"""Excluded pairs in electrostatics: what a sum over all of space counts although no list holds the pair.

Lists leave excluded pairs out, so of v(r) + [1/r − v(r)], v being the part that is summed over pairs, the whole must
go: the smooth rest, E = C q_i q_j [v(r) − 1/r], is added for each excluded pair's nearest image. For Ewald that is
−erf(αr)/r; for DSF −erf(αr)/r − shift − slope·r.
"""

import math

import numpy as np
from numba import njit


def rows_of(atoms, neighbors):
    """Rows (m, 2) of excluded pairs that this rank counts: the first an owned atom, of the smaller tag, the second the
    nearest image of the other at the last rebuild."""
    def find():
        rows = neighbors.excluded()
        return rows[atoms.tags[rows[:, 0]] < atoms.tags[rows[:, 1]]]

    return neighbors.derived("coulomb excluded pairs", find)


@njit(cache=True, error_model="numpy")
def add(rows, x, charges, system, scale, alpha, shift, slope, want, forces, energy, virial, atom_energy, atom_virial,
        gradient):
    """Add C q_i q_j [−erf(αr)/r − shift − slope·r] for each row pair; `want` (5,) flags energy, virial, atom energy,
    atom virial, charge gradient."""
    for m in range(rows.shape[0]):
        i, j = rows[m]
        d = x[i] - x[j]
        r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        r = math.sqrt(r2)
        per_charge = scale * (-math.erf(alpha * r) / r - shift - slope * r)
        gauss = 2.0 * alpha / math.sqrt(math.pi) * math.exp(-alpha * alpha * r2)
        slope_r = scale * (math.erf(alpha * r) / r2 - gauss / r - slope)
        q = charges[i] * charges[j]
        w = -q * slope_r / r
        for a in range(3):
            forces[i, a] += w * d[a]
            forces[j, a] -= w * d[a]
        if want[0]:
            energy[system[i]] += q * per_charge
        if want[1]:
            for a in range(3):
                for b in range(3):
                    virial[system[i], a, b] += w * d[a] * d[b]
        if want[2]:
            atom_energy[i] += 0.5 * q * per_charge
            atom_energy[j] += 0.5 * q * per_charge
        if want[3]:
            for a in range(3):
                for b in range(3):
                    atom_virial[i, a, b] += 0.5 * w * d[a] * d[b]
                    atom_virial[j, a, b] += 0.5 * w * d[a] * d[b]
        if want[4]:
            gradient[i] += charges[j] * per_charge
            gradient[j] += charges[i] * per_charge


NONE1, NONE3 = np.zeros(1), np.zeros((1, 3, 3))
KINDS = ("energy", "virial", "atom_energy", "atom_virial", "charge_gradient")


def correct(atoms, neighbors, needs, out, scale, alpha, shift=0.0, slope=0.0):
    """Add the corrections of all excluded pairs into `out`."""
    if not len(atoms.exclusions):
        return
    want = np.array([kind in needs for kind in KINDS])
    spare = (NONE1, NONE3, NONE1, NONE3, NONE1)
    add(rows_of(atoms, neighbors), atoms.positions, atoms.charges, atoms.system, scale, alpha, shift, slope, want,
        out.forces, *(getattr(out, kind) if kind in needs else none for kind, none in zip(KINDS, spare)))
