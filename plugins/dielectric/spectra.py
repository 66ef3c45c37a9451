"""Infrared and Raman spectra from the power spectra of polarization and polarizability, gathered while a run goes.

With S_x(ω) = ∫ <x(0) x(t)> e^{iωt} dt of the classical trajectory (Welch's method: looks are cut into blocks, each block less
its mean and under a Hann window is transformed; the scatter between blocks gives the error bars, NaN of a single block):

| what | formula |
|---|---|
| Im ε_aa(ω) | ω S_Pa /(2 ε0 V kT) |
| Re ε_aa(ω) − ε∞_aa | (C_a(0) − ω ∫_0^∞ C_a(t) sin ωt dt)/(ε0 V kT), C_a(t) = <P_a(0) P_a(t)> from S_Pa |
| ε∞_aa | 1 + <α_aa>/(ε0 V), once a block |
| absorption n(ω) α(ω), mean of three directions | (ω²/c) S_P/(6 ε0 V kT), S_P = Σ_a S_Pa |
| the same without quantum correction | (ω/c)(1 − e^{−ħω/kT}) S_P/(6 ε0 V ħ) |

The first form of the absorption is what Fermi's golden rule gives with the harmonic correction S → S (ħω/kT)/(1 − e^{−ħω/kT})
of the classical correlation, exact for harmonic modes (Ramírez et al., J. Chem. Phys. 121, 3973 (2004)); the second takes the
classical correlation as it is. ω² S_P is the spectrum of the current Σ Z*·v: with ``source = "current"`` that is what
is transformed, for charges whose polarization wanders without bound. It is the derivative of P along the velocities, two more
evaluations of P at every look; where P is bounded the two spectra are the same, and that of P costs nothing.

Raman: for unpolarised light at a right angle the intensity goes as 45 ā² + 7 γ², with the square of ā = tr α/3 → S_ā and
the anisotropy γ² = ½ Σ_ab (3 α_ab α_ab − α_aa α_bb) → S likewise (D. A. Long, The Raman Effect, 2002, ch. 5). Given is
what depends on the system, times (ħω/kT)/(1 − e^{−ħω/kT}); the factors of the laser's frequency are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from engine import units
from engine.errors import InputError
from engine.forces import Forces
from plugins.analysis.observer import PS, EvenObserver, Series, per_system
from plugins.dielectric.conditions import refuse_displacement, refuse_driven, warn

HBAR_PS = units.hbar_fs * 1e-3  # eV ps
LIGHT = 0.0299792458  # cm/ps
STEP = 5e-3  # Å, that the fastest atom is moved by to differentiate P


@dataclass(kw_only=True)
class Spectrum(EvenObserver):
    """block : looks in one transform, an even number; the resolution is about 1.5/(block · every · timestep)

    A subclass gives `signal(simulation)` (S, c), and `collect` whatever it has an error bar for.
    """

    every: PositiveInt = 2
    block: Annotated[int, Field(ge=4, multiple_of=2)] = 2048

    TOTALS = ("buffer", "total", "square", "blocks", "sums", *EvenObserver.CLOCK)
    blocks = 0
    centred = True  # is a block's mean taken off?

    def signal(self, simulation):
        raise TypeError(f"{type(self).__name__} has no signal")

    def collect(self, transform):
        """(S, c, f) of a block, |transform|² its S(ω) -> (S, k, ..) real, whose mean and scatter over blocks are kept."""
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
        power = self.collect(np.moveaxis(np.fft.rfft(x, axis=0), 0, -1) * np.sqrt(self.interval / (window**2).sum()))
        if not self.blocks:
            self.total, self.square = np.zeros_like(power), np.zeros_like(power)
        self.total += power
        self.square += power**2
        self.blocks += 1

    @property
    def omega(self):
        """(f,) 1/ps"""
        return 2 * np.pi * np.fft.rfftfreq(self.block, self.interval)

    def power(self):
        """(S, k, f) mean over blocks of what `collect` gives, its standard error."""
        mean = self.total / self.blocks
        if self.blocks == 1:
            return mean, np.full_like(mean, np.nan)
        return mean, np.sqrt(np.maximum(self.square / self.blocks - mean**2, 0) / (self.blocks - 1))

    def finish(self, simulation):
        super().finish(simulation)
        if self.samples and not self.blocks:
            warn(self, simulation, f"there is no spectrum yet: {self.samples} looks are no block of {self.block}; a run of "
                 f"{self.block * self.every} steps has one, and two have error bars")

    def result(self, simulation):
        if not self.blocks:
            return {}
        temperature, volume = self.sums / self.samples
        return self.spectra(*self.power(), units.kB * temperature[:, None], volume[:, None])


def wavenumbers(omega):
    """Of angular frequencies in 1/ps."""
    return Series(omega * PS * units.per_cm, "1/cm")


def in_phase(omega, S, interval):
    """C(0) − ω ∫_0^∞ C(t) sin ωt dt, of the shape of S(ω): what Kramers and Kronig make of ω S(ω)/2."""
    C = np.fft.irfft(S) / interval
    half = C[..., : C.shape[-1] // 2 + 1]
    sine = -np.fft.rfft(half, C.shape[-1]).imag * interval
    return C[..., :1] - omega * sine


def current(simulation):
    """(S, 3) e·Å/ps, Σ Z*·v: the central difference of P at x ± h v. Ghosts move along, and lists stay as they are."""
    state, domain = simulation.state, simulation.domain
    fast = float(simulation.comm.max(np.abs(state.velocities[: state.n]).max(initial=0.0)))
    if fast == 0.0:
        return np.zeros((state.n_systems, 3))
    simulation.quantity("polarization")  # with the present ghosts and field
    weights = simulation.forces.together(len(simulation.forces.levels) - 1)
    charged = {name: w for name, w in weights.items() if "field" in simulation.potentials[name].capabilities().takes}
    forces = Forces(state, domain, simulation.potentials, [charged])
    forces.inputs = simulation.forces.inputs
    x, v, difference = state.positions.copy(), np.zeros_like(state.positions), 0.0
    v[: state.n] = state.velocities[: state.n]
    domain.halo.forward(v)
    for sign in (1, -1):
        state.positions[:] = x + sign * STEP / fast * v
        difference = difference + sign * forces.evaluate(frozenset({"forces", "polarization"}), 0).polarization
    state.positions[:] = x
    return difference / (2 * STEP / fast * PS)


@dataclass(kw_only=True)
class Infrared(Spectrum):
    """source : "polarization", or "current" (Σ Z*·v) for charges that wander"""

    source: Literal["polarization", "current"] = "polarization"

    kind = "infrared"
    needs = frozenset({"polarization"})
    TOTALS = (*Spectrum.TOTALS, "optical")
    optical = 0.0  # (S, 3) e·Å²/V, sum over blocks of the diagonal of α

    def start(self, simulation):
        super().start(simulation)
        refuse_displacement(self, simulation)
        refuse_driven(self, simulation)

    def observe(self, simulation):
        super().observe(simulation)
        if self.looks % self.block == 0 and "polarizability" in simulation.forces.provides:  # ε∞, once a block
            self.optical = self.optical + np.diagonal(simulation.quantity("polarizability"), axis1=1, axis2=2)

    def signal(self, simulation):
        return simulation.quantity("polarization") if self.source == "polarization" else current(simulation)

    def collect(self, transform):
        """S_Pa, their sum, and what belongs to the real part."""
        S = np.abs(transform) ** 2
        if self.source == "current":
            S /= np.where(self.omega > 0, self.omega, 1.0) ** 2
        return np.concatenate([S, S.sum(1, keepdims=True), in_phase(self.omega, S, self.interval)], 1)

    def spectra(self, mean, error, kT, volume):
        omega, axes = self.omega, ("x", "y", "z")
        harmonic = omega**2 / (6 * units.epsilon0 * volume * kT * LIGHT)
        bare = omega * -np.expm1(-HBAR_PS * omega / kT) / (6 * units.epsilon0 * volume * HBAR_PS * LIGHT)
        strength = (units.epsilon0 * volume * kT)[:, None]
        optical = 1 + (np.zeros((len(volume), 3)) + self.optical)[:, :, None] / (self.blocks * units.epsilon0 * volume[:, None])
        found = {"wavenumber": wavenumbers(omega)}
        for suffix, x in (("", mean), ("_error", error)):
            for name, factor in (("absorption", harmonic), ("absorption_uncorrected", bare)):
                found[name + suffix] = Series(per_system(factor * x[:, 3]), "1/cm", "wavenumber")
            real = x[:, 4:] / strength + (0 if suffix else optical)
            found["epsilon_real" + suffix] = Series(per_system(real), "", "wavenumber", axes)
            found["epsilon_imaginary" + suffix] = Series(per_system(omega * x[:, :3] / (2 * strength)), "", "wavenumber", axes)
        return found


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
        return np.stack([mean, anisotropy, 45 * mean + 7 * anisotropy], 1)

    def spectra(self, mean, error, kT, volume):
        x = HBAR_PS * self.omega / kT
        factor = np.divide(x, -np.expm1(-x), out=np.ones_like(x), where=x > 1e-12)
        found = {"wavenumber": wavenumbers(self.omega)}
        for suffix, S in (("", mean), ("_error", error)):
            for k, name in enumerate(("isotropic", "anisotropic", "unpolarised")):
                found[name + suffix] = Series(per_system(factor * S[:, k]), "(e·Å²/V)²·ps", "wavenumber")
        return found


@dataclass(kw_only=True)
class Conductivity(Spectrum):
    """σ(ω) = S_J/(6 V kT), J = Σ Z*·v: Green and Kubo's formula; its first entry is the direct current's."""

    kind = "conductivity"
    needs = frozenset({"polarization"})
    centred = False

    def start(self, simulation):
        super().start(simulation)
        refuse_displacement(self, simulation)
        refuse_driven(self, simulation, constant=False)
        for name, potential in simulation.potentials.items():
            if "field" in potential.capabilities().takes and not getattr(potential, "itinerant", False):
                raise InputError(
                    f"hook 'conductivity': the polarization of potential '{name}' is a single-valued function of the "
                    "structure, so that its time derivative averages to zero: there is no direct current in it; use "
                    "fixed-charges, which carry P through the boundaries"
                )

    def signal(self, simulation):
        return current(simulation)

    def collect(self, transform):
        return (np.abs(transform) ** 2).sum(1, keepdims=True)

    def spectra(self, mean, error, kT, volume):
        siemens = 1602.176634 / (6 * volume * kT)  # e²/(eV·Å·ps) in S/m
        return {
            "frequency": Series(self.omega / (2 * np.pi), "THz"),
            "conductivity": Series(per_system(siemens * mean[:, 0]), "S/m", "frequency"),
            "conductivity_error": Series(per_system(siemens * error[:, 0]), "S/m", "frequency"),
        }
