"""Both forms on their generated Numba kernels.

| | quadratic | full |
|---|---|---|
| energy, forces, virial, P | one call | one call |
| α | the same call | differences of P in the field |
| Born charges | three calls more | differences of forces in the field |

Differences are central ones of fourth order, four calls for each direction of the field: F is analytic in E on the scale E₀ that
the model was made with, and the step is a small part of that. The torch backend differentiates instead.
"""

import numpy as np

from plugins.equivariant.kernel.run import Kernel

STEP = {"float32": 0.1, "float64": 0.02}  # of E₀: where truncation and rounding are about equal
STENCIL = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))


class KernelRunner:
    """Adds forces, virial, polarization, Born charges and polarizability of this rank's centres to `out`; returns the
    enthalpies of its atoms (n,), without the species' shifts."""

    def __init__(self, path, description, arrays, threads, form="quadratic", field_scale=1.0):
        self.cutoff, self.kernel = description.cutoff, Kernel(description, arrays, threads)
        self.full, self.scale, self.step = form == "full", field_scale, STEP[description.dtype] * field_scale

    def __call__(self, atoms, neighbors, species, field, needs, out):
        lists, s = neighbors.full(self.cutoff), atoms.n_systems

        def run(forces, virial, axis, field):
            energy, P, alpha = np.zeros(atoms.n), np.zeros((s, 3)), np.zeros((s, 3, 3))
            self.kernel(atoms.positions, species, atoms.system, lists.offsets, lists.indices, forces, energy, virial,
                        field=field / self.scale if self.full else field, axis=axis, polarization=P, polarizability=alpha)
            return energy, P / self.scale if self.full else P, alpha

        energy, P, alpha = run(out.forces, out.virial if "virial" in needs else None, -1, field)
        if "virial" in needs:  # the edges' is that at fixed E; at fixed reduced field there is −P⊗E more
            out.virial -= P[:, :, None] * field[:, None, :]
        if "polarization" in needs:
            out.polarization += P
        if self.full:
            self._differences(run, field, needs, out)
            return energy
        if "polarizability" in needs:
            out.polarizability += alpha + np.triu(alpha, 1).transpose(0, 2, 1)
        if "born_charges" in needs:
            for axis in range(3):
                slope = np.zeros_like(out.forces)
                run(slope, None, axis, field)
                out.born_charges[:, axis] -= slope
        return energy

    def _differences(self, run, field, needs, out):
        """Z* = ∂F_i/∂E and α = ∂P/∂E, the latter made symmetric."""
        if not needs & {"born_charges", "polarizability"}:
            return
        charges = np.zeros((len(out.forces), 3, 3))
        alpha = np.zeros((len(field), 3, 3))
        for axis in range(3):
            for steps, weight in STENCIL:
                forces = np.zeros_like(out.forces)
                _, P, _ = run(forces, None, -1, field + steps * self.step * np.eye(3)[axis])
                charges[:, axis] += weight / self.step * forces
                alpha[:, axis] += weight / self.step * P
        if "born_charges" in needs:
            out.born_charges += charges
        if "polarizability" in needs:
            out.polarizability += 0.5 * (alpha + alpha.transpose(0, 2, 1))
