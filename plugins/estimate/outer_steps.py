"""A map of multiple time stepping: what each outer step gives in speed and costs in accuracy.

From one equilibrated state, every outer step runs for the same physical time, beside single stepping with the summed
potentials. Measured: speed; drift and fluctuation of the conserved quantity; the radial distribution function and the
density of states, as rms differences from single stepping in units of their combined statistical error (about 1 where
they agree: errors come from the two halves of each run); and the resonance limit, predicted (``integrators.resonance``)
and found. Single stepping may be tried at longer steps as well, since what counts is the fastest way to the same drift:
"gain" is the speed over that of the longest single step that drifts no more, by EQUAL standard errors.

Beside each speed stands what the costs of the levels alone promise: with c the time of the summed forces and c_j that of
level j, which acts every k_j innermost steps,  k c / Σ_j (k/k_j) c_j:  with two levels, k c / (c_slow + k c_fast).

A bath exchanges energy with a system whose energy, as the integrator conserves it, differs from the true one by O(Δt²);
after a change of step this difference finds a new mean within a few times 1/friction, and the account moves once by it (by
3e-4 eV/atom in rock salt at 8 fs). So under Langevin every row runs for 5/friction before anything is measured.
What drifts after that is true: heat that the integrator makes and the bath takes away, proportional to friction and Δt⁴.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field

import numpy as np

from engine import units
from engine.errors import InputError, PhysicsError
from integrators import resonance
from integrators.langevin import Langevin
from integrators.nve import NVE
from plugins.analysis.rdf import RadialDistribution
from plugins.analysis.vacf import VelocityAutocorrelation
from plugins.estimate.clock import clock

EXPLODED = 0.2  # eV/atom that the conserved quantity may move before a run counts as unstable
FREQUENCIES = np.linspace(0.0, 15.0, 61)  # THz, where densities of states are compared
EQUAL = 2.0  # standard errors within which drifts are the same
WINDOW = 960.0  # fs, the longest lag of the velocities' correlation


@dataclass
class Row:
    """One outer step: `every` innermost steps (0 = single stepping), `outer` fs; speeds are of the first row's."""

    every: int
    outer: float
    formula: float = float("nan")  # speed that costs alone promise
    ns_per_day: float = float("nan")
    speedup: float = float("nan")
    drift: float = float("nan")  # eV/atom/ps
    drift_error: float = float("nan")
    fluctuation: float = float("nan")  # eV/atom, rms about the line
    rdf: float = float("nan")  # in σ
    dos: float = float("nan")  # in σ
    stable: bool = True
    curves: dict = field(default_factory=dict, repr=False)


@dataclass
class Map:
    ensemble: str
    temperature: float
    atoms: int
    period: float  # fs, fastest
    limit: float  # fs, predicted
    costs: list[float]  # s of the forces of each level, then of their sum
    rows: list[Row]

    def gain(self, row):
        """Speed over that of the longest single step whose drift is not larger; NaN if every one's is."""
        fits = [r for r in self.rows if r.every == 0 and r.stable
                and abs(r.drift) - abs(row.drift) <= EQUAL * np.hypot(r.drift_error, row.drift_error)]
        return row.ns_per_day / max(fits, key=lambda r: r.outer).ns_per_day if fits and row.stable else float("nan")

    def table(self):
        head = (
            f"{'every':>6} {'outer/fs':>9} {'ns/day':>9} {'speed':>7} {'formula':>7} {'gain':>6} {'drift eV/atom/ps':>24} "
            f"{'rms eV/atom':>12} {'RDF/σ':>7} {'DOS/σ':>7}"
        )
        lines = [
            f"{self.ensemble}, {self.temperature:.0f} K, {self.atoms} atoms; resonance limit predicted at {self.limit:.1f} fs "
            f"(half the fastest period: {self.period / 2:.1f} fs)",
            f"forces of the levels, fastest first: {', '.join(f'{1e3 * c:.3g} ms' for c in self.costs[:-1])}; "
            f"of their sum: {1e3 * self.costs[-1]:.3g} ms",
            head,
        ]
        for r in self.rows:
            name = "single" if r.every == 0 else str(r.every)
            if not r.stable:
                lines.append(f"{name:>6} {r.outer:9.2f} {r.ns_per_day:9.3g} {r.speedup:7.2f} {r.formula:7.2f} {'unstable':>31}")
                continue
            lines.append(
                f"{name:>6} {r.outer:9.2f} {r.ns_per_day:9.3g} {r.speedup:7.2f} {r.formula:7.2f} {self.gain(r):6.2f} "
                f"{r.drift:13.1e} ± {r.drift_error:8.1e} {r.fluctuation:12.1e} {r.rdf:7.2f} {r.dos:7.2f}"
            )
        unstable = [r.outer for r in self.rows if not r.stable and r.every]
        stable = [r.outer for r in self.rows if r.stable and r.every]
        if unstable:
            lines.append(
                f"resonance found between {max([s for s in stable if s < min(unstable)], default=0):g} and {min(unstable):g} fs"
            )
        return "\n".join(lines)

    def as_dict(self):
        out = asdict(self)
        for row in out["rows"]:
            row["curves"] = {name: np.asarray(c).tolist() for name, c in row["curves"].items()}
        return out


def measure(
    simulation,
    levels,
    timestep,
    temperature,
    every,
    picoseconds=5.0,
    equilibrate=2.0,
    friction=None,
    seconds=1.0,
    singles=(1,),
    say=lambda text: None,
):
    """The Map of `levels` ([{name: weight}], two or more, the last one slow) on `simulation`, which is used up.

    timestep : fs, innermost;  every : values for the last level, those of the levels between are as near as they divide;
    friction : 1/fs for Langevin, None for NVE;  seconds : wall time spent on timing each row; singles : steps of single
    stepping, in innermost ones, the first being what the others are compared with
    """
    if len(levels) < 2:
        raise InputError("a map of outer steps needs a stage with two levels or more")
    weights = {}
    for level in levels:
        for name, weight in level.items():
            weights[name] = weights.get(name, 0.0) + weight
    single = {name: weight for name, weight in weights.items() if weight != 0.0}
    sim = simulation
    sim.hooks, sim.updaters = [], []
    sim.set_levels([single])
    sim.set_integrator(Langevin(timestep, temperature, 0.02))
    sim.run(int(1000 * equilibrate / timestep))
    start = sim.state.state_dict()
    start = {k: (v.copy() if isinstance(v, np.ndarray) else v) for k, v in start.items()} | {
        "atoms": {k: v.copy() for k, v in start["atoms"].items()}
    }
    sim.set_levels(levels, _every(1, len(levels)))
    limit = resonance.estimate(sim, timestep)[-1]
    costs = [_cost(sim, level, seconds) for level in range(len(levels))]
    sim.set_levels([single])
    costs.append(_cost(sim, 0, seconds))
    rows = []
    for k, inner in [(0, m) for m in singles] + [(k, 1) for k in every]:
        row = _row(sim, start, k, levels, single, inner * timestep, temperature, friction, picoseconds, seconds)
        each = _every(k, len(levels)) if k else None
        row.formula = k * costs[-1] / sum(k // e * c for e, c in zip(each, costs, strict=False)) if k else inner / singles[0]
        reference = rows[0] if rows else row
        row.speedup = row.ns_per_day / reference.ns_per_day
        if row.stable:
            row.rdf = _distance(row, reference, "rdf")
            row.dos = _distance(row, reference, "dos")
        rows.append(row)
        say(f"{k or 'single'}, {row.outer:g} fs: {row.ns_per_day:.3g} ns/day{'' if row.stable else ', unstable'}")
    return Map("NVE" if friction is None else "Langevin", temperature, sim.state.n, limit.period, limit.limit, costs, rows)


def _cost(sim, level, seconds):
    """Seconds of the forces of one level at standing atoms."""
    sim.forces(frozenset(), level)
    times, left = [], 0.2 * seconds
    while left > 0 or len(times) < 5:
        begin = clock()
        sim.forces(frozenset(), level)
        times.append(clock() - begin)
        left -= max(times[-1], 1e-6)
    return float(np.median(times))


def _row(sim, start, k, levels, single, timestep, temperature, friction, picoseconds, seconds):
    """Measure one outer step, k = 0 being single stepping. Warnings are muted: going past the limit is the purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _restore(sim, start)
        sim.set_levels([single] if k == 0 else levels, None if k == 0 else _every(k, len(levels)))
        sim.set_integrator(NVE(timestep) if friction is None else Langevin(timestep, temperature, friction))
        row = Row(k, sim.integrator.step_length)
        _time(sim, row, seconds)
        _restore(sim, start)
        if row.stable:
            _run(sim, row, picoseconds, 5 / friction if friction else 0.0)
    return row


def _every(k, count):
    """1, …, k for `count` levels; those between get the powers of k nearest below that divide it."""
    out = [1]
    for j in range(1, count - 1):
        wanted = k ** (j / (count - 1))
        divisors = [d for d in range(1, k + 1) if k % d == 0 and d % out[-1] == 0 and d <= wanted + 1e-9]
        out.append(max(divisors, default=out[-1]))
    return [*out, k]


def _restore(sim, tree):
    atoms = {k: v.copy() for k, v in tree["atoms"].items()}
    for name, attribute in sim.state.table.items():  # of observers that came since
        atoms.setdefault(name, np.full((len(atoms["tags"]), *attribute.shape), attribute.default, attribute.dtype))
    sim.state.load_state_dict({**tree, "atoms": atoms})
    sim.domain.invalidate()
    sim.forces.stale, sim.hooks = True, []
    sim.account.entries.clear()


def _time(sim, row, seconds):
    """ns/day of steps without anybody watching; counts are doubled until they last."""
    steps = 2
    try:
        sim.run(2)
        while True:
            begin = clock()
            sim.run(steps)
            spent = clock() - begin
            if spent > seconds or not np.isfinite(sim.state.velocities).all():
                break
            steps = max(2 * steps, int(0.7 * steps * seconds / max(spent, 1e-9)))
    except PhysicsError:
        row.stable = False
        return
    row.ns_per_day = steps / spent * row.outer * 86400e-6


def _run(sim, row, picoseconds, settle):
    """Energies, RDF and density of states over two halves of a run, after `settle` fs."""
    look = max(1, round(8.0 / row.outer))  # steps between looks: 8 fs, or the outer step
    half = max(int(500 * picoseconds / row.outer) // look, 8) * look
    energies, n = [], sim.state.n

    def watch(s):
        energy = float(s.conserved().sum()) / n
        energies.append((s.state.time / units.fs / 1000, energy))
        if not abs(energy - energies[0][1]) < EXPLODED:
            s.stop_reason = "the conserved quantity has run away"

    try:
        sim.run(int(settle / row.outer))
        for part in range(2):
            rdf = RadialDistribution(every=look * max(1, round(5 / look)), bins=100, name=f"rdf{part}")
            lags = max(4, min(int(WINDOW / (look * row.outer)) + 1, half // look))
            vacf = VelocityAutocorrelation(every=look, lags=lags, origins=4, name=f"vacf{part}")
            sim.hooks = [rdf, vacf]
            sim.attach(watch, look, frozenset({"energy"}))
            sim.run(half)
            if sim.stop_reason:
                row.stable = False
                return
            g = rdf.result(sim)
            row.curves["r"] = g["r"].values
            row.curves[f"rdf{part}"] = np.concatenate(np.atleast_2d(g["g"].values))
            row.curves["frequency"] = FREQUENCIES
            row.curves[f"dos{part}"] = _density_of_states(sim, vacf.result(sim))
    except PhysicsError:
        row.stable = False
        return
    t, e = np.array(energies).T
    row.drift, row.drift_error = slope(t, e)
    row.fluctuation = float(np.std(e - np.polyval(np.polyfit(t, e, 1), t)))


def _density_of_states(sim, result):
    """At FREQUENCIES, from lags up to WINDOW, so that looks of different spacing give the same curve."""
    state = sim.state
    weight = np.bincount(state.species[: state.n], state.masses, len(state.species_names))
    t = result["time"].values * 1000
    C = weight @ np.atleast_2d(result["vacf"].values)
    C = C / C[0] * np.where(t < WINDOW, np.cos(0.5 * np.pi * np.minimum(t / WINDOW, 1.0)) ** 2, 0.0)
    C[0] *= 0.5
    return 12.0 * (t[1] - t[0]) / 1000 * np.cos(2 * np.pi * FREQUENCIES[:, None] * t / 1000) @ C


def slope(t, e, blocks=10):
    """Slope of a line through block means and its standard error from their residuals."""
    t = np.array([b.mean() for b in np.array_split(t, blocks)])
    e = np.array([b.mean() for b in np.array_split(e, blocks)])
    t = t - t.mean()
    b = t @ (e - e.mean()) / (t @ t)
    left = e - e.mean() - b * t
    return float(b), float(np.sqrt(left @ left / (blocks - 2) / (t @ t)))


def _distance(row, reference, name):
    """rms difference of the means of halves over the rms of its error: 0 for the reference itself."""
    a, b = ([r.curves[f"{name}{h}"] for h in range(2)] for r in (row, reference))
    if row is reference:
        return 0.0
    difference = (a[0] + a[1] - b[0] - b[1]) / 2
    error2 = ((a[0] - a[1]) ** 2 + (b[0] - b[1]) ** 2) / 4
    return float(np.sqrt((difference**2).mean() / max(error2.mean(), 1e-300)))


def draw(maps, path):
    """Speed and drift against the outer step, one line for each map; a dashed line where resonance is predicted."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for k, m in enumerate(maps):
        rows = [r for r in m.rows if r.every]
        outer = [r.outer for r in rows]
        left.plot(outer, [r.speedup for r in rows], "o-", color=f"C{k}", label=m.ensemble)
        good = [r for r in rows if r.stable]
        right.errorbar(
            [r.outer for r in good],
            [abs(r.drift) for r in good],
            [r.drift_error for r in good],
            fmt="o-",
            color=f"C{k}",
            label=f"{m.ensemble}: drift",
        )
        right.plot([r.outer for r in good], [r.fluctuation for r in good], "s:", color=f"C{k}", label=f"{m.ensemble}: rms")
        for axis in (left, right):
            axis.axvline(m.limit, color=f"C{k}", ls="--", lw=0.8)
    left.set(xlabel="outer step (fs)", ylabel="speed, single stepping = 1")
    right.set(xlabel="outer step (fs)", ylabel="|drift| (eV/atom/ps), rms (eV/atom)", yscale="log")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
