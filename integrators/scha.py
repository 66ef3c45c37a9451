"""The SCHA: the Gaussian of least free energy at a temperature, by importance-reweighted ensembles.

| symbol | name |
|---|---|
| R, D, A(D, T) | `R`, `D`, covariance of the thermal Gaussian of the auxiliary dynamical matrix D |
| F = F_h(D) + <V − ½u·D·u> | `free_energy` |
| ∂F/∂R = −<f>,  ∂F/∂A = ½(K − D), K = <∂²V> | `force`, `curvature` |
| ρ_w = ρ(x; R, D)/ρ(x; R0, D0) | `weights`; effective size (Σw)²/Σw² (Kong, Liu, Wong 1994) |

(Errea, Calandra, Mauri, PRB 89, 064302 (2014); Bianco et al., PRB 96, 014111 (2017).) Averages are taken of V and f
less those of the auxiliary crystal, whose own averages are known: a harmonic crystal is then solved without noise.
The minimiser iterates the stationarity conditions, R ← R + D⁻¹<f> and D ← K, with Anderson acceleration,
on one ensemble for as long as its weights stay good, then draws the next one with the same noise.
"""

from dataclasses import dataclass, field

import numpy as np

from engine import units
from engine.errors import PhysicsError
from integrators.gaussian.averages import configurations, gradient_curvature, symmetric
from integrators.gaussian.state import bose, square_root


def thermal_covariance(D, temperature, hbar=units.hbar):
    """A (d, d) of the thermal Gaussian of D."""
    w2, e = np.linalg.eigh(D)
    if w2[0] <= 0:
        raise PhysicsError(f"auxiliary force constants: lowest squared frequency {w2[0]:.3g} eV/(u Å²) is not positive")
    w = np.sqrt(w2)
    return (e * (hbar * (2 * bose(w, temperature, hbar) + 1) / (2 * w))) @ e.T


def draw(evaluate, noise, R, D, temperature, hbar=units.hbar):
    """An `Ensemble` at (R, D): `evaluate` x (N, d) -> energies (N,), forces (N, d); `noise` (N, d)."""
    root = square_root(thermal_covariance(D, temperature, hbar))
    x = configurations(R, root, noise)
    energies, forces = evaluate(x)
    ensemble = Ensemble(x, energies, forces, R, D, temperature, hbar)
    ensemble.correction = gradient_curvature(root, noise, forces) - ensemble.estimate(R, D).curvature
    return ensemble


def harmonic_free_energy(D, temperature, hbar=units.hbar):
    """Σ ħω/2 + kT ln(1 − exp(−ħω/kT)) in eV."""
    w = np.sqrt(np.linalg.eigvalsh(D))
    F = 0.5 * hbar * w.sum()
    if temperature > 0:
        kT = units.kB * temperature
        F += kT * np.log1p(-np.exp(-hbar * w / kT)).sum()
    return float(F)


@dataclass
class Estimate:
    """Averages at (R, D) with the effective number of configurations behind them."""

    free_energy: float
    error: float
    force: np.ndarray
    curvature: np.ndarray
    effective: float


class Ensemble:
    """Configurations x (N, d) drawn from (R0, D0) at a temperature, with their energies (N,) and forces (N, d).

    `correction` (d, d) is added to reweighted curvatures: `draw` sets it so that K at (R0, D0) is the exact gradient of
    the sampled energy. The minimum found is then that of the sampled free energy itself, a smooth function for
    noise kept fixed, and a stationary state of sampled TD-SCHA.
    """

    def __init__(self, x, energies, forces, R0, D0, temperature, hbar=units.hbar, correction=0.0):
        self.x, self.energies, self.forces = x, energies, forces
        self.R0, self.D0 = np.array(R0), np.array(D0)
        self.temperature, self.hbar = temperature, hbar
        self.log_density0 = self._log_density(R0, thermal_covariance(D0, temperature, hbar))
        self.correction = correction

    def _log_density(self, R, A):
        s, U = square_root(A)
        z = (self.x - R) @ U / s
        return -0.5 * np.einsum("nd,nd->n", z, z) - np.log(s).sum()

    def weights(self, R, D):
        """Importance weights (N,) of the Gaussian (R, D), not normalised: ρ/ρ0 itself."""
        return np.exp(self._log_density(R, thermal_covariance(D, self.temperature, self.hbar)) - self.log_density0)

    def usefulness(self, R, D):
        """Effective over actual number of configurations at (R, D), in (0, 1]."""
        w = self.weights(R, D)
        return float(w.sum() ** 2 / (w @ w)) / len(w)

    def estimate(self, R, D):
        A = thermal_covariance(D, self.temperature, self.hbar)
        w = np.exp(self._log_density(R, A) - self.log_density0)
        effective = w.sum() ** 2 / (w @ w)
        w = w / w.sum()
        u = self.x - R
        harmonic = u @ D
        excess = self.energies - 0.5 * np.einsum("nd,nd->n", u, harmonic)
        df = self.forces + harmonic
        mean = w @ excess
        error = np.sqrt(max(w**2 @ (excess - mean) ** 2, 0.0))
        F = harmonic_free_energy(D, self.temperature, self.hbar) + mean
        K = D - symmetric(np.linalg.solve(A, (w[:, None] * u).T @ df))
        return Estimate(float(F), float(error), w @ df, K + self.correction, float(effective))

    def third_order(self, R, D):
        """<∂³V> (d, d, d) from the ensemble: −<(νν − A⁻¹) δf>, ν = A⁻¹u, symmetrised over its indices."""
        inverse = np.linalg.inv(thermal_covariance(D, self.temperature, self.hbar))
        w = self.weights(R, D)
        w = w / w.sum()
        u = self.x - R
        df = self.forces + u @ D
        df = df - w @ df
        v = u @ inverse
        d = len(R)
        raw = -((w[:, None, None] * v[:, :, None] * v[:, None, :]).reshape(len(w), -1).T @ df).reshape(d, d, d)
        return (raw + raw.transpose(0, 2, 1) + raw.transpose(2, 1, 0)) / 3.0


@dataclass
class ClosedForm:
    """In place of an ensemble: `averages(R, A) -> <V>, <f>, <∂²V>` known exactly (a quartic potential's)."""

    averages: object
    temperature: float
    hbar: float = units.hbar

    def usefulness(self, R, D):
        return 1.0

    def estimate(self, R, D):
        A = thermal_covariance(D, self.temperature, self.hbar)
        V, f, K = self.averages(R, A)
        F = harmonic_free_energy(D, self.temperature, self.hbar) + V - 0.5 * float(np.sum(A * D))
        return Estimate(F, 0.0, f, K, np.inf)


def stability(D, third, temperature, fourth=None, hbar=units.hbar):
    """The free-energy Hessian ∂²F/∂R∂R (d, d): D + Φ3 Λ [1 − Φ4 Λ]⁻¹ Φ3, Λ = ½ ∂A/∂D (Bianco et al., eq. 20).

    `third` (d, d, d) = <∂³V>; without `fourth` (d, d, d, d) the bracket is 1. Negative eigenvalues: unstable.
    """
    w2, e = np.linalg.eigh(D)
    w = np.sqrt(w2)
    n = bose(w, temperature, hbar)
    a = hbar * (2 * n + 1) / (2 * w)
    kT = units.kB * temperature
    slope = -hbar * (2 * n + 1) / (4 * w2 * w) - (hbar**2 * n * (n + 1) / (2 * w2 * kT) if temperature > 0 else 0.0)
    gap = w2[:, None] - w2[None, :]
    close = np.abs(gap) < 1e-6 * w2.max()
    Lam = 0.5 * np.where(close, 0.5 * (slope[:, None] + slope[None, :]), (a[:, None] - a[None, :]) / np.where(close, 1, gap))
    modes = np.einsum("abc,bi,cj->aij", third, e, e, optimize=True)
    d = len(D)
    left = (modes * Lam).reshape(d, -1)
    right = modes.reshape(d, -1)
    if fourth is not None:
        four = np.einsum("abcd,ai,bj,ck,dl->ijkl", fourth, e, e, e, e, optimize=True).reshape(d * d, d * d)
        right = np.linalg.solve(np.eye(d * d) - four * Lam.reshape(-1), right.T).T
    return symmetric(D + left @ right.T)


@dataclass
class Report:
    """One line of the convergence report."""

    population: int
    free_energy: float  # eV
    error: float
    displacement: float  # Å√u: |D⁻¹f|, how far the centroid still wants to go
    shift: float  # cm⁻¹: largest first-order change of a frequency, K against D
    effective: float
    lowest: float  # cm⁻¹

    def within(self, tolerance):
        """Is this self-consistent to `tolerance` cm⁻¹ (and a hundredth of it, in Å√u, for the centroid)?"""
        return self.shift < tolerance and self.displacement < 0.01 * tolerance


@dataclass
class Minimiser:
    """Iterates (R, D) to self-consistency; all that it needs to go on is in `state_dict`.

    reweight : relax on each ensemble by importance reweighting before the next is drawn (worth it from some twenty
        configurations a mode on); otherwise one accelerated step an ensemble
    sample : (R, D) -> a new `Ensemble` (or `ClosedForm`) drawn there
    symmetrise : (force (d,), curvature (d, d)) -> the same, projected (identity if None)
    keep : an ensemble is reused while its usefulness stays above this
    """

    sample: object
    R: np.ndarray
    D: np.ndarray
    symmetrise: object = None
    keep: float = 0.6
    mixing: float = 0.5
    memory: int = 8
    move_centroids: bool = True
    reweight: bool = True
    population: int = 0
    reports: list = field(default_factory=list)
    ensemble: object = None
    history: list = field(default_factory=list)

    def residual(self, estimate):
        force, K = estimate.force, estimate.curvature
        if self.symmetrise is not None:
            force, K = self.symmetrise(force, K)
        step = np.linalg.solve(self.D, force) if self.move_centroids else np.zeros_like(force)
        return step, symmetric(K) - self.D

    def line(self, estimate, step, change):
        w2, e = np.linalg.eigh(self.D)
        shift = np.abs(np.einsum("di,dc,ci->i", e, change, e)) / (2 * np.sqrt(w2))
        return Report(
            self.population, estimate.free_energy, estimate.error, float(np.linalg.norm(step)),
            float(shift.max() * units.per_cm), estimate.effective, float(np.sqrt(w2[0]) * units.per_cm),
        )

    def relax_on_ensemble(self, tolerance, iterations=40):
        """Self-consistency on the present ensemble; stops when converged, or when its weights have gone bad.

        The step is the fixed point's with Anderson acceleration, shortened until D stays positive and the
        weights do not collapse.
        """
        history = []
        for _ in range(iterations):
            estimate = self.ensemble.estimate(self.R, self.D)
            step, change = self.residual(estimate)
            if self.line(estimate, step, change).within(0.02 * tolerance):
                break
            z, r = self._join(self.R, self.D), self._join(step, change)
            history = [*history[-self.memory :], (z, r)]
            target = _anderson(history, self.mixing)
            if not self._accept(target - z):
                history = []
                if not self._accept(self.mixing * r):
                    break
            if self.ensemble.usefulness(self.R, self.D) < self.keep:
                break

    def _join(self, R, D):
        return np.concatenate([R, D[np.triu_indices(len(D))]])

    def _accept(self, step):
        """Take the longest of step, step/2, ... that keeps D well positive and the ensemble useful."""
        d = len(self.R)
        dD = np.zeros((d, d))
        dD[np.triu_indices(d)] = step[d:]
        dD = dD + dD.T - np.diag(np.diag(dD))
        floor = 0.25 * np.linalg.eigvalsh(self.D)[0]
        for _ in range(12):
            D = self.D + dD
            if np.linalg.eigvalsh(D)[0] > floor:
                if not self.reweight or self.ensemble.usefulness(self.R + step[:d], D) > 0.7 * self.keep:
                    self.R, self.D = self.R + step[:d], D
                    return True
            step, dD = 0.5 * step, 0.5 * dD
        return False

    def run(self, populations, tolerance, tell=lambda line: None):
        """Populations until a fresh ensemble shows residuals below `tolerance` (cm⁻¹); True if converged."""
        for _ in range(populations):
            if self.step(tolerance, tell):
                return True
        return False

    def step(self, tolerance, tell=lambda line: None):
        """One population: draw, report, relax. True if the fresh ensemble already was self-consistent."""
        self.ensemble = self.sample(self.R, self.D)
        self.population += 1
        estimate = self.ensemble.estimate(self.R, self.D)
        line = self.line(estimate, *self.residual(estimate))
        self.reports.append(line)
        tell(line)
        if line.within(tolerance):
            return True
        if self.reweight:
            self.relax_on_ensemble(tolerance)
        else:
            step, change = self.residual(estimate)
            self.history = [*self.history[-self.memory :], (self._join(self.R, self.D), self._join(step, change))]
            z, r = self.history[-1]
            if not self._accept(_anderson(self.history, self.mixing) - z):
                self.history = self.history[-1:]
                self._accept(self.mixing * r)
        return False

    def state_dict(self):
        rows = np.array([[getattr(r, k) for k in Report.__dataclass_fields__] for r in self.reports])
        tree = {"R": self.R, "D": self.D, "population": self.population, "reports": rows}
        if isinstance(self.ensemble, Ensemble):
            e = self.ensemble
            tree["ensemble"] = {"x": e.x, "energies": e.energies, "forces": e.forces, "R0": e.R0, "D0": e.D0,
                                "temperature": e.temperature, "hbar": e.hbar,
                                "correction": e.correction}
        if self.history:
            tree["history"] = np.array(self.history)
        return tree

    def load_state_dict(self, tree):
        self.R, self.D = np.array(tree["R"], float), np.array(tree["D"], float)
        self.population = int(tree["population"])
        self.history = [(z, r) for z, r in np.array(tree["history"])] if "history" in tree else []
        if "ensemble" in tree:
            self.ensemble = Ensemble(**tree["ensemble"])
        self.reports = [Report(int(r[0]), *map(float, r[1:])) for r in np.asarray(tree["reports"])]


def _anderson(history, mixing):
    """Next point of a fixed-point iteration from the last (point, residual) pairs (Anderson 1965)."""
    z, r = history[-1]
    if len(history) == 1:
        return z + mixing * r
    dz = np.array([b[0] - a[0] for a, b in zip(history, history[1:])]).T
    dr = np.array([b[1] - a[1] for a, b in zip(history, history[1:])]).T
    gamma = np.linalg.lstsq(dr, r, rcond=1e-8)[0]
    return z + mixing * r - (dz + mixing * dr) @ gamma
