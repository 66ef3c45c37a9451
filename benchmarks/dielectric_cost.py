"""What a field costs with a learned enthalpy: one MD evaluation in a field, and responses, against the zero-field forces of
the same network.

    python benchmarks/dielectric_cost.py [--form quadratic|full] [--repeat 2]

The work is the torch model's own (no neighbor search), in one thread, the median of interleaved rounds; forces of both
evaluations are compared first.
"""

import argparse
import json
import time

import numpy as np
import torch

from plugins.dielectric.derivatives import evaluate, on_atoms
from plugins.dielectric.model import DielectricModel
from plugins.equivariant import graphs
from plugins.equivariant.description import Description


def quartz(repeat):
    from ase.build import make_supercell
    from ase.spacegroup import crystal

    cell = crystal(["Si", "O"], [(0.4697, 0, 2 / 3), (0.4135, 0.2669, 0.7858)], spacegroup=154,
                   cellpar=[4.9853, 4.9853, 5.47853, 90, 90, 120])
    atoms = make_supercell(cell, [[2, 0, 0], [1, 2, 0], [0, 0, 2]]).repeat(repeat)
    atoms.rattle(0.05, seed=1)
    return atoms


def forces_only(model, batch, zero):
    """Energy and forces without anything of the field but its zero."""
    vectors = batch.vectors.detach().requires_grad_()
    (g,) = torch.autograd.grad(model(vectors, batch.species, batch.around, zero)[0].sum(), [vectors])
    return -on_atoms(g, batch.neighbours, len(batch.species))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--form", default="quadratic", choices=["quadratic", "full"])
    p.add_argument("--repeat", type=int, default=2)
    p.add_argument("--rounds", type=int, default=15)
    given = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    d = Description(species=["O", "Si"], cutoff=4.5, l_max=2, parity=False, layers=2, channels=8, features=32, embedding_width=32,
                    latent_width=64, readout_width=32, neighbors=29.0)
    model = DielectricModel(d, given.form, 0.1)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    atoms = quartz((given.repeat, 1, 1))
    species = np.array([d.species.index(s) for s in atoms.get_chemical_symbols()])
    batch = graphs.join([graphs.build(atoms.positions, atoms.cell[:], atoms.pbc, species, d.cutoff)], d.cutoff)
    zero, field = torch.zeros(len(batch.species), 3), torch.tensor([[0.01, 0.0, 0.03]])
    plain = forces_only(model, batch, zero)
    assert torch.allclose(plain, evaluate(model, batch, torch.zeros(1, 3)).forces, atol=1e-5 * float(plain.abs().max()))
    work = {
        "zero-field forces": lambda: forces_only(model, batch, zero),
        "MD step in a field (forces, virial, P)": lambda: evaluate(model, batch, field, frozenset({"virial"})),
        "and the polarizability": lambda: evaluate(model, batch, field, frozenset({"virial", "polarizability"})),
        "and all Born charges": lambda: evaluate(model, batch, field, frozenset({"virial", "polarizability", "born_charges"})),
    }
    times = {name: [] for name in work}
    for _ in range(given.rounds):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    median = {name: float(np.median(t[2:])) for name, t in times.items()}
    first = median["zero-field forces"]
    print(json.dumps({"atoms": len(atoms), "form": given.form,
                      "ms": {k: round(1e3 * v, 2) for k, v in median.items()},
                      "ratio": {k: round(v / first, 2) for k, v in median.items()}}, indent=1))


if __name__ == "__main__":
    main()
