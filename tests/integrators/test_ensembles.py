"""Thermostats and barostats against exactly known distributions. How deviations are judged: ``ensembles.py``."""

import numpy as np
import pytest
from ensembles import argon, deviation, ideal_gas, judge, kT, oscillators, ratio_slope, sample

from engine import units
from integrators.bussi import Bussi
from integrators.cell_rescaling import CellRescaling
from integrators.langevin import Langevin
from integrators.nose_hoover import NoseHoover
from potentials.pair.lennard_jones import LennardJones

ARGON = dict(epsilon=0.0104, sigma=3.4, cutoff=6.0, truncation="force-shifted")
THERMOSTATS = {
    "langevin": lambda T, **k: Langevin(timestep=2.0, temperature=T, friction=0.02, **k),
    "bussi": lambda T, **k: Bussi(timestep=2.0, temperature=T, time=50.0, **k),
    "nose-hoover": lambda T, **k: NoseHoover(timestep=2.0, temperature=T, time=50.0, **k),
}


def moments(x, mean, variance):
    """Deviations, in σ, of mean and variance (about the exact mean) of the columns of x from their exact values."""
    return np.concatenate([deviation(x, mean), deviation((x - mean) ** 2, variance)])


@pytest.mark.parametrize("temperature", [100.0, 400.0])
def test_langevin_on_oscillators_samples_positions_exactly_at_any_step(temperature):
    """BAOAB: ⟨U⟩ = f kT/2 whatever ω dt, ⟨K⟩ at whole steps lower by (ω dt)²/4; both are gamma distributions."""
    n, k, mass, wdt = 200, 2.0, 20.0, 0.8
    w = np.sqrt(k / mass) * units.fs
    f, e = 3 * n, kT(temperature)
    low = 1 - wdt**2 / 4

    def measure(samples):
        sim = oscillators(
            n, temperature, Langevin(timestep=wdt / w, temperature=temperature, friction=0.5 * w), k, mass, seed=int(temperature)
        )
        x = sample(sim, 5 * samples, 5, lambda s: [s.kinetic_energy()[0], s.potential_energy()[0]], {"energy"})
        return moments(x, np.array([f / 2 * e * low, f / 2 * e]), np.array([f / 2 * (e * low) ** 2, f / 2 * e**2]))

    judge(f"langevin oscillators {temperature} K", measure, 400)


@pytest.mark.parametrize("kind", THERMOSTATS)
def test_kinetic_and_potential_distributions_of_argon(kind):
    """K is a gamma distribution of f/2 at two temperatures; energies at the two have the exact ratio e^{−Δβ U}."""
    temperatures, S = (40.0, 46.0), 16

    def measure(samples):
        series = []
        for T in temperatures:
            sim = argon(LennardJones(**ARGON), THERMOSTATS[kind](T), T, repeat=2, systems=S, seed=int(T) + 1)
            sim.run(600)
            series.append(
                sample(sim, 50 * samples, 50, lambda s: np.stack([s.kinetic_energy(), s.potential_energy()]), {"energy"})
            )
        f = sim.degrees_of_freedom()[0]
        z = []
        for T, x in zip(temperatures, series, strict=True):
            z.extend(moments(x[:, 0].reshape(-1, 1), f / 2 * kT(T), f / 2 * kT(T) ** 2))
        slope, error = ratio_slope(*(x[:, 1].ravel() for x in series))
        exact = 1 / kT(temperatures[0]) - 1 / kT(temperatures[1])
        return [*z, (slope - exact) / error]

    judge(f"{kind} argon", measure, 60)


@pytest.mark.parametrize("coupling", ["isotropic", "anisotropic", "flexible"])
def test_volume_of_the_ideal_gas(coupling):
    """N free atoms at P0: V is a gamma distribution of N + 1 with scale kT/P0, however the cell may change."""
    N, S, T = 50, 32, 300.0
    for pressure in (0.1, 0.4) if coupling == "isotropic" else (0.1,):
        scale = kT(T) / (pressure * units.GPa)

        def measure(samples, pressure=pressure, scale=scale):
            barostat = CellRescaling(pressure=pressure, time=2000.0, compressibility=1 / pressure, coupling=coupling, every=1)
            thermostat = Langevin(timestep=10.0, temperature=T, friction=1.0, barostat=barostat)
            sim = ideal_gas(N, S, T, (N + 1) * scale, thermostat, seed=int(100 * pressure))
            x = sample(sim, 200 * samples, 200, lambda s: s.state.volume)[4:]
            exact = (N + 1) * scale, (N + 1) * scale**2
            return [deviation(x.mean(1), exact[0], 8), deviation(((x - exact[0]) ** 2).mean(1), exact[1], 8)]

        judge(f"ideal gas, {coupling}, {pressure} GPa", measure, 24)


@pytest.mark.parametrize("kind", ["langevin", "bussi"])
@pytest.mark.parametrize("coupling", ["isotropic", "flexible"])
def test_volumes_of_argon_at_two_pressures(kind, coupling):
    """Volumes at two pressures have the exact ratio e^{−ΔP V/kT}."""
    pressures, T, S = (0.0, 0.03), 40.0, 16

    def measure(samples):
        series = []
        for k, pressure in enumerate(pressures):
            barostat = CellRescaling(pressure=pressure, time=200.0, compressibility=0.5, coupling=coupling, every=4)
            sim = argon(
                LennardJones(**ARGON), THERMOSTATS[kind](T, barostat=barostat), T, repeat=2, a=5.45, systems=S, seed=7 + k
            )
            sim.run(1000)
            series.append(sample(sim, 50 * samples, 50, lambda s: s.state.volume).ravel())
        slope, error = ratio_slope(*series)
        exact = (pressures[0] - pressures[1]) * units.GPa / kT(T)
        return [(slope - exact) / error]

    judge(f"volumes of argon, {kind}, {coupling}", measure, 60)
