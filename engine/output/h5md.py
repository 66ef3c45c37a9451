"""H5MD 1.1 trajectories (de Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014)), as readers want them.

The group is called ``trajectory``, units are those that MDAnalysis knows, box edges and species have a step and a time.
Atoms are in the order of their tags.
"""

from __future__ import annotations

import numpy as np

from engine import units
from engine.errors import InputError
from engine.output.writer import PIECE, Writer, in_pieces

GROUP = "particles/trajectory"
KJ_PER_MOL = 96.48533212331002  # of one eV
PS = 1 / units.fs / 1000


#: attribute -> its element in the file, its unit there, and how values become it; integers are compressed
ELEMENTS = {
    "positions": ("position", "Angstrom", lambda x, state: x),
    "species": ("species", None, lambda x, state: _numbers(state.species_names)[x]),
    "velocities": ("velocity", "Angstrom ps-1", lambda x, state: x * (units.fs * 1000)),
    "forces": ("force", "kJ mol-1 Angstrom-1", lambda x, state: x * KJ_PER_MOL),
    "images": ("image", None, lambda x, state: x),
}


class H5MDWriter(Writer):
    """Appends a frame every so many steps. Lengths in Å, times in ps, velocities in Å/ps, forces in kJ/(mol Å)."""

    def __init__(self, every, file, fields=("velocities", "images")):
        self.every, self.file, self.fields = every, file, tuple(fields)

    def start(self, simulation):
        if simulation.state.n_systems > 1:
            raise InputError("an H5MD trajectory holds one system; with several, use output.trajectory = false or an .xyz file")

    def write(self, simulation):
        state, file = simulation.state, self.file
        names = ["positions", "species", *(name for name in ("velocities", "images") if name in self.fields)]
        arrays = {name: getattr(state, name)[: state.n] for name in names}
        if "forces" in self.fields:
            arrays["forces"] = simulation.forces.total("forces")
        atoms = simulation.comm.sum(state.n)
        if file is not None:
            self._begin(state, {name: (atoms, *array.shape[1:]) for name, array in arrays.items()})
        for place, rows in in_pieces(state, arrays):
            for name, values in rows.items():
                where, _, convert = ELEMENTS[name]
                file.fill(f"{GROUP}/{where}/value", place, convert(values, state))
        if file is not None:
            file.append(f"{GROUP}/step", state.step)
            file.flush()

    def _begin(self, state, shapes):
        """Room for a frame, with its step and time."""
        step, time, file = state.step, state.time * PS, self.file
        if f"{GROUP}/box" not in file.file:
            box = file.file.require_group(f"{GROUP}/box")
            box.attrs["dimension"] = 3
            box.attrs["boundary"] = [b"periodic" if p else b"none" for p in state.periodic]
            names = file.file.require_group("parameters")
            names.attrs["species_names"] = np.array(state.species_names, dtype="S")
        file.append(f"{GROUP}/box/edges/value", np.where(state.open_vectors[:, None], 0.0, state.cells[0]), unit="Angstrom")
        for name, shape in shapes.items():
            where, unit, _ = ELEMENTS[name]
            whole = state.table[name].dtype if name in ("species", "images") else None
            file.grow(f"{GROUP}/{where}/value", shape, whole or np.float64, unit, compress=whole is not None, piece=PIECE)
        for where in ("box/edges", *(ELEMENTS[name][0] for name in shapes)):
            file.append(f"{GROUP}/{where}/step", step)
            file.append(f"{GROUP}/{where}/time", time, unit="ps")

    def truncate(self, step):
        if self.file:
            self.file.truncate(GROUP, step)


def _numbers(names):
    """Atomic numbers where the names are elements, else 1-based type numbers."""
    from ase.data import atomic_numbers

    return np.array([atomic_numbers.get(name, k + 1) for k, name in enumerate(names)], np.int32)
