"""Site potentials of one species, eight centres at a time.

Beside its scalar function (``engine.kernels.site``) a potential may give a function for the lanes of a register,

    lanes(count, cutoff2, bonds, parameters, work, gradient) -> U

in which every number is a vector over eight centres. Bond s of the centres is bonds[32 s:], the components of r_ij
and then r_ij², eight lanes each; lanes without a bond s have r² ≥ cutoff2 and must get the gradient zero. It stores
∂U/∂r_ij in gradient[24 s:] and may use `work`, ROOM·8 numbers for each bond.

Each centre's neighbors inside the cutoff are compacted first, so that lanes are full; forces are scattered by rows, and
ghosts' own forces give the virial, W_ab = Σ_k r_k,a F_k,b.
"""
import numpy as np

from engine.kernels import compiled
from engine.kernels.records import pack, unpack
from engine.kernels.team import team_for

LANES = 8
ROOM = 20       # registers of scratch for each bond

SOURCE = '''
import numpy as np
from numba import njit

from engine.kernels.simd import (
    add_rows, compress, count, lanes, load, load_rows, select, splat, store)

site = njit(error_model="numpy")(function)


@njit(cache=True, nogil=True, error_model="numpy")
def compute(from_atom, to_atom, records, offsets, indices, longest, cutoff2, parameters, energy, want_energy, force):
    force[:] = 0.0
    dummy = np.int32(records.shape[0] // 4 - 1)
    rows = np.empty((longest + 16) * 8, np.int32)
    found, centres = np.empty(longest + 16, np.int32), np.empty(8, np.int32)
    bonds, gradient = np.empty((longest + 1) * 32), np.empty((longest + 1) * 24)
    work = np.empty((longest + 1) * 8 * ROOM)
    energies = np.empty(8)
    zero, no_row, far = splat(0.0, 8), splat(dummy, 8), splat(cutoff2, 8)
    for first in range(from_atom, to_atom, 8):
        most, possible = 0, 0
        for i in range(first, min(first + 8, to_atom)):
            possible = max(possible, offsets[i + 1] - offsets[i])
        for s in range(possible):
            store(rows, 8 * s, no_row)
        for lane in range(8):
            i = first + lane
            if i >= to_atom:
                centres[lane] = dummy
                continue
            centres[lane] = i
            x, y, z = splat(records[4 * i], 8), splat(records[4 * i + 1], 8), splat(records[4 * i + 2], 8)
            c = 0
            for q in range(offsets[i], offsets[i + 1], 8):
                X, Y, Z, _ = load_rows(records, indices, q, 8, 4, 0)
                dx, dy, dz = X - x, Y - y, Z - z
                inside = (dx * dx + dy * dy + dz * dz < cutoff2) & (lanes(8) < np.int32(offsets[i + 1] - q))
                store(found, c, compress(load(indices, q, 8), inside))
                c += count(inside)
            for s in range(c):
                rows[8 * s + lane] = found[s]
            most = max(most, c)
        x, y, z, _ = load_rows(records, centres, 0, 8, 4, 0)
        for s in range(most):
            X, Y, Z, _ = load_rows(records, rows, 8 * s, 8, 4, 0)
            dx, dy, dz = X - x, Y - y, Z - z
            r2 = dx * dx + dy * dy + dz * dz
            inside = r2 < far
            store(bonds, 32 * s, select(inside, dx, zero))
            store(bonds, 32 * s + 8, select(inside, dy, zero))
            store(bonds, 32 * s + 16, select(inside, dz, zero))
            store(bonds, 32 * s + 24, select(inside, r2, far))
        u = site(most, cutoff2, bonds, parameters, work, gradient)
        fx, fy, fz = zero, zero, zero
        for s in range(most):
            gx, gy, gz = load(gradient, 24 * s, 8), load(gradient, 24 * s + 8, 8), load(gradient, 24 * s + 16, 8)
            fx, fy, fz = fx + gx, fy + gy, fz + gz
            add_rows(force, rows, 8 * s, -gx, -gy, -gz, zero)
        add_rows(force, centres, 0, fx, fy, fz, zero)
        if want_energy:
            store(energies, 0, u)
            for lane in range(min(8, to_atom - first)):
                energy[first + lane] += energies[lane]

'''


class LanesDriver:
    """Evaluates a potential's lanes function over the full list."""

    def __init__(self, function, cutoff, parameters):
        self.cutoff, self.parameters = cutoff, np.ascontiguousarray(parameters, float)
        source = SOURCE.replace("ROOM", str(ROOM))
        self._compute = compiled.load(source, {"function": function}, f"lanes_{function.__name__}").compute

    def compute(self, atoms, neighbors, halo, needs, out):
        """Add energies, forces and virial."""
        x, system, n, n_all = atoms.positions, atoms.system, atoms.n, atoms.n_all
        team = team_for(n)
        csr = neighbors.full(self.cutoff)
        longest = neighbors.derived(("longest full row", self.cutoff), lambda: int(np.diff(csr.offsets).max(initial=0)))
        cuts = neighbors.derived(("full cuts", self.cutoff, team),
                                 lambda: team.balanced(csr.offsets[:-1], csr.offsets[1:], LANES))
        far = neighbors.derived("far", lambda: 1e6 + abs(neighbors.reference).max(initial=0.0))
        records, force = np.empty((n_all + 1, 4)), np.empty((team.size, 4 * (n_all + 1)))
        team(pack, team.cuts(n_all), x, records)
        records[-1] = far       # from everything
        want_energy, want_virial = bool(needs & {"energy", "atom_energy"}), "virial" in needs
        energy = np.zeros(n if want_energy else 0)
        team(self._compute, cuts, records.ravel(), csr.offsets, csr.padded, longest, self.cutoff**2, self.parameters, energy,
             want_energy, private=(force,))
        team.add_up(unpack, team.cuts(n_all), force, x, system, out.forces, want_virial,
                    into=out.virial if want_virial else np.zeros((1, 3, 3)))
        if "energy" in needs:
            np.add.at(out.energy, system[:n], energy)
        if "atom_energy" in needs:
            out.atom_energy[:n] += energy
