"""``engine train``, ``engine convert``, ``engine compile``, ``engine relax``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TRAININGS = "train", "train-dielectric"


def train(
    input: Annotated[str, typer.Argument(help="a file whose only stage is `train` (TOML)")],
    force: Annotated[bool, typer.Option("--force", help="start over, replacing what is in the folder")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the folder's checkpoint, bit for bit")] = False,
    check: Annotated[bool, typer.Option("--check", help="only look at the data")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but errors")] = False,
):
    """Train a potential; torchrun starts it on several processes."""
    from engine import stages
    from engine.config import input as config
    from engine.errors import InputError
    from engine.parallel import Serial, share_cores

    given, _ = config.read(input)
    if len(given.stage) != 1 or given.stage[0].get("kind") not in TRAININGS:
        raise InputError(f"{input}: `engine train` takes a file with one [[stage]] of kind = {' or '.join(TRAININGS)}")
    stage = stages.make(given.stage[0], 0, str(Path(input).resolve().parent))
    share_cores(Serial(), given.run.threads)
    if check:
        report = stage.check()
        print(report)
        report.require()
    else:
        stage.train(force, resume, quiet)


def convert(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint of nequip or nequip-allegro (.ckpt)")],
    folder: Annotated[str, typer.Argument(help="where the model goes")],
    trust: Annotated[bool, typer.Option("--trust", help="the file is a pickle: reading it runs code from it")] = False,
    python: Annotated[str, typer.Option("--python", help="an interpreter that has nequip (and nequip-allegro)")] = "",
    force: Annotated[bool, typer.Option("--force", help="replace the model that is in the folder")] = False,
):
    """Convert a foreign checkpoint into a model folder."""
    from plugins.equivariant.convert import convert as work

    d = work(checkpoint, folder, trust, python or None, force)
    print(f"{folder}: a {d.architecture} model of {', '.join(d.species)}, cutoff {d.cutoff} Å, l_max {d.l_max}, "
          f"{d.layers} layers")


def compile(
    folder: Annotated[str, typer.Argument(help="a trained model")],
    output: Annotated[str, typer.Option("--output", help="write the package there instead of into the cache")] = "",
    device: Annotated[str, typer.Option("--device", help="cpu or cuda")] = "cpu",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="threads that native code is made for, by default those "
                                                "of a run of one process; 1 for ranks of one core each")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace the package that is there")] = False,
):
    """Compile a model for this machine: the Numba kernel of a local model, and torch's native code."""
    from engine.errors import InputError
    from engine.parallel import Serial, share_cores
    from plugins.equivariant import folder as folders

    d, arrays = folders.load(folder)
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {device}; allowed: cpu, cuda")
    on_cpu = device == "cpu"
    if d.architecture != "local" or output or not on_cpu:
        try:
            from plugins.equivariant import ahead
        except ImportError:
            raise InputError("native code is made by torch: pip install engine-md[learned]") from None
        threads = share_cores(Serial(), threads)
        made = ahead.compile_folder(folder, output or None, print, force, device)
        print(f"{folder}: {made}, for {f'{threads} thread' + 's' * (threads > 1) if on_cpu else device}")
    if d.architecture == "local" and on_cpu:
        from plugins.equivariant.kernel.run import Kernel

        Kernel(d, arrays)
        print(f"{folder}: the kernel that runs on a CPU is compiled and cached")


def relax(
    structures: Annotated[list[str], typer.Argument(help="structure files; all their frames")],
    model: Annotated[str, typer.Option("--model", help="a trained model")],
    output: Annotated[str, typer.Option("--output", help="extended XYZ file of the relaxed structures")] = "relaxed.xyz",
    force: Annotated[float, typer.Option("--force", help="largest force on an atom, eV/Å")] = 0.01,
    cell: Annotated[str, typer.Option("--cell", help="isotropic, anisotropic or flexible: let the cells move as well")] = "",
    steps: Annotated[int, typer.Option("--steps", help="the most")] = 500,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output")] = False,
):
    """Relax many structures together, in one batch of systems."""
    from plugins.equivariant.screening import relax_files

    for line in relax_files(structures, model, output, force, cell or None, steps, overwrite):
        print(line)
