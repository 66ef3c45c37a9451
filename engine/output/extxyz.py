"""Extended XYZ through ASE: frames with energy, forces and velocities that other tools read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from engine.output.file import replace_text, writing
from engine.output.writer import Writer, in_pieces


class ExtXYZWriter(Writer):
    """Appends a frame (one for each system) every so many steps; ``step`` and ``time`` (ps) are in the comment line."""

    needs = frozenset({"energy"})

    def __init__(self, every, path, writes=True):
        self.every, self.path, self.writes = every, Path(path), writes

    def write(self, simulation):
        """Where one system is spread over ranks, rank 0 holds a piece of the frame at a time."""
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.io import write as write_frame

        from engine import units
        from engine.build import COLUMNS, atoms_from_state

        energy, state = simulation.potential_energy(), simulation.state
        rows = {**{name: getattr(state, name)[: state.n] for name in COLUMNS}, "forces": simulation.quantity("forces")}
        if state.n_systems == 1:
            total, pieces = simulation.comm.sum(state.n), in_pieces(state, rows)
        else:
            gathered = simulation.comm.gather_rows(rows)
            total, pieces = None, [] if gathered is None else [(0, gathered)]
        charged = simulation.comm.any(state.charges[: state.n].any())
        for place, piece in pieces:
            if not self.writes:
                continue
            piece.setdefault("tags", np.arange(len(piece["positions"])))  # in their order already
            frames = atoms_from_state(state, rows=piece, extra=("forces",))
            for s, atoms in enumerate(frames if isinstance(frames, list) else [frames]):
                forces = atoms.arrays.pop("forces")
                if charged and not atoms.has("initial_charges"):
                    atoms.set_initial_charges(np.zeros(len(atoms)))
                atoms.calc = SinglePointCalculator(atoms, energy=float(energy[s]), forces=forces)
                atoms.info.update(step=state.step, time=state.time / units.fs / 1000, system=s)
                text = io.StringIO()
                write_frame(text, atoms, format="extxyz", parallel=False)  # else ASE has all ranks do it
                _, comment, body = text.getvalue().split("\n", 2)
                with writing(self.path), open(self.path, "a") as file:
                    if place == 0:
                        file.write(f"{total or len(atoms)}\n{comment}\n")
                    file.write(body)

    def truncate(self, step):
        """Keep whole frames up to `step`."""
        if not self.path.exists():
            return
        lines = self.path.read_text().splitlines(keepends=True)
        kept, k = [], 0
        while k < len(lines):
            count = int(lines[k]) + 2
            frame = lines[k : k + count]
            if len(frame) < count or f" step={step_of(frame[1])} " not in frame[1] + " " or step_of(frame[1]) > step:
                break
            kept += frame
            k += count
        replace_text(self.path, "".join(kept))


def step_of(comment):
    """The step in an extended XYZ comment line."""
    return int(next(word for word in comment.split() if word.startswith("step="))[5:])
