"""A run told apart by vibrations: the power spectrum and the energy of each phonon of a relaxed crystal.

    q̇_ν(t) = Σ_i √m_i e_iν·v_i(t)          S_ν(ω) = ∫ <q̇_ν(0) q̇_ν(t)> e^{iωt} dt,   <q̇_ν²>/2 = ∫_0^∞ S_ν dω/2π

In equilibrium each mode has kT/2 of kinetic energy; anharmonicity shifts its line from the harmonic frequency, and a pulse
leaves more in some than in others. Modes that are mixed by symmetry or heat have several lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.config.quantities import InputFile
from engine.errors import InputError
from plugins.analysis.observer import Series, per_system
from plugins.dielectric.modes import Modes
from plugins.dielectric.spectra import Spectrum, wavenumbers

STRAIN, FAR = 0.1, 1.5  # that cell vectors may differ by (of themselves), and atoms (Å), from those of the modes


@dataclass(kw_only=True)
class ModeSpectrum(Spectrum):
    """modes : file that a stage of ``kind = "modes"`` wrote, its atoms in the order of the run's
    select : numbers of the modes, from 0; by default all that are no translation"""

    modes: InputFile
    select: list[int] | None = None

    kind = "mode-spectrum"

    def start(self, simulation):
        super().start(simulation)
        later = self.stages and min(self.stages) > simulation.stage
        if not (later and Path(self.modes).resolve() in simulation.to_come):  # else it is read when it is there
            self._load(simulation)

    def _load(self, simulation):
        found = Modes.load(self.modes)
        self._compare(simulation, found)
        count = len(found.frequencies)
        self.chosen = found.moving() if self.select is None else np.array(self.select, int)
        if not ((self.chosen >= 0) & (self.chosen < count)).all():
            raise InputError(f"hook 'mode-spectrum': select = {self.select} must be numbers from 0 to {count - 1}")
        self.frequencies = found.frequencies[self.chosen]
        self.weights = np.sqrt(found.masses)[:, None, None] * found.vectors[:, :, self.chosen]

    def _compare(self, simulation, found):
        """Refuse modes of another crystal, or of its atoms in another order."""
        def refuse(what):
            raise InputError(f"hook 'mode-spectrum': {self.modes} has the modes of other atoms: {what}")

        state, n = simulation.state, len(found.masses)
        masses, positions = (simulation.comm.bcast(simulation.array(name)) for name in ("masses", "positions"))
        if len(masses) != n * state.n_systems:
            refuse(f"{n}, and the run has {len(masses) / state.n_systems:g}; they must be of the same cell")
        wrong = np.flatnonzero(np.abs(masses.reshape(-1, n) - found.masses).max(0) > 1e-3 * found.masses)
        if len(wrong):
            refuse(f"atom {wrong[0]} has a mass of {found.masses[wrong[0]]:.4g} u there, of {masses[wrong[0]]:.4g} in the run")
        for cell, x in zip(state.cells, positions.reshape(-1, n, 3)):
            strain = np.abs(np.linalg.solve(found.cell, cell) - np.eye(3)).max()
            if strain > STRAIN:
                refuse(f"the cell differs by {100 * strain:.0f} %")
            moved = (x - x[0]) @ np.linalg.inv(cell) - (found.positions - found.positions[0]) @ np.linalg.inv(found.cell)
            moved -= np.round(moved) * state.periodic
            far = np.linalg.norm((moved - moved.mean(0)) @ cell, axis=1)
            if far.max() > FAR:
                refuse(f"atom {far.argmax()} is {far.max():.2g} Å from its place there")

    def signal(self, simulation):
        state = simulation.state
        rows = state.tags[: state.n] % len(self.weights)
        return state.sum_by_system(np.einsum("na,nam->nm", state.velocities[: state.n], self.weights[rows]))

    def collect(self, transform):
        """S(ω), and as a last entry the kinetic energy."""
        S = np.abs(transform) ** 2
        bins = np.full(S.shape[-1], 1 / (self.block * self.interval))
        bins[[0, -1]] /= 2
        return np.concatenate([S, (S @ bins)[..., None]], -1)

    def spectra(self, mean, error, kT, volume):
        labels = tuple(f"{f:.0f} 1/cm" for f in self.frequencies)
        found = {"wavenumber": wavenumbers(self.omega), "harmonic": Series(self.frequencies, "1/cm")}
        for suffix, x in (("", mean), ("_error", error)):
            found["power" + suffix] = Series(per_system(x[..., :-1]), "eV·ps", "wavenumber", labels)
            found["kinetic_energy" + suffix] = Series(per_system(x[..., -1]), "eV", "harmonic")
        return found
