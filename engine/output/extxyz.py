"""Extended XYZ through ASE: frames with energy, forces and velocities that other tools read."""

from __future__ import annotations

from pathlib import Path

from engine.output.file import replace_text, writing
from engine.output.writer import Writer


class ExtXYZWriter(Writer):
    """Appends a frame (one for each system) every so many steps; ``step`` and ``time`` (ps) are in the comment line."""

    needs = frozenset({"energy"})

    def __init__(self, every, path, writes=True):
        self.every, self.path, self.writes = every, Path(path), writes

    def write(self, simulation):
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.io import write as write_frame

        from engine import units

        energy = simulation.potential_energy()
        frames = simulation.atoms(forces=True)
        if frames is None or not self.writes:
            return
        for s, atoms in enumerate(frames if isinstance(frames, list) else [frames]):
            forces = atoms.arrays.pop("forces")
            atoms.calc = SinglePointCalculator(atoms, energy=float(energy[s]), forces=forces)
            atoms.info.update(step=simulation.state.step, time=simulation.state.time / units.fs / 1000, system=s)
            with writing(self.path):
                write_frame(self.path, atoms, format="extxyz", append=True)

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
