"""Compiling a local model's kernel for this machine and calling it, on one or several threads."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from engine.errors import InputError
from engine.kernels import compiled, simd_math, simd_types
from plugins.equivariant.description import Description
from plugins.equivariant.kernel import memory, mixing, plan, source, weights

TILE = 192  # edges


def _watched():
    """Hash of the sources that the generated text imports from: a change there makes a new file."""
    text = "".join(Path(module.__file__).read_text() for module in (simd_types, simd_math, memory))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Kernel:
    """Energy and forces of a strictly local model; `arrays` are those of its folder.

    A model with ``response_scales`` is quadratic in an electric field (``plugins.dielectric.model``) and is called with one.
    One with ``field_weights`` has the field in every environment (``mixing``), and is called with one in units of its own.
    A model with latent charges is asked for its `charges` first, then called with what they feel.
    """

    def __init__(self, description: Description, arrays: dict[str, np.ndarray], threads: int = 1, tile: int = TILE):
        self.description, self.tile = description, tile
        self.dtype = np.dtype(description.dtype)
        lanes = simd_types.register_bits() // (8 * self.dtype.itemsize)
        self.responds = "response_scales" in arrays
        self.charged = description.charges
        self.plan = plan.make(description, lanes, 4 if self.responds else 2 if self.charged else 1)
        self.mixes = "field_weights.0" in arrays
        if self.mixes:
            mixing.extend(self.plan)
        if self.dtype == np.float32 and self.plan.vectors["radial"] + len(description.species) ** 2 * description.bessel \
                * self.plan.buffers["two_h0"] >= 2**24:
            raise InputError(f"a model of {len(description.species)} species with embedding_width = "
                             f"{description.embedding_width} is too wide for the kernel; use backend = \"compiled\"")
        data = weights.fold(self.plan, arrays)
        if self.mixes:
            mixing.fold(self.plan, arrays, data)
        self.data = data.astype(self.dtype)
        self.table = np.concatenate([x.entries[:, 1:] for x in self.plan.products]).astype(np.int64)
        self.scales = np.asarray(arrays["scales"], float)
        self.shifts = np.asarray(arrays["shifts"], float)
        self.base_charges = np.asarray(arrays["latent.base"], float) if self.charged else None
        self.cutoffs = description.pair_cutoffs().ravel()
        self.modules = {}
        self._module("forces")  # compiled before the first step
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.work: list[np.ndarray] = []
        self.partial: list[np.ndarray] = []

    def _module(self, gives):
        """The kernel that ``source.write`` tells of, compiled when it is first asked for."""
        if gives not in self.modules:
            registers = 32 if simd_types.register_bits() == 512 else 16
            text = f"# {_watched()}\n" + source.write(self.plan, registers, gives)
            self.modules[gives] = compiled.load(text, name="equivariant")
        return self.modules[gives]

    def _prepare(self, offsets, n_all, copies=1):
        longest = int(np.diff(offsets).max()) if len(offsets) > 1 else 0
        te = -(-(self.tile + longest + 32) // 32) * 32
        size = source.workspace(self.plan, te, copies)
        if not self.work or len(self.work[0]) < size:
            self.work = [np.zeros(size, self.dtype) for _ in range(self.threads)]
        if self.threads > 1 and (not self.partial or len(self.partial[0]) < n_all):
            self.partial = [np.zeros((n_all, 3)) for _ in range(self.threads - 1)]
        return te

    def charges(self, positions, species, system, offsets, indices):
        """(n,) e, not made neutral."""
        n = len(offsets) - 1
        found = np.zeros(n)
        self(positions, species, system, offsets, indices, np.zeros_like(positions), np.zeros(n), charges=found)
        return found + self.base_charges[species[:n]]

    def features(self, positions, species, system, offsets, indices):
        """(n, width) what each atom gives to the model's last linear map, times the scale of its species: ``last_layer``."""
        forward = self._module("features")
        n = len(offsets) - 1
        te, found = self._prepare(offsets, len(positions)), np.zeros((n, sum(self.plan.read)))
        none = np.zeros((1, 3, 3))

        def part(t, start, stop):
            forward.run(start, stop, positions, species, system, offsets, indices, self.cutoffs, self.scales, self.data,
                             self.table, self.work[t], te, self.tile, found, self.scales, none, none, False, False)

        cuts = self._shares(offsets)
        jobs = [self.pool.submit(part, t, *cuts[t:t + 2]) for t in range(1, len(cuts) - 1)]
        part(0, *cuts[:2])
        for job in jobs:
            job.result()
        return found @ self.plan.reader * self.scales[species[:n], None]

    def _shares(self, offsets):
        """Where each thread's centres begin and end: equal numbers of edges, one share where there are few atoms."""
        n, threads = len(offsets) - 1, self.threads
        if threads == 1 or n < 2 * threads:
            return np.array([0, n])
        cuts = np.searchsorted(offsets, offsets[-1] * np.arange(threads + 1) / threads)
        cuts[0], cuts[-1] = 0, n
        return cuts

    def __call__(self, positions, species, system, offsets, indices, forces, atom_energy, virial=None, atom_virial=None,
                 field=None, axis=-1, polarization=None, polarizability=None, born_charges=None, potential=None, charges=None):
        """Add to forces (n_all, 3), atom_energy (n,), virial (S, 3, 3), atom_virial (n_all, 3, 3).

        positions (n_all, 3) Å; species (n_all,) rows of the description's list; system (n_all,); offsets, indices: full
        list with the cutoff inside it. Energies are without the species' shifts.

        With a field (S, 3) V/Å: the enthalpy's, the virial's edges alone; also adds to polarization (S, 3) e·Å and to the
        upper triangle of polarizability (S, 3, 3) e·Å²/V. With axis = 0, 1, 2 forces receive −∂P_axis/∂R instead. Where the
        field is mixed in, P is the derivative to the field in its units, and so are the responses: with `born_charges`
        (3, n_all, 3), [field axis, atom, displacement axis], these and the whole polarizability (3, S, 3) are added to.

        With latent charges: either `charges` (n,) receives what the network gives, and nothing else is found, or `potential`
        (n,) eV/e, ∂E/∂q of what they feel, goes into the gradient.
        """
        n = len(offsets) - 1
        responses = self.mixes and born_charges is not None
        te = self._prepare(offsets, len(positions), 4 if responses else 1)
        module = self._module("responses" if responses else "forces")
        none = np.zeros((1, 3, 3))
        flags = virial is not None, atom_virial is not None
        sums = [none if x is None else x for x in (virial, atom_virial)]
        given = ()
        if self.charged:
            spare = np.zeros(n)
            given = (spare if potential is None else potential, spare if charges is None else charges, charges is not None)
        if self.mixes:
            harmonics, slopes, bends = (x.astype(self.dtype) for x in mixing.harmonics(field, self.description.l_max))
            given = harmonics.ravel(), slopes.ravel()
            sums.append(np.zeros_like(field) if polarization is None else polarization)
            if responses:
                by_axis = [np.ascontiguousarray(np.moveaxis(x, -1, 0)).reshape(3, -1) for x in (slopes, bends)]
                given = *by_axis, *given
                sums += [np.zeros((3, len(field), 3)) if polarizability is None else polarizability, born_charges]
        if self.responds:
            given = field, axis
            sums += [np.zeros_like(field) if polarization is None else polarization,
                     np.zeros((len(field), 3, 3)) if polarizability is None else polarizability]

        def part(t, start, stop, f, virial, atom_virial, *response):
            module.run(start, stop, positions, species, system, offsets, indices, self.cutoffs, self.scales,
                       self.data, self.table, self.work[t], te, self.tile, f, atom_energy, virial, atom_virial, *flags,
                       *given, *response)

        cuts = self._shares(offsets)
        if len(cuts) == 2:
            part(0, 0, n, forces, *sums)
            return
        # the first adds in place, the others into arrays of their own
        others = [[np.zeros_like(x) for x in sums] for _ in range(self.threads - 1)]
        partial = [f[:len(positions)] for f in self.partial]
        for f in partial:
            f[...] = 0.0
        jobs = [self.pool.submit(part, t, cuts[t], cuts[t + 1], partial[t - 1], *others[t - 1]) for t in range(1, self.threads)]
        part(0, cuts[0], cuts[1], forces, *sums)
        for job in jobs:
            job.result()
        for f in partial:
            forces += f
        for found in others:
            for total, x in zip(sums, found):
                total += x
