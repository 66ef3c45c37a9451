"""The quadratic form on its generated Numba kernel."""

import numpy as np

from plugins.equivariant.kernel.run import Kernel


class KernelRunner:
    """Adds forces, virial, polarization, Born charges and polarizability of this rank's centres to `out`; returns the
    enthalpies of its atoms (n,), without the species' shifts."""

    def __init__(self, path, description, arrays, threads):
        self.cutoff, self.kernel = description.cutoff, Kernel(description, arrays, threads)

    def __call__(self, atoms, neighbors, species, field, needs, out):
        lists, s = neighbors.full(self.cutoff), atoms.n_systems

        def run(forces, virial, axis):
            energy, P, alpha = np.zeros(atoms.n), np.zeros((s, 3)), np.zeros((s, 3, 3))
            self.kernel(atoms.positions, species, atoms.system, lists.offsets, lists.indices, forces, energy, virial,
                        field=field, axis=axis, polarization=P, polarizability=alpha)
            return energy, P, alpha

        energy, P, alpha = run(out.forces, out.virial if "virial" in needs else None, -1)
        if "virial" in needs:  # the edges' is that at fixed E; at fixed reduced field there is −P⊗E more
            out.virial -= P[:, :, None] * field[:, None, :]
        if "polarization" in needs:
            out.polarization += P
        if "polarizability" in needs:
            out.polarizability += alpha + np.triu(alpha, 1).transpose(0, 2, 1)
        if "born_charges" in needs:
            for axis in range(3):
                slope = np.zeros_like(out.forces)
                run(slope, None, axis)
                out.born_charges[:, axis] -= slope
        return energy
