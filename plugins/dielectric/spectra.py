"""Infrared and Raman spectra from the power spectra of polarization and polarizability, gathered while a run goes.

With S_x(ω) = ∫ <x(0) x(t)> e^{iωt} dt of the classical trajectory (Welch's method: looks are cut into blocks, each block less
its mean and under a Hann window is transformed; the scatter between blocks gives the error bars):

| what | formula |
|---|---|
| Im ε_aa(ω) of the ions | ω S_Pa /(2 ε0 V kT) |
| Re ε_aa(ω) of the ions | (C_a(0) − ω ∫_0^∞ C_a(t) sin ωt dt)/(ε0 V kT), C_a(t) = <P_a(0) P_a(t)> from S_Pa |
| absorption n(ω) α(ω), mean of three directions | (ω²/c) S_P/(6 ε0 V kT), S_P = Σ_a S_Pa |
| the same without quantum correction | (ω/c)(1 − e^{−ħω/kT}) S_P/(6 ε0 V ħ) |

The first form of the absorption is what Fermi's golden rule gives with the harmonic correction S → S (ħω/kT)/(1 − e^{−ħω/kT})
of the classical correlation, exact for harmonic modes (Ramírez et al., J. Chem. Phys. 121, 3973 (2004)); the second takes the
classical correlation as it is. ω² S_P is the spectrum of the current Σ Z*·v: with ``source = "current"`` that is what
is transformed, for charges whose polarization wanders without bound.

Raman: for unpolarised light at a right angle the intensity goes as 45 ā² + 7 γ², with the square of ā = tr α/3 → S_ā and
the anisotropy γ² = ½ Σ_ab (3 α_ab α_ab − α_aa α_bb) → S likewise (D. A. Long, The Raman Effect, 2002, ch. 5). Given is
what depends on the system, times (ħω/kT)/(1 − e^{−ħω/kT}); the factors of the laser's frequency are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from engine import units
from engine.errors import InputError
from plugins.analysis.observer import EvenObserver, Series, per_system

WAVENUMBER = 33.35640951981521  # cm⁻¹ in 1 THz
HBAR_PS = units.hbar_fs * 1e-3  # eV ps
LIGHT = 0.0299792458  # cm/ps


@dataclass(kw_only=True)
class Spectrum(EvenObserver):
    """block : looks in one transform; the resolution is about 1.5/(block · every · timestep)

    A subclass gives `signal(simulation)` (S, c). `power` has the mean of |∫ x w e^{iωt}|², (S, c, block/2 + 1).
    """

    every: PositiveInt = 2
    block: PositiveInt = 2048

    TOTALS = ("buffer", "total", "square", "blocks", "sums", *EvenObserver.CLOCK)
    blocks = 0
    centred = True  # is a block's mean taken off?

    def signal(self, simulation):
        raise TypeError(f"{type(self).__name__} has no signal")

    def collect(self, transform):
        """(S, c, f) complex -> (S, k, f) real quantities whose mean and scatter over blocks are kept."""
        return np.abs(transform) ** 2

    def observe(self, simulation):
        state = simulation.state
        x = self.signal(simulation)
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros((self.block, *x.shape))
            self.sums = np.zeros((2, state.n_systems))  # temperature, volume
        self.tick(simulation)
        self.buffer[(self.looks - 1) % self.block] = x
        self.sums += np.stack([simulation.temperature(), state.volume])
        if self.looks % self.block == 0:
            self._transform()

    def _transform(self):
        window = np.hanning(self.block + 1)[:-1]
        x = (self.buffer - self.centred * self.buffer.mean(0)) * window[:, None, None]
        transform = np.moveaxis(np.fft.rfft(x, axis=0), 0, -1) * self.interval
        power = self.collect(transform) / (self.interval * (window**2).sum())
        if not self.blocks:
            self.total, self.square = np.zeros_like(power), np.zeros_like(power)
        self.total += power
        self.square += power**2
        self.blocks += 1

    def power(self):
        """Frequencies (f,) THz, mean S(ω) (S, k, f) in unit²·ps, its standard error."""
        mean = self.total / self.blocks
        scatter = np.sqrt(np.maximum(self.square / self.blocks - mean**2, 0) / max(self.blocks - 1, 1))
        return np.fft.rfftfreq(self.block, self.interval), mean, scatter

    def result(self, simulation):
        if not self.blocks:
            return {}
        frequency, S, error = self.power()
        temperature, volume = self.sums / self.samples
        return self.spectra(2 * np.pi * frequency, S, error, units.kB * temperature[:, None], volume[:, None])


def in_phase(omega, S, interval):
    """C(0) − ω ∫_0^∞ C(t) sin ωt dt, of the shape of S(ω): what Kramers and Kronig make of ω S(ω)/2."""
    C = np.fft.irfft(S) / interval
    half = C[..., : C.shape[-1] // 2 + 1]
    sine = -np.fft.rfft(half, C.shape[-1]).imag * interval
    return C[..., :1] - omega * sine


def current(simulation):
    """(S, 3) e·Å/ps, Σ Z*·v"""
    state, Z = simulation.state, simulation.quantity("born_charges")
    return state.sum_by_system(np.einsum("nab,nb->na", Z, state.velocities * (1000.0 * units.fs)))


@dataclass(kw_only=True)
class Infrared(Spectrum):
    """source : "polarization", or "current" (Σ Z*·v, needs Born charges) for charges that wander"""

    source: Literal["polarization", "current"] = "polarization"

    kind = "infrared"

    @property
    def needs(self):
        return frozenset({"polarization" if self.source == "polarization" else "born_charges"})

    def signal(self, simulation):
        if self.source == "polarization":
            return simulation.quantity("polarization")
        return current(simulation)

    def spectra(self, omega, S, error, kT, volume):
        safe = np.where(omega > 0, omega, 1.0)
        if self.source == "current":
            S, error = S / safe**2, error / safe**2
        total, total_error = S.sum(1), np.sqrt((error**2).sum(1))
        harmonic = omega**2 / (6 * units.epsilon0 * volume * kT * LIGHT)
        bare = omega * -np.expm1(-HBAR_PS * omega / kT) / (6 * units.epsilon0 * volume * HBAR_PS * LIGHT)
        strength = (units.epsilon0 * volume * kT)[:, None]
        return {
            "wavenumber": Series(omega / (2 * np.pi) * WAVENUMBER, "1/cm"),
            "absorption": Series(per_system(harmonic * total), "1/cm", "wavenumber"),
            "absorption_error": Series(per_system(harmonic * total_error), "1/cm", "wavenumber"),
            "absorption_uncorrected": Series(per_system(bare * total), "1/cm", "wavenumber"),
            "epsilon_real": Series(per_system(in_phase(omega, S, self.interval) / strength), "", "wavenumber", ("x", "y", "z")),
            "epsilon_imaginary": Series(per_system(omega * S / (2 * strength)), "", "wavenumber", ("x", "y", "z")),
        }


@dataclass(kw_only=True)
class Raman(Spectrum):
    kind = "raman"
    needs = frozenset({"polarizability"})

    def signal(self, simulation):
        return simulation.quantity("polarizability").reshape(-1, 9)

    def collect(self, transform):
        trace = transform[:, 0] + transform[:, 4] + transform[:, 8]
        mean = np.abs(trace / 3) ** 2
        anisotropy = 0.5 * (3 * (np.abs(transform) ** 2).sum(1) - np.abs(trace) ** 2)
        return np.stack([mean, anisotropy], 1)

    def spectra(self, omega, S, error, kT, volume):
        x = HBAR_PS * omega / kT
        factor = np.divide(x, -np.expm1(-x), out=np.ones_like(x), where=x > 1e-12)
        unit = "(e·Å²/V)²·ps"
        return {
            "wavenumber": Series(omega / (2 * np.pi) * WAVENUMBER, "1/cm"),
            "isotropic": Series(per_system(factor * S[:, 0]), unit, "wavenumber"),
            "anisotropic": Series(per_system(factor * S[:, 1]), unit, "wavenumber"),
            "unpolarised": Series(per_system(factor * (45 * S[:, 0] + 7 * S[:, 1])), unit, "wavenumber"),
            "unpolarised_error": Series(per_system(factor * np.hypot(45 * error[:, 0], 7 * error[:, 1])), unit, "wavenumber"),
        }


@dataclass(kw_only=True)
class Conductivity(Spectrum):
    """σ(ω) = S_J/(6 V kT), J = Σ Z*·v: Green and Kubo's formula; its first entry is the direct current's."""

    kind = "conductivity"
    needs = frozenset({"born_charges"})
    centred = False

    def start(self, simulation):
        super().start(simulation)
        for name, potential in simulation.potentials.items():
            if "field" in potential.capabilities().takes and not getattr(potential, "itinerant", False):
                raise InputError(
                    f"hook 'conductivity': the polarization of potential '{name}' is a single-valued function of the "
                    "structure, so that its time derivative averages to zero: there is no direct current in it; use "
                    "fixed-charges, which carry P through the boundaries"
                )

    def signal(self, simulation):
        return current(simulation)

    def spectra(self, omega, S, error, kT, volume):
        siemens = 1602.176634 / (6 * volume * kT)  # e²/(eV·Å·ps) in S/m
        return {
            "frequency": Series(omega / (2 * np.pi), "THz"),
            "conductivity": Series(per_system(siemens * S.sum(1)), "S/m", "frequency"),
            "conductivity_error": Series(per_system(siemens * np.sqrt((error**2).sum(1))), "S/m", "frequency"),
        }
