"""A training step of one local model: ours, compiled whole, beside nequip-allegro's with `compile_mode: compile`.

    python -m benchmarks.learned_training frames.xyz [--frames 2] [--threads 1] [--theirs compile|eager|none] [--keep]

Loss of energy and forces, its gradient and one Adam update on a batch of `--frames` frames (two or more: theirs runs
eagerly, silently, for one), the same hyper-parameters, interleaved in one process. The median counts. On one thread
times are of the processor, so that a busy machine disturbs them little; on several they are of the clock. Needs an
environment with nequip and nequip-allegro.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from plugins.equivariant.data import frames, store
from plugins.equivariant.description import Description
from plugins.equivariant.models import build
from plugins.equivariant.training import batches
from plugins.equivariant.training.step import Step

CUTOFF, NEIGHBORS = 4.5, 38.0


def ours(found, compiled):
    """A function that takes one step and returns the loss; the note of the step beside it."""
    species = sorted({s for f in found for s in f.symbols})
    d = Description(species=species, cutoff=CUTOFF, neighbors=NEIGHBORS)
    model = build(d)
    names, parameters = zip(*model.named_parameters())
    graphs = store.GraphStore(found, species, CUTOFF)
    mean = sum(f.energy for f in found) / sum(len(f.symbols) for f in found)
    labels = batches.Labels(found, graphs, np.full(len(species), mean), batches.Loss(), CUTOFF, torch.float32)
    rows = list(range(len(found)))
    shape = batches.shape_for(graphs, [len(f.symbols) for f in found], rows, batches.BatchSize(len(rows)), 1)
    batch = labels.batch(rows, shape)
    step, adam = Step(model, list(names), False, compiled, edges=shape.edges), torch.optim.Adam(parameters, 1e-3)

    def take():
        gradients, loss = step(list(parameters), batch)
        for p, g in zip(parameters, gradients):
            p.grad = g
        adam.step()
        return float(loss)
    return take, step


def theirs(path, found, mode):
    import ase.io
    from allegro.model import AllegroModel
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.utils.global_state import set_global_state

    set_global_state()
    species = sorted({s for f in found for s in f.symbols})
    mapper = ChemicalSpeciesToAtomTypeMapper(model_type_names=species, chemical_species_to_atom_type_map={s: s for s in species})
    neighbors = NeighborListTransform(r_max=CUTOFF)
    data = AtomicDataDict.batched_from_list([neighbors(mapper(from_ase(a))) for a in ase.io.read(path, f":{len(found)}")])
    model = AllegroModel(
        seed=1, model_dtype="float32", type_names=species, r_max=CUTOFF, avg_num_neighbors=NEIGHBORS, l_max=2, parity=True,
        num_layers=2, num_scalar_features=32, num_tensor_features=16, allegro_mlp_hidden_layers_depth=1,
        allegro_mlp_hidden_layers_width=32, scalar_embed_mlp_hidden_layers_depth=1, scalar_embed_mlp_hidden_layers_width=32,
        readout_mlp_hidden_layers_depth=1, readout_mlp_hidden_layers_width=32, per_type_energy_shifts=0.0,
        per_type_energy_scales=1.0, compile_mode=mode,
        radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8,
                               "bessel_trainable": False, "polynomial_cutoff_p": 6})
    model = next(iter(model.values())) if isinstance(model, (dict, torch.nn.ModuleDict)) else model
    model.train()
    adam = torch.optim.Adam(model.parameters(), 1e-3)
    forces, sizes = data["forces"].float(), data["num_atoms"].view(-1)
    mean = data["total_energy"].sum() / sizes.sum()
    energies = data["total_energy"].view(-1) - mean * sizes

    def take():
        adam.zero_grad()
        out = model(dict(data))
        loss = ((out["total_energy"].view(-1) - energies) / sizes).square().mean() + (out["forces"] - forces).square().mean()
        loss.backward()
        adam.step()
        return float(loss)
    return take


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--theirs", default="compile", choices=["compile", "eager", "none"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep", action="store_true", help="write the medians into the results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock, kind = (time.process_time, "processor") if arguments.threads == 1 else (time.perf_counter, "clock")
    found = frames.read(frames.Source([arguments.file], frames=f":{arguments.frames}"))
    rows = {}
    for compiled in (True, False):
        take, step = ours(found, compiled)
        take()
        rows[f"ours, {step.note}"] = take
        print(f"ours: {step.note}, ready after {time.process_time():.0f} s of processor time", flush=True)
    if arguments.theirs != "none":
        take = theirs(arguments.file, found, arguments.theirs)
        take()
        rows[f"nequip-allegro, {arguments.theirs}"] = take
        print(f"theirs ready after {time.process_time():.0f} s", flush=True)
    times = {name: [] for name in rows}
    for _ in range(arguments.repeats):
        for name, take in rows.items():
            start = clock()
            take()
            times[name].append(clock() - start)
    medians = {name: 1e3 * float(np.median(values)) for name, values in times.items()}
    first, *_ = medians.values()
    for name, value in medians.items():
        print(f"{name}: {value:.1f} ms of {kind} time a step of {arguments.frames} frames; ratio {value / first:.1f}")
    if arguments.keep:
        from benchmarks.learned_speed import keep

        what = f"training step, {arguments.frames} frames of {len(found[0].symbols)} atoms ({Path(arguments.file).stem})"
        what += ", beside " if arguments.threads == 1 else f", {arguments.threads} threads, beside "
        goals = {"nequip-allegro, compile": "8"}
        keep([{"what": what + name, "ours": first, "theirs": value, "goal": goals.get(name, ""),
               "command": "learned_training.py"} for name, value in list(medians.items())[1:]])


if __name__ == "__main__":
    main()
