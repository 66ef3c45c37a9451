"""``engine train``, ``engine convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    if len(given.stage) != 1 or given.stage[0].get("kind") != "train":
        raise InputError(f"{input}: `engine train` takes a file with one [[stage]] of kind = \"train\"")
    stage = stages.make(given.stage[0], 0, str(Path(input).resolve().parent))
    share_cores(Serial(), given.run.threads)
    if check:
        report = stage.check()
        print(report)
        report.require()
    else:
        stage.train(force, resume, quiet)


def convert(
    checkpoint: Annotated[str, typer.Argument(help="a checkpoint of nequip-allegro (.ckpt)")],
    folder: Annotated[str, typer.Argument(help="where the model goes")],
    trust: Annotated[bool, typer.Option("--trust", help="the file is a pickle: reading it runs code from it")] = False,
    python: Annotated[str, typer.Option("--python", help="an interpreter that has nequip and nequip-allegro")] = "",
):
    """Convert a foreign checkpoint into a model folder."""
    from plugins.equivariant.convert import convert as work

    d = work(checkpoint, folder, trust, python or None)
    print(f"{folder}: a local model of {', '.join(d.species)}, cutoff {d.cutoff} Å, l_max {d.l_max}, {d.layers} layers")
