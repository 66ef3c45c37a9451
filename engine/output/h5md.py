"""H5MD 1.1 trajectories (de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014)), as readers want them.

The group is called ``trajectory``, units are those that MDAnalysis knows, box edges and species have a step and a time.
Atoms are in the order of their tags.
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.contracts import Hook
from engine.errors import InputError

GROUP = "particles/trajectory"
KJ_PER_MOL = 96.48533212331002  # of one eV
PS = 1 / units.fs / 1000


class H5MDWriter(Hook):
    """Appends a frame every so many steps. Lengths in Å, times in ps, velocities in Å/ps, forces in kJ/(mol Å)."""

    def __init__(self, every, file, fields=("velocities", "images")):
        self.every, self.file, self.fields = every, file, tuple(fields)

    def start(self, simulation):
        if simulation.state.n_systems > 1:
            raise InputError("an H5MD trajectory holds one system; with several, use output.trajectory = false or an .xyz file")

    def act(self, simulation):
        state = simulation.state
        names = ["tags", "positions", "species", *(["velocities"] if "velocities" in self.fields else []),
                 *(["images"] if "images" in self.fields else [])]
        rows = {name: getattr(state, name)[: state.n] for name in names}
        if "forces" in self.fields:
            rows["forces"] = simulation.forces.total("forces")
        rows = simulation.comm.gather_rows(rows)
        if rows is None or self.file is None:
            return
        order = np.argsort(rows["tags"], kind="stable")
        self._frame(state, {name: value[order] for name, value in rows.items()})
        self.file.flush()

    def _frame(self, state, rows):
        step, time = state.step, state.time * PS
        file = self.file
        if f"{GROUP}/box" not in file.file:
            box = file.file.require_group(f"{GROUP}/box")
            box.attrs["dimension"] = 3
            box.attrs["boundary"] = [b"periodic" if p else b"none" for p in state.periodic]
            names = file.file.require_group("parameters")
            names.attrs["species_names"] = np.array(state.species_names, dtype="S")
        cell = np.where(state.open_vectors[:, None], 0.0, state.cells[0])
        self._element("position", rows["positions"], "Angstrom", step, time)
        self._element("box/edges", cell, "Angstrom", step, time)
        self._element("species", _numbers(state.species_names)[rows["species"]], None, step, time, compress=True)
        if "velocities" in rows:
            self._element("velocity", rows["velocities"] * units.fs * 1000, "Angstrom ps-1", step, time)
        if "forces" in rows:
            self._element("force", rows["forces"] * KJ_PER_MOL, "kJ mol-1 Angstrom-1", step, time)
        if "images" in rows:
            self._element("image", rows["images"], None, step, time, compress=True)
        file.append(f"{GROUP}/step", step)

    def _element(self, name, value, unit, step, time, compress=False):
        self.file.append(f"{GROUP}/{name}/value", value, unit=unit, compress=compress)
        self.file.append(f"{GROUP}/{name}/step", step)
        self.file.append(f"{GROUP}/{name}/time", time, unit="ps")

    def truncate(self, step):
        if self.file:
            self.file.truncate(GROUP, step)


def _numbers(names):
    """Atomic numbers where the names are elements, else 1-based type numbers."""
    from ase.data import atomic_numbers

    return np.array([atomic_numbers.get(name, k + 1) for k, name in enumerate(names)], np.int32)
