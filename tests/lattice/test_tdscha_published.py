"""H2 with effective-medium forces against the centroid path of the published Julia code (100 configurations, its noise)."""

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from scipy.interpolate import CubicSpline

from engine import units
from integrators.gaussian.averages import SampledAverages
from integrators.gaussian.propagators import GeneralisedVerlet, KickDriftKick, propagate
from integrators.gaussian.sampling import correlated_normals
from plugins.lattice.quantum_espresso import BOHR, RYDBERG, read_dyn


def bond():
    """The energy of two H atoms as a function of their distance, splined from ASE's EMT."""
    r = np.linspace(0.25, 2.2, 400)
    atoms = Atoms("H2", positions=np.zeros((2, 3)), calculator=EMT())
    energy = []
    for x in r:
        atoms.positions[1, 0] = x
        energy.append(atoms.get_potential_energy())
    return CubicSpline(r, energy)


def test_centroid_after_a_kick(shared_data):
    """0.01 √Ry along the first atom's bond direction, 10 fs at 0.1 fs. The published path has 100 independent
    configurations and is mostly their noise (it drifts sideways): it lies within the spread of such runs of ours, and
    its energy within that of theirs; 2000 whitened configurations have none of that, and conserve the energy."""
    folder = shared_data / "07-sscha/tdscha-h2-qgd"
    # columns: fs, centroids (6) bohr, momenta (6) Rydberg, energy Ry
    path = np.loadtxt(folder / "semi-implicit-verlet0.1-10.0-100.pos")
    published = np.linalg.norm(path[:, 4:7] - path[:, 1:4], axis=1) * BOHR
    lattice = read_dyn(folder / "final_result1").sum_rule()
    c = lattice.coordinates()
    V = bond()
    slope = V.derivative()

    def evaluate(q):
        x = c.positions(q)
        d = x[:, 1] - x[:, 0]
        r = np.linalg.norm(d, axis=1)
        f = np.zeros_like(x)
        f[:, 0] = slope(r)[:, None] * d / r[:, None]
        f[:, 1] = -f[:, 0]
        return V(r), c.forces(f)

    data = folder / "sscha_ensemble"
    x = np.load(data / "xats_pop1.npy")
    energies, forces = evaluate(c.coordinates(x))
    assert np.abs(energies - np.load(data / "energies_pop1.npy") * RYDBERG).max() < 1e-6  # EMT is the same

    kick = np.zeros(6)
    kick[0] = 0.01 * np.sqrt(RYDBERG)
    drift = 0.5 * (kick @ kick) - 0.5 * np.sum((kick @ c.basis) ** 2)  # of the centre of mass, which moves freely

    def follow(noise, curvature, propagator=KickDriftKick, steps=100):
        g = lattice.gaussian(c, 0.0)
        g.P = kick @ c.basis
        lengths, energy = [], []

        def observe(t, g, a):
            x = c.positions(g.R)
            lengths.append(np.linalg.norm(x[1] - x[0]))
            energy.append(a.energy + g.kinetic() + drift)

        propagate(g, SampledAverages(noise, evaluate, curvature), 0.1 * units.fs, steps, propagator, observe=observe)
        return np.array(lengths), np.array(energy)

    rng = np.random.default_rng(0)
    many = [follow(rng.normal(size=(100, c.size)), "published", GeneralisedVerlet, 40) for _ in range(12)]
    lengths = np.array([m[0] for m in many])
    spread = lengths.std(0)[1:]
    assert (np.abs(published[:40] - lengths.mean(0)[1:]) < 3.5 * spread + 1e-4).all()
    start = np.array([m[1][0] for m in many])
    assert abs(path[0, 13] * RYDBERG - start.mean()) < 3.5 * start.std()

    white = correlated_normals(2000, c.size, 5)
    fine, energy = follow(white, "gradient")
    other, _ = follow(white, "gradient", GeneralisedVerlet)
    assert np.abs(fine - other).max() < 2e-4
    assert np.ptp(energy) < 2e-4  # eV, of 1.6
