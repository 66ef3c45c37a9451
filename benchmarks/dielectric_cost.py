"""What a field costs with a learned enthalpy: one MD evaluation in a field, and responses, against the zero-field energy,
forces and virial of the same network.

    taskset -c 0 python -m benchmarks.dielectric_cost [--form full|quadratic] [--backend kernel|torch] [--repeat 1]

`--repeat` cells of 72 atoms of quartz in a row, a ready neighbor list, one thread, untrained weights; medians of interleaved
rounds. The network without a field is the same one with everything of the field left out; forces of both at zero field are
compared first.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from ase.build import make_supercell
from ase.spacegroup import crystal

from engine.build import state_from_atoms
from engine.contracts import Output
from engine.domain.domain import Domain
from plugins.dielectric.derivatives import evaluate, on_atoms
from plugins.dielectric.kernel_runner import KernelRunner
from plugins.dielectric.model import DielectricModel
from plugins.equivariant import folder, graphs
from plugins.equivariant.description import Description
from plugins.equivariant.kernel.run import Kernel

SCALE = 0.1  # V/Å
FIELD = np.array([[0.01, 0.0, 0.03]])
IN_FIELD = frozenset({"energy", "forces", "virial", "polarization"})
WORK = {"no field: energy, forces, virial": None, "in a field: and P": IN_FIELD,
        "and polarizability": IN_FIELD | {"polarizability"},
        "and all Born charges": IN_FIELD | {"polarizability", "born_charges"}}


def quartz(repeat):
    cell = crystal(["Si", "O"], [(0.4697, 0, 2 / 3), (0.4135, 0.2669, 0.7858)], spacegroup=154,
                   cellpar=[4.9853, 4.9853, 5.47853, 90, 90, 120])
    atoms = make_supercell(cell, [[2, 0, 0], [1, 2, 0], [0, 0, 2]]).repeat((repeat, 1, 1))
    atoms.rattle(0.05, seed=1)
    return atoms


def on_kernels(model, atoms):
    """work(needs, field) -> forces (n, 3); without needs that of the network without a field."""
    d, arrays = model.description, folder.from_model(model)
    last = f"readout.layers.{d.readout_depth}.weight"
    plain = {name: a for name, a in arrays.items() if name != "response_scales" and not name.startswith("field_weights")}
    plain[last] = np.ascontiguousarray(plain[last][:, :1])
    bare, runner = Kernel(d, plain), KernelRunner(None, d, arrays, 1, model.form, SCALE)
    state = state_from_atoms(atoms)
    domain, out = Domain(state, d.cutoff, skin=0.5, sort=False), Output()
    domain.refresh()
    species = np.array([d.species.index(s) for s in state.species_names], np.int32)[state.species]
    lists = domain.neighbors.full(d.cutoff)

    def work(needs, field=FIELD):
        out.reset(needs or IN_FIELD, state.n_all, 1)
        if needs:
            runner(state, domain.neighbors, species, field, needs, out)
        else:
            bare(state.positions, species, state.system, lists.offsets, lists.indices, out.forces, np.zeros(state.n), out.virial)
        domain.halo.reverse(out.forces)
        return out.forces[: state.n]
    return work


def in_torch(model, atoms):
    """The same, without the virial where there is no field."""
    d = model.description
    species = np.array([d.species.index(s) for s in atoms.get_chemical_symbols()])
    batch = graphs.join([graphs.build(atoms.positions, atoms.cell[:], atoms.pbc, species, d.cutoff)], d.cutoff)
    zero = torch.zeros(len(batch.species), 3)

    def work(needs, field=FIELD):
        if needs:
            given = torch.tensor(field, dtype=torch.float32)
            return evaluate(model, batch, given, needs - {"energy", "forces", "polarization"}).forces
        vectors = batch.vectors.detach().requires_grad_()
        (g,) = torch.autograd.grad(model(vectors, batch.species, batch.around, zero)[0].sum(), [vectors])
        return -on_atoms(g, batch.neighbours, len(batch.species))
    return work


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--form", default="full", choices=["full", "quadratic"])
    p.add_argument("--backend", default="kernel", choices=["kernel", "torch"])
    p.add_argument("--repeat", type=int, default=1)
    p.add_argument("--rounds", type=int, default=25)
    given = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    d = Description(species=["O", "Si"], cutoff=4.5, l_max=2, parity=False, layers=2, channels=16, features=48,
                    embedding_width=48, latent_width=96, readout_width=48, neighbors=29.0)
    model = DielectricModel(d, given.form, SCALE)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    atoms = quartz(given.repeat)
    work = (on_kernels if given.backend == "kernel" else in_torch)(model, atoms)
    plain, zero = np.array(work(None)), np.array(work(IN_FIELD, 0 * FIELD))
    apart = np.abs(plain - zero).max() / np.abs(plain).max()
    if not apart < 1e-5:
        raise SystemExit(f"forces at zero field differ by {apart:.1e} of the largest: no times")
    times = {name: [] for name in WORK}
    for _ in range(given.rounds):
        for name, needs in WORK.items():
            start = time.perf_counter()
            work(needs)
            times[name].append(time.perf_counter() - start)
    medians = {name: 1e3 * float(np.median(t[2:])) for name, t in times.items()}
    first = next(iter(medians.values()))
    print(f"{len(atoms)} atoms, {given.form} form, {given.backend}; forces at zero field equal to {apart:.1e}")
    for name, value in medians.items():
        print(f"{name:34s} {value:8.2f} ms {value / first:6.2f}")


if __name__ == "__main__":
    main()
