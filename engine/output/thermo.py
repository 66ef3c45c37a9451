"""The thermo table: rows on the screen, in a text file and in the HDF5 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.errors import InputError
from engine.output.columns import choose
from engine.output.file import replace_text, writing
from engine.output.writer import Writer


class ThermoTable(Writer):
    """Writes the chosen columns every so many steps; with several systems the text shows their mean.

    file : ``engine.output.file.RunFile`` or None;  text : path or None;  show : called with each line
    """

    GROUP = "thermo"

    def __init__(self, every, columns=None, file=None, text=None, show=None, writes=True):
        self.every, self.names, self.file, self.show, self.writes = every, columns, file, show, writes
        self.text = Path(text) if text else None

    def start(self, simulation):
        self.columns = choose(self.names, simulation)
        self.needs = frozenset().union(*(c.needs for c in self.columns))
        missing = self.needs - simulation.forces.provides
        if not simulation.state.periodic.all() and any(c.periodic for c in self.columns):
            names = [c.name for c in self.columns if c.periodic]
            raise InputError(f"output.columns: {', '.join(names)} cannot be shown: there is no volume where a direction is open")
        if missing:
            names = [c.name for c in self.columns if c.needs & missing]
            raise InputError(f"output.columns: {', '.join(names)} cannot be shown: "
                             f"the potentials provide no {', '.join(missing)}")
        if self.show:
            self.show(self.header())

    def header(self):
        titles = "".join(f"{c.name + (f' [{c.unit}]' if c.unit else ''):>{self.width(c)}}" for c in self.columns)
        return titles

    def width(self, c):
        return max(c.width, len(c.name) + len(c.unit) + 5 if c.unit else c.width)

    def write(self, simulation):
        simulation.check_sane()
        values = [c.value(simulation) for c in self.columns]
        if not self.writes:
            return
        line = "".join(f"{self.number(c, v):>{self.width(c)}}" for c, v in zip(self.columns, values))
        if self.show:
            self.show(line)
        if self.text:
            new = not self.text.exists()
            with writing(self.text), open(self.text, "a") as out:
                if new:
                    out.write("#" + self.header()[1:] + "\n")
                out.write(line + "\n")
        if self.file:
            for c, v in zip(self.columns, values):
                v = np.asarray(v)
                self.file.append(f"{self.GROUP}/{c.name}", v[0] if v.shape == (1,) else v, unit=c.unit)
            self.file.flush()

    @staticmethod
    def number(c, value):
        value = np.mean(value)
        return f"{int(value):d}" if c.format == "d" else f"{value:{c.format}}"

    def truncate(self, step):
        """Forget rows after `step` (a run that goes on from an older checkpoint)."""
        if self.file:
            self.file.truncate(self.GROUP, step)
        if self.text and self.text.exists():
            lines = self.text.read_text().splitlines(keepends=True)
            kept = [line for line in lines if line.startswith("#") or (line.endswith("\n") and int(line.split()[0]) <= step)]
            replace_text(self.text, "".join(kept))
