"""The hook that writes what a Gaussian does into the run's HDF5 file, group ``gaussian``.

Rows every `every` steps: energies, <𝒫>, both stresses, centroid and variances along the modes, their energies and
occupations; every `full` steps also R, P, A, B, G whole. `read` gives them by name.
"""

from dataclasses import dataclass, field

import h5py
import numpy as np

from engine import units
from engine.config.quantities import InputFile
from engine.contracts import Hook
from engine.errors import InputError
from integrators.gaussian.lattice import Lattice
from integrators.gaussian.observables import Modes, published_stress, stress, structure_factor

GROUP = "gaussian"
FULL = "gaussian_full"
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


#: rows of the dataset ``modes`` (time, row, mode), with units, and of ``energies`` and ``stresses``
MODES = {"R": "Å u^1/2", "P": "eV^1/2", "A": "u Å^2", "B": "eV", "G": "Å (u eV)^1/2", "energy_centroid": "eV",
         "energy_fluctuation": "eV", "occupation": "", "power": "eV/fs"}
ENERGIES = ("potential", "kinetic", "conserved")
STRESSES = ("stress", "stress_published")


def unpack(rows):
    """The datasets of the group with their rows under names of their own."""
    out = dict(rows)
    for pack, names in (("modes", MODES), ("energies", ENERGIES), ("stresses", STRESSES)):
        if pack in out:
            values = out.pop(pack)
            out |= {name: values[:, k] for k, name in enumerate(names)}
    return out


def read(path):
    """{name: (time, ...)} of a run's file: step, time (fs), potential, kinetic, conserved (eV), the names of `MODES`,
    polarization (e·Å), field (V/Å), stress, stress_published (GPa), scattering (time, Bragg and diffuse, wave vector), and
    `frequencies` (cm⁻¹)."""
    with h5py.File(path) as f:
        if GROUP not in f:
            raise InputError(f"{path} has no group '{GROUP}': give the run a [[hook]] of kind 'gaussian'")
        out = unpack({name: data[()] for name, data in f[GROUP].items()})
        return out | {"frequencies": f[f"{GROUP}_frequencies"][()]}


@dataclass
class GaussianRecorder(Hook):
    """modes : lattice file whose phonons are projected on; by default those of the TD-SCHA's own start
    stress : write both definitions of the stress (needs the virial)
    scattering : wave vectors in units of the cell's reciprocal vectors (whole numbers) at which Bragg and diffuse X-ray
        intensities are written (form factors: atomic numbers)
    full : steps between whole states, 0 for none"""

    every: int = 1
    modes: InputFile | None = None
    stress: bool = True
    scattering: list[tuple[float, float, float]] = field(default_factory=list)
    full: int = 0
    file: object = None

    def __post_init__(self):
        self._modes = None

    def start(self, simulation):
        provided = simulation.forces.provides
        self._polarized = "polarization" in provided
        needs = {"energy"} | ({"polarization"} if self._polarized else set())
        if self.stress and "virial" in provided and simulation.state.periodic.all():
            needs |= {"virial"}
        elif self.stress:
            raise InputError("hook 'gaussian': the potentials give no virial; say stress = false")
        self.needs = frozenset(needs)

    def _on(self, integrator):
        """The modes, from the coordinates' own axes (the phonons that the run began with) or from the file."""
        if self._modes is None:
            c = integrator.coordinates
            if self.modes is not None:
                self._modes = Modes.of(c, Lattice.load(self.modes))
            else:
                self._modes = Modes(np.eye(c.size), integrator.omega, np.zeros(c.size))
        return self._modes

    @staticmethod
    def _electrons(integrator):
        from ase.data import atomic_numbers

        return np.array([atomic_numbers.get(s, 1) for s in integrator.ensemble.species()], float)

    def act(self, simulation):
        integrator, state = simulation.integrator, simulation.state
        if getattr(integrator, "gaussian", None) is None:
            return
        g = integrator.gaussian
        average = integrator.present(simulation)
        modes = self._on(integrator)
        rows = {"step": (state.step, None), "time": (state.time / units.fs, "fs")}
        work = float(np.mean(simulation.account.entries.get("field", 0.0)))
        rows["energies"] = ((average.energy, g.kinetic(), average.energy + g.kinetic() - work), "eV")
        r, p = modes.centroid(g)
        a, b, gg = modes.variances(g)
        coherent, fluctuating = modes.mode_energies(g)
        power = modes.mode_power(g, average.force, average.curvature) * units.fs
        rows["modes"] = (np.stack([r, p, a, b, gg, coherent, fluctuating, modes.occupations(g), power]), None)
        if self._polarized:
            rows["polarization"] = (simulation.quantity("polarization").mean(0), "e Å")
            if simulation.forces.inputs.field is not None:
                rows["field"] = (simulation.forces.inputs.field[0], "V/Å")
        if self.stress:
            W, V = integrator.mean_virial(simulation), float(state.volume[0])
            both = stress(g, integrator.coordinates, W, V), published_stress(W, integrator.force_displacement(simulation), V)
            rows["stresses"] = (np.stack(both) / units.GPa, "GPa")
        if self.scattering:
            Q = 2 * np.pi * np.array(self.scattering) @ np.linalg.inv(state.cells[0]).T
            rows["scattering"] = (np.stack(structure_factor(g, integrator.coordinates, Q, self._electrons(integrator))), None)
        if self.file is None:
            return
        for name, (value, unit) in rows.items():
            self.file.append(f"{GROUP}/{name}", value, unit=unit)
        if f"{GROUP}_frequencies" not in self.file.file:
            self.file.file[f"{GROUP}_frequencies"] = modes.omega * units.per_cm
            self.file.file[f"{GROUP}/modes"].attrs["rows"] = [f"{name} [{unit}]" for name, unit in MODES.items()]
            self.file.file[f"{GROUP}/energies"].attrs["rows"] = list(ENERGIES)
        if self.full and state.step % self.full == 0:
            for name, value in g.state_dict().items():
                self.file.append(f"{FULL}/{name}", value)
            self.file.append(f"{FULL}/step", state.step)
        self.file.flush()

    def finish(self, simulation):
        """Time series for ``engine plot`` under ``observers/gaussian``: the eight modes that move most, and the sums."""
        if self.file is None or GROUP not in self.file.file or len(self.file.file[GROUP]["step"]) < 2:
            return
        g = unpack({name: data[()] for name, data in self.file.file[GROUP].items()})
        put = lambda name, values, unit, labels: self.file.put(
            f"observers/{GROUP}/{name}", np.atleast_2d(np.asarray(values).T), unit=unit, axis="time", labels=list(labels))
        self.file.put(f"observers/{GROUP}/time", g["time"], unit="fs", axis="", labels=[])
        gained = 1000 * (g["energy_centroid"] + g["energy_fluctuation"])
        gained = gained - gained[0]
        most = np.sort(np.argsort(-np.abs(gained).max(0))[:8])
        names = [f"{w:.0f} 1/cm" for w in self.file.file[f"{GROUP}_frequencies"][()][most]]
        put("energy_gained", gained[:, most], "meV", names)
        total = g["potential"] + g["kinetic"]
        changes = np.stack([total - total[0], g["conserved"] - g["conserved"][0]], 1)
        put("energy", 1000 * changes, "meV", ["with the field", "conserved"])
        if "polarization" in g:
            put("polarization", g["polarization"], "e Å", "xyz")
        if "stress" in g:
            for name in ("stress", "stress_published"):
                put(name, np.stack([g[name][:, a, b] for a, b in VOIGT], 1), "GPa", ["xx", "yy", "zz", "yz", "xz", "xy"])

    def truncate(self, step):
        if self.file is not None:
            self.file.truncate(GROUP, step)
            self.file.truncate(FULL, step)
