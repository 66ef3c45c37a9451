"""Many-body potentials as one function of an atom's surroundings; the loops around it are the engine's.

    E = Σ_i U(species of i; vectors r_ij = r_j − r_i to the neighbors inside the cutoff, and their species)

A site potential is a function

    site(kind, count, vectors, distances, kinds, parameters, gradient) -> U

of the centre's species, the number of neighbors, their vectors (count, 3), distances and species, and an array of
parameters; it adds ∂U/∂r_ij into `gradient` (count, 3), which comes zeroed. One scatter of the gradients then gives
forces and virials: f_i += Σ g_ij, f_j −= g_ij, W −= Σ r_ij ⊗ g_ij, and the per-atom virial of j takes −r_ij ⊗ g_ij,
since U_i acts where j stands (design, conventions).
"""

import numpy as np

from engine.contracts import Capabilities, Potential
from engine.kernels import compiled
from engine.kernels.pair import targets
from engine.kernels.site_lanes import LanesDriver
from engine.kernels.team import team_for

SOURCE = '''
import numpy as np
from numba import njit

site = njit(error_model="numpy")(function)


@njit(cache=True, nogil=True, error_model="numpy")
def compute(begin, end, x, species, system, offsets, indices, room, cutoff2, parameters, want_energy, want_virial,
            want_atom_energy, want_atom_virial, forces, energy, virial, atom_energy, atom_virial):
    vectors, gradient = np.empty((room, 3)), np.empty((room, 3))
    distances, kinds, rows = np.empty(room), np.empty(room, np.int64), np.empty(room, np.int64)
    w = np.zeros((3, 3))
    for i in range(begin, end):
        count, si = 0, species[i]
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1], x[j, 2] - x[i, 2]
            r2 = dx * dx + dy * dy + dz * dz
            if r2 < cutoff2[si, species[j]]:
                vectors[count, 0], vectors[count, 1], vectors[count, 2] = dx, dy, dz
                distances[count], kinds[count], rows[count] = r2**0.5, species[j], j
                gradient[count] = 0.0
                count += 1
        e = site(si, count, vectors, distances, kinds, parameters, gradient)
        for k in range(count):
            j = rows[k]
            for a in range(3):
                g = gradient[k, a]
                forces[i, a] += g
                forces[j, a] -= g
        if want_energy:
            energy[system[i]] += e
        if want_atom_energy:
            atom_energy[i] += e
        if want_virial:
            w[:] = 0.0
            for k in range(count):
                for a in range(3):
                    for b in range(3):
                        w[a, b] -= vectors[k, a] * gradient[k, b]
            virial[system[i]] += w
        if want_atom_virial:
            for k in range(count):
                for a in range(3):
                    for b in range(3):
                        atom_virial[rows[k], a, b] -= vectors[k, a] * gradient[k, b]
'''

class SitePotential(Potential):
    """Base of site potentials. Subclasses are dataclasses with

    site : the site function (a static method that holds a function of a module's top level)
    parameters(species_names) -> (cutoffs (T, T) Å, one array of parameters of any shape)
    lanes(parameters) -> (function, its parameters) for registers (``engine.kernels.site_lanes``), or None: optional
    """

    site = None

    def lanes(self, parameters):
        return None

    def parameters(self, species_names):
        raise TypeError(f"{type(self).__name__} gives no parameters")

    def bind(self, species_names):
        cutoffs, parameters = self.parameters(species_names)
        self._cutoff2 = np.array(cutoffs, float) ** 2
        self._cutoff = float(np.max(cutoffs))
        self._parameters = np.ascontiguousarray(parameters, float)
        self._driver = self._fast = None
        by_lanes = self.lanes(self._parameters) if len(species_names) == 1 else None
        if by_lanes is not None:
            self._fast = LanesDriver(by_lanes[0], self._cutoff, by_lanes[1])

    def capabilities(self):
        return Capabilities(
            cutoff=self._cutoff, lists="full",
            provides=frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"}),
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        if self._fast is not None and "atom_virial" not in needs:
            self._fast.compute(atoms, neighbors, halo, needs, out)
            return
        if self._driver is None:
            function = type(self).site
            self._driver = compiled.load(SOURCE, {"function": function}, f"site_{function.__name__}").compute
        csr = neighbors.full(self._cutoff)
        room = int(np.diff(csr.offsets).max(initial=0))
        wanted = [name in needs for name in ("energy", "virial", "atom_energy", "atom_virial")]
        team = team_for(atoms.n)
        team.add_up(self._driver, team.balanced(csr.offsets[:-1], csr.offsets[1:]), atoms.positions, atoms.species,
                    atoms.system, csr.offsets, csr.indices, room, self._cutoff2, self._parameters, *wanted,
                    into=targets(out, needs))
