"""A trained equivariant model as a potential of the engine: ``kind = "equivariant"``.

On a CPU a local model runs on the Numba kernel generated from its description (no torch is imported); it needs one
shell of ghosts, exchanges nothing, and brings its own threads. Message passing runs through torch, in segments
between exchanges. With `zbl` the model stands on the engine's own screened nuclear repulsion, as it was trained; with
latent charges the network is asked for them first, and learns from the engine's particle mesh what they feel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numba
import numpy as np

from engine.config.quantities import InputFile, Length
from engine.contracts import Capabilities, Potential
from engine.errors import InputError, nearest
from plugins.equivariant import folder, last_layer, uncertainty  # noqa: F401 (columns of the thermo table)

PROVIDES = frozenset({"energy", "forces", "virial", "atom_energy"})
UNCERTAIN = frozenset({"variance", "atom_variance"})


@dataclass
class Equivariant(Potential):
    """A trained model.

    model : the folder that ``engine train`` or ``engine convert`` wrote; backend : "kernel" (Numba, local models on
    a CPU), "compiled" (torch, ahead of time), "torch" (eager), or the best of those that can run it; package : a folder of
    ``engine compile --output``, native code that runs only with trust = true; device : "cpu", or "cuda", through torch
    spacing : Å, of the mesh on which latent charges act on each other, where the model has them; 0.4 of their smearing
    if not given, which is good to about 1e-6 of the forces
    """

    model: InputFile
    backend: Literal["auto", "kernel", "compiled", "torch"] = "auto"
    package: InputFile | None = None
    trust: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    spacing: Length | None = None
    _runner: object = field(default=None, init=False, repr=False)
    _rows: np.ndarray = field(default=None, init=False, repr=False)
    _core: object = field(default=None, init=False, repr=False)
    _charges: object = field(default=None, init=False, repr=False)
    _last: object = field(default=None, init=False, repr=False)

    def __post_init__(self):
        self.description, self.arrays = folder.load(self.model)
        local = self.description.architecture == "local"
        if {"response_scales", "field_weights.0"} & set(self.arrays):
            raise InputError(f"the model {self.model} has an electric field in it; say kind = \"dielectric\"")
        if self.backend == "kernel" and not local:
            raise InputError(f"the model {self.model} passes messages, which backend = \"kernel\" cannot; leave it out")
        if self.backend == "kernel" and self.device != "cpu":
            raise InputError("backend = \"kernel\" runs on a CPU; leave it out for a GPU")
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
        if self.description.charges:
            from plugins.equivariant.charges import LatentCharges

            self._charges = LatentCharges(self.description, self.spacing)
            self._charges.clouds.bind(species_names)
        if self._runner is None:
            self._runner = self._make()

    def _make(self):
        if self._kernel:
            from plugins.equivariant.kernel.run import Kernel

            return Kernel(self.description, self.arrays, numba.get_num_threads())
        try:
            from plugins.equivariant.devices import at_hand
            from plugins.equivariant.torch_runner import TorchRunner
        except ImportError:
            raise InputError(f"the model {self.model} needs torch to run here: pip install engine-md[learned]") from None
        from plugins.equivariant.models import build

        at_hand(self.device)
        return TorchRunner(folder.fill(build(self.description), self.arrays, self.model), self.device, self._packages())

    def _packages(self):
        """Compiled functions: the given package, or the engine's own; None for eager, with a line that says why."""
        from plugins.equivariant import ahead

        if self.package is not None:
            return ahead.load_packages(self.package, self.description, self.arrays, self.device)
        if self.backend == "torch":
            return None
        try:
            made = ahead.compile_folder(self.model, say=_say, device=self.device)
            return ahead.load_packages(made, self.description, self.arrays, self.device)
        except InputError as error:
            if self.backend == "compiled":
                raise
            _say(f"{self.model} runs eagerly: {error}")
            return None

    def capabilities(self):
        d, local = self.description, self.description.architecture == "local"
        provides = PROVIDES | ({"atom_virial"} if self._kernel else set()) | (UNCERTAIN if last_layer.kept(self.model) else set())
        reach = "global" if d.charges else "local" if local else "message passing"
        return Capabilities(d.cutoff, "full", reach, 1 if local else d.layers, provides=provides,
                            heat_flux=local and not d.charges)

    def state_dict(self):
        return {} if self._charges is None else {"mesh": self._charges.clouds.state_dict()}

    def load_state_dict(self, tree):
        if self._charges is not None and tree:
            self._charges.clouds.load_state_dict(tree["mesh"])

    @property
    def last_layer(self):
        """What tells how far atoms are from the training data, where the training kept it."""
        if self._last is None:
            self._last = last_layer.load(self.model, self.arrays)
        return self._last

    @property
    def known(self):
        """{quantity: eV, the largest standard deviation in known frames}"""
        return {"atom_variance": self.last_layer.known} if last_layer.kept(self.model) else {}

    @property
    def charges(self):
        """(n,) e, latent charges of owned atoms at the last evaluation; None where the model has none."""
        return None if self._charges is None else self._charges.charges

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        species = neighbors.derived(("equivariant", id(self)), lambda: self._rows[atoms.species])

        def respond(charges):
            return self._charges.respond(atoms, neighbors, halo, inputs, charges, needs, out)

        run = self._on_kernel if self._kernel else self._on_torch
        energy = run(atoms, neighbors, halo, species, needs, out, respond if self._charges is not None else None)
        energy = energy + self._runner.shifts[species[:atoms.n]]
        if "atom_energy" in needs:
            out.atom_energy[:atoms.n] += energy
        if "energy" in needs:
            out.energy += np.bincount(atoms.system[:atoms.n], energy, atoms.n_systems)
        if needs & UNCERTAIN:
            phi = self._runner.features(*self._given(atoms, neighbors, species)) if self._kernel else self._runner.features()
            self.last_layer.add(phi, atoms, needs, out)
        if self._core is not None:
            self._core.compute(atoms, neighbors, halo, inputs, needs, out)

    def _given(self, atoms, neighbors, species):
        lists = neighbors.full(self.description.cutoff)
        return atoms.positions, species, atoms.system, lists.offsets, lists.indices

    def _on_kernel(self, atoms, neighbors, halo, species, needs, out, respond):
        given, energy = self._given(atoms, neighbors, species), np.zeros(atoms.n)
        potential = None if respond is None else respond(self._runner.charges(*given))
        self._runner(*given, out.forces, energy, out.virial if "virial" in needs else None,
                     out.atom_virial if "atom_virial" in needs else None, potential=potential)
        return energy

    def _on_torch(self, atoms, neighbors, halo, species, needs, out, respond):
        return self._runner(atoms, neighbors, halo, species, out.forces,
                            out.virial if "virial" in needs else None, respond)


def _say(text):
    from engine.output.screen import console

    console.print(text, markup=False, highlight=False)
