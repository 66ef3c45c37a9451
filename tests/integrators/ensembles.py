"""What the statistical tests share: small systems with exactly known distributions, and how a deviation is judged.

Random numbers are Philox with fixed seeds, so a test gives the same result every time. A measured number is compared
with the exact one in units of its own error: above 2σ warns, above 3σ the test is repeated once with four times the
samples, and must then be within 3σ.
"""

import warnings

import numpy as np
from ase import Atoms
from ase.build import bulk

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.contracts import Capabilities, Potential
from engine.simulation import Simulation


class Springs(Potential):
    """Atoms tied to the origin of their cells' corner by springs of constant k (eV/Å²): ½ k x²."""

    def __init__(self, k):
        self.k = k

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none", provides=frozenset({"energy", "forces"}))

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        x = atoms.unwrapped()
        out.forces[: atoms.n] -= self.k * x
        if "energy" in needs:
            out.energy[:] += atoms.sum_by_system(0.5 * self.k * (x * x).sum(1))


def oscillators(n, temperature, integrator, k=2.0, mass=20.0, seed=1):
    """n independent three-dimensional oscillators in a large open box, started from equilibrium."""
    atoms = Atoms(f"Ar{n}", positions=np.zeros((n, 3)), cell=[1000.0] * 3, pbc=True)
    atoms.set_masses(np.full(n, mass))
    state = state_from_atoms(atoms)
    thermalise(state, temperature, seed + 1, exact=False)
    state.positions[:] = state.velocities * np.sqrt(mass / k)
    thermalise(state, temperature, seed, exact=False)
    return Simulation(state, Springs(k), integrator, seed=seed, skin=50.0)


def argon(potential, integrator, temperature, repeat=3, a=5.4, seed=1, systems=1):
    """Lennard-Jones argon, fcc, 4 repeat³ atoms in each system."""
    atoms = bulk("Ar", cubic=True, a=a) * ((repeat,) * 3)
    state = state_from_atoms([atoms] * systems)
    thermalise(state, temperature, seed)
    return Simulation(state, potential, integrator, seed=seed)


class Free(Potential):
    """No interaction."""

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none")

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        pass


def ideal_gas(n, systems, temperature, volume, integrator, seed=1):
    """`systems` boxes of n free atoms each, so heavy that they hardly move: their momenta are all that matters."""
    rng = np.random.default_rng(seed)
    L = volume ** (1 / 3)
    boxes = [Atoms(f"Ar{n}", positions=rng.uniform(0, L, (n, 3)), cell=[L] * 3, pbc=True) for _ in range(systems)]
    state = state_from_atoms(boxes)
    state.masses[:] = 1e8
    thermalise(state, temperature, seed, exact=False)
    return Simulation(state, Free(), integrator, seed=seed, skin=1.0)


def sample(simulation, steps, every, function, needs=()):
    """`function(simulation)` every so many steps, as an array."""
    rows = []
    simulation.hooks.clear()
    simulation.attach(lambda s: rows.append(np.array(function(s))), every, frozenset(needs))
    simulation.run(steps)
    simulation.hooks.clear()
    return np.array(rows[1:])


def error_of_mean(x, blocks=20):
    """Standard error of the mean of a correlated series (m, ...), from means over blocks."""
    means = np.array([b.mean(0) for b in np.array_split(x, blocks)])
    return means.std(0, ddof=1) / np.sqrt(blocks)


def deviation(x, exact, blocks=20):
    """(mean − exact) in standard errors."""
    return (x.mean(0) - exact) / error_of_mean(x, blocks)


def ratio_slope(low, high, blocks=20):
    """Slope and error of ln p_high(x)/p_low(x) = a + b x by logistic regression, the maximum-likelihood estimate.

    For energies at two temperatures b = 1/kT_low − 1/kT_high, for volumes at two pressures b = (P_low − P_high)/kT,
    whatever the density of states (Shirts, J. Chem. Theory Comput. 9, 909 (2013)). The error is by jackknife over
    blocks of both series.
    """

    def fit(low, high):
        x = np.concatenate([low, high])
        scale, middle = x.std(), x.mean()
        z = np.stack([np.ones(len(x)), (x - middle) / scale], 1)
        y = np.concatenate([np.zeros(len(low)), np.ones(len(high))])
        w = np.zeros(2)
        for _ in range(50):
            p = 1 / (1 + np.exp(-z @ w))
            step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z, z.T @ (y - p))
            w += step
            if np.abs(step).max() < 1e-10:
                break
        return w[1] / scale

    a, b = np.array_split(low, blocks), np.array_split(high, blocks)
    without = [fit(np.concatenate(a[:k] + a[k + 1 :]), np.concatenate(b[:k] + b[k + 1 :])) for k in range(blocks)]
    return fit(low, high), np.sqrt((blocks - 1) * np.var(without))


def judge(name, measure, samples):
    """`measure(samples)` → deviations in units of σ; the rule of the module's first paragraph."""
    z = np.abs(np.atleast_1d(measure(samples)))
    if z.max() > 3:
        z = np.abs(np.atleast_1d(measure(4 * samples)))
        assert z.max() <= 3, f"{name}: {z.max():.1f}σ from the exact value with four times the samples"
    if z.max() > 2:
        warnings.warn(f"{name}: {z.max():.1f}σ from the exact value", stacklevel=2)


def kT(temperature):
    return units.kB * temperature
