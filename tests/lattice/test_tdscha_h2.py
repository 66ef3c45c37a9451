"""The H2 set: a quartic potential under a 200 THz pulse, followed for 1000 fs; sampled averages against exact ones."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from engine import units
from integrators.gaussian.averages import Averages, SampledAverages
from integrators.gaussian.propagators import KickDriftKick, propagate
from integrators.gaussian.sampling import correlated_normals
from plugins.lattice.quantum_espresso import BOHR, RYDBERG, read_charges, read_dyn
from potentials.polynomial import Polynomial


@pytest.fixture(scope="module")
def h2(shared_data):
    folder = shared_data / "07-sscha/tdscha-h2-torch"
    lattice = read_dyn(folder / "final_result1").sum_rule()
    tensors = [np.load(folder / f"{n}.npy") * RYDBERG / BOHR**k for n, k in (("phi", 2), ("chi", 3), ("psi", 4))]
    lattice.dielectric, lattice.born = read_charges(folder / "eps_charges")
    c = lattice.coordinates()
    return lattice, tensors, c, Polynomial.from_tensors(*tensors).transformed(c.to_cartesian)


def pulse(lattice, c):
    """1000 kV/cm at 200 THz, t0 = 200 fs, σ = 150 fs, times 2/(1 + √ε); that code's sign is minus."""
    screened = 0.01 * 2.0 / (1.0 + np.sqrt(lattice.dielectric[0, 0]))
    charge = c.forces(lattice.born[:, 0, :])  # force along q of a unit field along x

    def external(t):
        fs = t / units.fs
        return -charge * screened * np.cos(2 * np.pi * 0.2 * (fs - 200)) * np.exp(-((fs - 200) ** 2) / (2 * 150.0**2))

    return external


def test_thousand_femtoseconds_under_a_pulse(h2):
    """Energy less work over the whole pulse; up to its maximum, every block against the equations written with plain
    tensors for a high-order ODE solver, to second order in the time step."""
    lattice, tensors, c, poly = h2
    external = pulse(lattice, c)
    T, start = 250 * units.fs, lattice.gaussian(c, 0.0)

    def follow(T, steps):
        g, work, energy, last = start.copy(), [0.0], [], [start.R, external(0.0)]

        def observe(t, g, a):
            force = external(t)
            work.append(work[-1] + 0.5 * float((force + last[1]) @ (g.R - last[0])))
            last[:] = [g.R, force]
            energy.append(a.energy + g.kinetic() - work[-1])

        propagate(g, lambda g: Averages(*poly.averages(g.R, g.A)), T / steps, steps, KickDriftKick, external, observe=observe)
        return np.concatenate([g.R, g.P, g.A.ravel(), g.B.ravel(), g.G.ravel()]), np.ptp(work), np.ptp(energy)

    whole = follow(1000 * units.fs, 20000)
    assert whole[1] > 2e-3  # eV that the pulse gives, and mostly takes again
    assert whole[2] < 2e-4
    coarse, fine = follow(T, 5000), follow(T, 10000)
    assert coarse[2] / fine[2] == pytest.approx(4.0, rel=0.1)

    d = c.size
    phi, chi, psi = (np.einsum({2: "ab,ai,bj->ij", 3: "abc,ai,bj,ck->ijk", 4: "abcd,ai,bj,ck,dl->ijkl"}[t.ndim], t,
                               *[c.to_cartesian] * t.ndim, optimize=True) for t in tensors)

    def rhs(t, z):
        R, P = z[:d], z[d : 2 * d]
        A, B, G = z[2 * d :].reshape(3, d, d)
        K = phi + np.einsum("ijk,k->ij", chi, R) + 0.5 * np.einsum("ijkl,kl->ij", psi, np.outer(R, R) + A)
        f = -phi @ R - 0.5 * np.einsum("ijk,jk->i", chi, np.outer(R, R) + A)
        f -= np.einsum("ijkl,j,k,l->i", psi, R, R, R) / 6 + 0.5 * np.einsum("ijkl,j,kl->i", psi, R, A)
        KG = K @ G
        return np.concatenate([P, f + external(t), (G + G.T).ravel(), -(KG + KG.T).ravel(), (B - A @ K).ravel()])

    z0 = np.concatenate([start.R, start.P, start.A.ravel(), start.B.ravel(), start.G.ravel()])
    z = solve_ivp(rhs, (0, T), z0, method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1]
    errors = [np.abs(ours[0] - z).max() for ours in (coarse, fine)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert np.abs((4 * fine[0] - coarse[0]) / 3 - z).max() < 1e-3 * np.abs(z).max()


def test_sampled_averages_converge_as_inverse_root_of_n(h2):
    """K from whitened pairs against the closed form: N^(-1/2) in the root mean square over 24 seeds. The mean force of
    a quartic potential is a cubic's average, and whitened pairs give that exactly; raw ones converge as N^(-1/2)."""
    lattice, _, c, poly = h2
    g = lattice.gaussian(c, 0.0)
    g.R = g.R + 0.02
    _, force, K = poly.averages(g.R, g.A)
    sizes = (50, 200, 800, 3200)
    errors = []
    for n in sizes:
        noise = [correlated_normals(n, c.size, seed) for seed in range(24)]
        raw = [correlated_normals(n, c.size, seed, whiten=False) for seed in range(24)]
        white = [SampledAverages(y, poly.evaluate)(g) for y in noise]
        rough = [SampledAverages(y, poly.evaluate)(g) for y in raw]
        assert max(np.abs(a.force - force).max() for a in white) < 1e-9
        errors.append([np.sqrt(np.mean([(a.curvature - K) ** 2 for a in white])),
                       np.sqrt(np.mean([(a.curvature - K) ** 2 for a in rough])),
                       np.sqrt(np.mean([(a.force - force) ** 2 for a in rough]))])
    slopes = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slopes == pytest.approx([-0.5, -0.5, -0.5], abs=0.12)
    assert errors[-1][0] < 0.7 * errors[-1][1]
