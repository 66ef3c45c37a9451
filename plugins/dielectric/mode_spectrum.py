"""A run told apart by vibrations: the power spectrum and the energy of each phonon of a relaxed crystal.

    q̇_ν(t) = Σ_i √m_i e_iν·v_i(t)          S_ν(ω) = ∫ <q̇_ν(0) q̇_ν(t)> e^{iωt} dt,   <q̇_ν²>/2 = ∫_0^∞ S_ν dω/2π

In equilibrium each mode has kT/2 of kinetic energy; anharmonicity shifts its line from the harmonic frequency, and a pulse
leaves more in some than in others. Modes that are mixed by symmetry or heat have several lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.config.quantities import InputFile
from engine.errors import InputError
from plugins.analysis.observer import Series, per_system
from plugins.dielectric.modes import Modes
from plugins.dielectric.spectra import WAVENUMBER, Spectrum


@dataclass(kw_only=True)
class ModeSpectrum(Spectrum):
    """modes : file that `plugins.dielectric.modes.Modes.save` wrote, its atoms in the order of the run's tags
    select : numbers of the modes, from 0; by default all that are no translation"""

    modes: InputFile
    select: list[int] | None = None

    kind = "mode-spectrum"

    def start(self, simulation):
        super().start(simulation)
        found = Modes.load(self.modes)
        count, atoms = len(found.frequencies), len(found.masses)
        state = simulation.state
        here = int(state.comm.sum(np.array([state.n]))[0]) / state.n_systems
        if here != atoms:
            raise InputError(f"hook 'mode-spectrum': {self.modes} has the modes of {atoms} atoms, the run {here:g}; they must be "
                             "of the same cell")
        self.chosen = found.moving() if self.select is None else np.array(self.select, int)
        if not ((self.chosen >= 0) & (self.chosen < count)).all():
            raise InputError(f"hook 'mode-spectrum': select = {self.select} must be numbers from 0 to {count - 1}")
        self.frequencies, self.vectors = found.frequencies[self.chosen], found.vectors[:, :, self.chosen]

    def signal(self, simulation):
        state = simulation.state
        rows = state.tags[: state.n] % len(self.vectors)
        velocities = state.velocities * np.sqrt(state.masses)[:, None]
        return state.sum_by_system(np.einsum("na,nam->nm", velocities, self.vectors[rows]))

    def spectra(self, omega, S, error, kT, volume):
        labels = tuple(f"{f:.0f} 1/cm" for f in self.frequencies)
        weights = np.full(len(omega), omega[1] / (2 * np.pi))
        weights[[0, -1]] /= 2
        return {
            "wavenumber": Series(omega / (2 * np.pi) * WAVENUMBER, "1/cm"),
            "power": Series(per_system(S), "eV·ps", "wavenumber", labels),
            "harmonic": Series(self.frequencies, "1/cm"),
            "kinetic_energy": Series(per_system(S @ weights), "eV", "harmonic"),
            "kinetic_energy_error": Series(per_system(np.sqrt(error**2 @ weights**2)), "eV", "harmonic"),
        }
