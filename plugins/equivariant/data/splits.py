"""Which frames train, which validate, which test: by frame, by block of a trajectory, or by what frames have in common.

Consecutive frames of a trajectory resemble one another, and a split by frame flatters; the others do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from engine.errors import InputError
from plugins.equivariant.data.frames import Frame

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass
class Split:
    """by : "frame", "block" (runs of `block` consecutive frames), "composition", "temperature" or "group" (frames with the
    same value of `key`, something that is written beside them; of "temperature" that is its name, unless `key` gives another);
    validation, test : fractions of the frames; seed : of the shuffle; train : at most so many frames to train on
    """

    by: Literal["frame", "block", "composition", "temperature", "group"] = "block"
    validation: Share = 0.1
    test: Share = 0.1
    block: PositiveInt = 10
    key: str | None = None
    seed: NonNegativeInt = 0
    train: PositiveInt | None = None


def split(frames: Sequence[Frame], how: Split) -> dict[str, np.ndarray]:
    """{"train", "validation", "test"}: rows of `frames`, ascending; whole units only, so fractions are approximate."""
    n = len(frames)
    if not 0 <= how.validation < 1 or not 0 <= how.test < 1 or how.validation + how.test >= 1:
        raise InputError(f"split: validation = {how.validation} and test = {how.test} must leave something to train on")
    if how.by == "frame":
        unit = list(range(n))
    elif how.by == "block":
        unit = [k // how.block for k in range(n)]
    elif how.by == "composition":
        known: dict[str, str] = {}  # one string for each composition, however many frames have it
        unit = [known.setdefault(key, key) for key in ("".join(sorted(f.symbols)) for f in frames)]
    else:
        unit, key = [], how.key or ("temperature" if how.by == "temperature" else None)
        for f in frames:
            if key not in f.info:
                have = ", ".join(sorted({k for f in frames for k in f.info}))
                raise InputError(f"split by {how.by}: key = {key!r} is not in every frame; they have: {have or 'nothing'}")
            unit.append(str(f.info[key]))
    names = sorted(set(unit), key=str)
    order = np.random.Generator(np.random.Philox(how.seed)).permutation(len(names))
    members = {name: [] for name in names}
    for row, name in enumerate(unit):
        members[name].append(row)
    out, wanted = {"test": [], "validation": [], "train": []}, {"test": how.test * n, "validation": how.validation * n}
    for position, k in enumerate(order):
        rows = members[names[k]]
        last = position == len(order) - 1 and not out["train"]
        part = next((p for p in ("test", "validation") if len(out[p]) + len(rows) / 2 <= wanted[p] and not last), "train")
        out[part] += rows
    for part in ("test", "validation"):
        if wanted[part] and not out[part]:
            raise InputError(f"split by {how.by}: {len(names)} unit(s) are too few for a {part} set of {wanted[part] / n:.2g}")
    if how.train is not None:
        shuffled = np.random.Generator(np.random.Philox([how.seed, 1])).permutation(out["train"])
        out["train"] = list(shuffled[:how.train])
    return {part: np.sort(np.array(rows, int)) for part, rows in out.items()}
