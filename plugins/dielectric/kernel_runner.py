"""Both forms on their generated Numba kernels.

| | quadratic | full |
|---|---|---|
| energy, forces, virial, P | one call | one call |
| α | the same call | one call of another kernel, which gives all of these (``kernel.tangents``) |
| Born charges | three calls more | the same |
"""

import numpy as np

from plugins.equivariant.kernel.run import Kernel


class KernelRunner:
    """Adds forces, virial, polarization, Born charges and polarizability of this rank's centres to `out`; returns the
    enthalpies of its atoms (n,), without the species' shifts."""

    def __init__(self, path, description, arrays, threads, form="quadratic", field_scale=1.0):
        self.cutoff, self.kernel = description.cutoff, Kernel(description, arrays, threads)
        self.full, self.scale = form == "full", field_scale

    def __call__(self, atoms, neighbors, species, field, needs, out):
        lists, s = neighbors.full(self.cutoff), atoms.n_systems
        energy, P = np.zeros(atoms.n), np.zeros((s, 3))

        def run(forces, virial, field, **more):
            self.kernel(atoms.positions, species, atoms.system, lists.offsets, lists.indices, forces, energy, virial,
                        field=field, **more)

        virial = out.virial if "virial" in needs else None
        if self.full:  # the kernel's field is in units of the scale
            alpha, charges = np.zeros((3, s, 3)), None
            if needs & {"born_charges", "polarizability"}:
                charges = np.zeros((3, *out.forces.shape))
            run(out.forces, virial, field / self.scale, polarization=P, polarizability=alpha, born_charges=charges)
            P /= self.scale
            alpha = alpha.transpose(1, 0, 2) / self.scale**2
            if "born_charges" in needs:
                out.born_charges += charges.transpose(1, 0, 2) / self.scale
        else:
            alpha = np.zeros((s, 3, 3))
            run(out.forces, virial, field, polarization=P, polarizability=alpha)
            alpha += np.triu(alpha, 1).transpose(0, 2, 1)
            if "born_charges" in needs:
                enthalpy = energy.copy()
                for axis in range(3):
                    slope = np.zeros_like(out.forces)
                    run(slope, None, field, axis=axis)
                    out.born_charges[:, axis] -= slope
                energy = enthalpy
        if virial is not None:  # the edges' is that at fixed E; at fixed reduced field there is −P⊗E more
            virial -= P[:, :, None] * field[:, None, :]
        if "polarization" in needs:
            out.polarization += P
        if "polarizability" in needs:
            out.polarizability += 0.5 * (alpha + alpha.transpose(0, 2, 1))
        return energy
