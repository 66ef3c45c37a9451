"""A trained equivariant model as a potential of the engine: ``kind = "equivariant"``.

On a CPU a local model runs on the Numba kernel generated from its description (no torch is imported); it needs one
shell of ghosts, exchanges nothing, and brings its own threads. Message passing runs through torch, in segments
between exchanges. With `zbl` the model stands on the engine's own screened nuclear repulsion, as it was trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numba
import numpy as np

from engine.config.quantities import InputFile
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest
from plugins.equivariant import folder

PROVIDES = frozenset({"energy", "forces", "virial", "atom_energy"})


@dataclass
class Equivariant(Potential):
    """A trained model.

    model : the folder that ``engine train`` or ``engine convert`` wrote; backend : "kernel" (Numba, local models on
    a CPU), "compiled" (torch, ahead of time), "torch" (eager), or the best of those that can run it; package : a folder
    of ``engine compile --output``, native code that runs only with trust = true; device : "cpu" or "cuda", for torch
    """

    model: InputFile
    backend: Literal["auto", "kernel", "compiled", "torch"] = "auto"
    package: InputFile | None = None
    trust: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    _runner: object = field(default=None, init=False, repr=False)
    _rows: np.ndarray = field(default=None, init=False, repr=False)
    _core: object = field(default=None, init=False, repr=False)

    def __post_init__(self):
        self.description, self.arrays = folder.load(self.model)
        local = self.description.architecture == "local"
        if self.backend == "kernel" and not local:
            raise InputError(f"the model {self.model} passes messages, which backend = \"kernel\" cannot; leave it out")
        if self.backend == "kernel" and self.device != "cpu":
            raise InputError("backend = \"kernel\" runs on a CPU; for a GPU say backend = \"torch\"")
        if self.package is not None and not self.trust:
            raise InputError(f"package = {self.package} is native code from outside; say trust = true if you trust its "
                             "source, or leave it out: the engine compiles the model itself")
        self._kernel = local and self.backend in ("auto", "kernel") and self.device == "cpu" and self.package is None

    def bind(self, species_names):
        known = self.description.species
        for name in species_names:
            if name not in known:
                raise InputError(f"the model {self.model} knows no {name}{nearest(name, known)}; it was trained on: "
                                 f"{', '.join(known)}")
        self._rows = np.array([known.index(name) for name in species_names], np.int32)
        if self.description.zbl:
            from plugins.equivariant.core import repulsion

            self._core = repulsion(self.description)
            self._core.bind(species_names)
        if self._runner is None:
            self._runner = self._make()

    def _make(self):
        if self._kernel:
            from plugins.equivariant.kernel.run import Kernel

            return Kernel(self.description, self.arrays, numba.get_num_threads())
        try:
            import torch
        except ImportError:
            raise InputError(f"the model {self.model} needs torch to run here: pip install engine-md[learned]") from None
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device = \"cuda\": torch sees no GPU on this machine")
        from plugins.equivariant.torch_runner import TorchRunner

        return TorchRunner(self.description, self.arrays, self.device, self._packages())

    def _packages(self):
        """Compiled functions: the given package, or the engine's own; None for eager, with a line that says why."""
        from plugins.equivariant import ahead

        if self.package is not None:
            return ahead.load_packages(self.package, self.description, self.arrays)
        if self.backend == "torch" or self.device != "cpu":
            return None
        try:
            return ahead.load_packages(ahead.compile_folder(self.model, say=_say), self.description, self.arrays)
        except InputError as error:
            if self.backend == "compiled":
                raise
            _say(f"{self.model} runs eagerly: {error}")
            return None

    def capabilities(self):
        if self.description.architecture == "local":
            provides = PROVIDES | ({"atom_virial"} if self._kernel else set())
            return Capabilities(self.description.cutoff, "full", "local", provides=provides)
        return Capabilities(self.description.cutoff, "full", "message passing", self.description.layers,
                            provides=PROVIDES, heat_flux=False)

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        cutoff = self.description.cutoff
        species = neighbors.derived(("equivariant", id(self)), lambda: self._rows[atoms.species])
        virial = out.virial if "virial" in needs else None
        if self._kernel:
            lists, energy = neighbors.full(cutoff), np.zeros(atoms.n)
            self._runner(atoms.positions, species, atoms.system, lists.offsets, lists.indices, out.forces, energy,
                         virial, out.atom_virial if "atom_virial" in needs else None)
        else:
            energy = self._runner(atoms, neighbors.edges(cutoff), halo, species, out.forces, virial)
        energy = energy + self._runner.shifts[species[:atoms.n]]
        if "atom_energy" in needs:
            out.atom_energy[:atoms.n] += energy
        if "energy" in needs:
            out.energy += np.bincount(atoms.system[:atoms.n], energy, atoms.n_systems)
        if self._core is not None:
            self._core.compute(atoms, neighbors, halo, inputs, needs, out)


def _say(text):
    from engine.output.screen import console

    console.print(text, markup=False, highlight=False)
