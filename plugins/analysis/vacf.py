"""Velocity autocorrelation and the density of states.

    C_a(t) = <v(t0)·v(t0 + t)> over atoms of species a,   C_a(0) = 3 kT/m_a
    g_a(ν) = 12 ∫₀^∞ w(t) C_a(t)/C_a(0) cos 2πνt dt,      ∫ g_a dν = 3

w(t) = cos²(πt/2t_max) takes off ripples; the resolution is then about 1/t_max, t_max the span of the lags. The total is
that of Σ_a N_a m_a C_a, three states an atom (Dickey and Paskin, Phys. Rev. 188, 1407 (1969)).
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

from engine import units
from plugins.analysis.observer import Series, per_system
from plugins.analysis.origins import FromOrigins


@dataclass(kw_only=True)
class VelocityAutocorrelation(FromOrigins):
    kind = "vacf"

    def vectors(self, simulation):
        return simulation.state.velocities * (1000.0 * units.fs)  # Å/ps

    def start(self, simulation):
        super().start(simulation)
        state = simulation.state
        mass, number = np.zeros(len(state.species_names)), np.zeros(len(state.species_names))
        np.add.at(mass, state.species[: state.n], state.masses)
        np.add.at(number, state.species[: state.n], 1.0)
        self._mass = simulation.comm.sum(mass) / np.maximum(simulation.comm.sum(number), 1.0)

    def result(self, simulation):
        mean, time, atoms = self.mean(simulation)
        names = tuple(simulation.state.species_names)
        out = {"time": Series(time, "ps"), "vacf": Series(per_system(mean), "Å²/ps²", "time", names)}
        if len(time) >= 8:
            whole = (mean * (atoms * self._mass)[:, :, None]).sum(1, keepdims=True)
            frequency, g = density_of_states(np.concatenate([mean, whole], axis=1), time)
            out["frequency"] = Series(frequency, "THz")
            out["dos"] = Series(per_system(g), "1/THz", "frequency", (*names, "total"))
        return out


def density_of_states(correlation, time):
    """Frequencies (lags,) in THz and g (..., lags) from C (..., lags) at `time` (lags,) in ps; ∫ g dν = 3."""
    dt, last = time[1], time[-1]
    first = correlation[..., :1]
    ratio = np.divide(correlation, first, out=np.zeros_like(correlation), where=first != 0)
    window = np.cos(0.5 * np.pi * time / last) ** 2
    return np.arange(len(time)) / (2.0 * last), 6.0 * dt * dct(ratio * window, type=1)
