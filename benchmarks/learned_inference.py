"""Inference of one model beside nequip's ahead-of-time compiled one of the same weights: of a local model (Allegro) our
generated kernel, of message passing (NequIP) our ahead-of-time torch, in segments.

    nequip-compile model.ckpt model.nequip.pt2 --device cpu --mode aotinductor --target ase
    engine convert model.ckpt model/ --trust
    taskset -c 0 python -m benchmarks.learned_inference model/ --theirs model.nequip.pt2 [--atoms N ...] [--torch] [--keep NAME]

Energy and forces from positions and a ready neighbor list (theirs of the cutoff, ours with the skin of a run), interleaved;
medians; with `--torch` also our own torch, eager and, of a local model, ahead of time. No time is printed where forces differ by
more than `--tolerance`. Needs the extra `bench`, in an environment that has nequip and nequip-allegro.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase.build import bulk

from engine.build import state_from_atoms
from engine.domain.domain import Domain
from plugins.equivariant import folder
from plugins.equivariant.kernel.run import Kernel

CRYSTALS = {192: (4, 4, 3), 1536: (8, 8, 6), 12000: (15, 20, 10)}


def ours(path, atoms, threads, torch_too):
    """{what: a function of no arguments that returns forces}, the first being what a run takes, and the number of edges."""
    d, arrays = folder.load(path)
    state = state_from_atoms(atoms)
    domain = Domain(state, d.cutoff, skin=0.5, sort=False)
    domain.refresh()
    lists = domain.neighbors.full(d.cutoff)
    species = np.zeros(state.n_all, np.int32)
    edges = len(domain.neighbors.edges(d.cutoff).centre)
    found, arguments = {}, (path, d, arrays, threads, state, domain, species)
    if d.architecture == "local":
        kernel = Kernel(d, arrays, threads)

        def call():
            forces, energy = np.zeros((state.n_all, 3)), np.zeros(state.n)
            kernel(state.positions, species, state.system, lists.offsets, lists.indices, forces, energy)
            domain.halo.reverse(forces)
            return forces[: state.n]
        found["ours"] = call
    if torch_too or not found:
        found["ours, ahead-of-time torch" if found else "ours"] = in_torch(*arguments, True)
    if torch_too:
        found["ours, eager torch"] = in_torch(*arguments, False)
    return found, edges


def in_torch(path, d, arrays, threads, state, domain, species, compiled):
    """The same through torch."""
    import torch

    from plugins.equivariant import ahead
    from plugins.equivariant.torch_runner import TorchRunner

    torch.set_num_threads(threads)
    packages = ahead.load_packages(ahead.compile_folder(path, say=print), d, arrays) if compiled else None
    runner = TorchRunner(folder.to_model(path), packages=packages)

    def call():
        forces = np.zeros((state.n_all, 3))
        runner(state, domain.neighbors, domain.halo, species, forces)
        domain.halo.reverse(forces)
        return forces[: state.n]
    return call


def theirs(path, atoms):
    from nequip.integrations.ase import NequIPCalculator

    calculator = NequIPCalculator.from_compiled_model(path, device="cpu")
    data = calculator.atoms_to_data(atoms)
    return lambda: calculator.call_model(dict(data))["forces"].detach().numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--theirs")
    parser.add_argument("--atoms", type=int, nargs="+", default=[192, 1536])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--keep", metavar="NAME", help="write the medians into the results, as this model's")
    arguments = parser.parse_args()
    kept = []
    for count in arguments.atoms:
        atoms = bulk("Cu", cubic=True) * CRYSTALS[count]
        atoms.rattle(0.1, seed=0)
        rows, edges = ours(arguments.model, atoms, arguments.threads, arguments.torch)
        if arguments.theirs:
            rows["theirs, compiled"] = theirs(arguments.theirs, atoms)
        reference, *others = [call() for call in rows.values()]
        difference = max([np.abs(other - reference).max() for other in others], default=0.0)
        print(f"{count} atoms: forces differ by at most {difference:.1e} eV/Å")
        if not difference < arguments.tolerance:
            raise SystemExit("forces differ: no times")
        times = {name: [] for name in rows}
        for _ in range(arguments.repeats):
            for name, function in rows.items():
                function()
                start = time.perf_counter()
                function()
                times[name].append(time.perf_counter() - start)
        medians = {name: 1e3 * float(np.median(values)) for name, values in times.items()}
        for name, values in times.items():
            print(f"{count} atoms, {edges} edges: {name}: {medians[name]:.2f} ms (min {1e3 * min(values):.2f}); "
                  f"ratio {medians[name] / medians['ours']:.2f}", flush=True)
        goal = "2" if folder.load(arguments.model)[0].architecture == "message-passing" else "20, wide 5"
        for suffix, mine, beside, asked in (("", "ours", "theirs, compiled", goal),
                                            (", our ahead-of-time torch", "ours, ahead-of-time torch", "theirs, compiled", "8"),
                                            (", beside ours, eager", "ours", "ours, eager torch", "")):
            if mine in medians and beside in medians:
                kept.append({"what": f"forces, {arguments.keep}, {count} atoms{suffix}", "ours": medians[mine],
                             "theirs": medians[beside], "goal": asked, "command": "learned_inference.py"})
    if arguments.keep:
        from benchmarks.learned_speed import keep

        keep(kept)


if __name__ == "__main__":
    main()
