"""How fast a model runs here, from a short measurement, and what that means for other sizes (after the practical guide of
arXiv 2503.09814, section iv, which has people do this by hand).

A few sizes of the wanted matter run for a second each, from a few atoms to what no longer fits into caches. The time of a
step is then

    step(n) = a + b n + s n^(2/3) + p √(ln n) (u + v n) + w + f n,    step(n, R ranks) = step(n/R) + messages

| symbol | meaning |
|---|---|
| a | what every step costs whatever its size: Python, calls, the model's own overhead |
| b | time for each atom: forces, moving |
| s | time for each atom at the surface: ghosts |
| p √(ln n) | share of steps that rebuild lists: the fastest of n atoms decides, and Gaussians of n have that maximum |
| u, v | time of a rebuild, and for each atom in it |
| w, f | time of rows and frames, spread over the steps between them: of each step, and for each atom of all ranks |
| messages | positions out and forces back over six faces, by ``engine.domain.plan`` with shared memory between ranks |

n/R atoms on one rank cost what a brick of their own does, ghosts included. Between measured sizes what was measured counts,
not the fit; memory beyond the largest grows by c for each atom. Steps with and without a rebuild are told apart, because a
large system takes few steps in a second.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numba
import numpy as np
from numba.core import event

import engine
from engine.build import state_from_atoms, thermalise
from engine.config.ramp import Ramp
from engine.domain.plan import NETWORKS, step_time
from engine.errors import InputError
from engine.kernels.compiled import cache_folder
from engine.memory import peak
from engine.parallel import share_cores
from engine.simulation import Simulation
from integrators.composition import Composition
from integrators.nve import NVE
from plugins.estimate.clock import clock

FORMAT = 6  # of what is kept
FACES = 6  # ranks that ghosts come from


@dataclass
class Calibration:
    """sizes (k,), seconds (k,) of a step without a rebuild, bytes (k,) of the process; a, b, s, p, u, v, c as above."""

    sizes: list[int]
    seconds: list[float]
    bytes: list[int]
    a: float
    b: float
    s: float
    c: float
    p: float
    u: float
    v: float
    w: float
    f: float
    ghosts: float  # Å a side that a brick grows by (cutoff and skin)
    density: float  # atoms/Å³
    threads: int

    def step(self, atoms, ranks=1):
        """Seconds a step for `atoms` spread over `ranks`."""
        own = atoms / ranks
        seconds = self._alone(own) + self.p * np.log(max(own, 2)) ** 0.5 * (self.u + self.v * own)
        seconds += self.w + self.f * atoms
        if ranks > 1:
            side = (own / self.density) ** (1 / 3)
            shell = ((side + 2 * self.ghosts) ** 3 - side**3) * self.density
            seconds += step_time(NETWORKS["shared-memory"], ranks, own, shell, FACES, 0.0)[1]
        return seconds

    def memory(self, atoms, ranks=1):
        """Bytes of all ranks together."""
        own = atoms / ranks
        return ranks * (float(np.interp(own, self.sizes, self.bytes)) + self.c * max(own - self.sizes[-1], 0.0))

    def limit(self, atoms, ranks=1, available=None):
        """What limits it, in words."""
        own = atoms / ranks
        if available and self.memory(atoms, ranks) > available:
            return "memory: does not fit"
        if self.a > self._fit(own) - self.a:
            return "overhead of a step: more atoms cost nothing, more ranks gain nothing"
        side = (own / self.density) ** (1 / 3)
        if ranks > 1 and side < 2 * self.ghosts:
            return "ghosts: bricks are smaller than twice the cutoff"
        return "forces"

    def _fit(self, n):
        return self.a + self.b * n + self.s * n ** (2 / 3)

    def _alone(self, n):
        """On one rank: between measured sizes what was measured, outside of them the fit, shifted to join it."""
        if n > self.sizes[-1]:
            return self.seconds[-1] + self._fit(n) - self._fit(self.sizes[-1])
        if n < self.sizes[0]:
            return self.seconds[0] * self._fit(n) / self._fit(self.sizes[0])
        return float(np.interp(n, self.sizes, self.seconds))


def calibrate(potentials, atoms, integrator, seconds=1.0, largest=None, temperature=300.0, writers=None, **options):
    """Measure {name: potential} on replicas of ASE `atoms`, a periodic piece of the wanted matter, velocities at `temperature`.

    integrator : a function that makes one;  largest : most atoms; by default such that a step takes about a tenth of
    `seconds`;  writers : a context with the hooks that write output;  options : of the simulation; with several levels, a step
    is the outermost one
    """
    from threadpoolctl import threadpool_info

    if not atoms.pbc.all():
        raise InputError("a calibration replicates the structure, which needs three periodic directions")
    sizes, plain, rebuilds, outputs, memory, sim = [], [], [], [], [], None
    for factor in _factors():
        n = len(atoms) * int(np.prod(factor))
        if sizes and ((largest and n > largest) or plain[-1] * n / sizes[-1] > 0.1 * seconds or n > 300_000):
            break
        if sizes and n < 1.7 * sizes[-1]:
            continue
        sim = None  # before the next is made: the process's largest memory is of one at a time
        state = state_from_atoms(atoms.repeat(factor))
        thermalise(state, temperature, 1)
        sim = Simulation(state, potentials, integrator(), **options)
        found = step_seconds(sim, seconds)
        plain.append(found.plain), rebuilds.append(found)
        outputs.append(output_seconds(sim, writers, seconds) if writers else 0.0)
        sizes.append(n)
        memory.append(peak())
        reach = sim.domain.cutoff + sim.domain.skin
    a, b, s = _least_squares(sizes, plain, (0, 1, 2 / 3))
    half = len(sizes) // 2  # of the upper half: below it, libraries are most of the memory
    c = (memory[-1] - memory[half]) / (sizes[-1] - sizes[half]) if half < len(sizes) - 1 else 0.0
    u, v = _least_squares(sizes, [max(r.rebuild, 1e-7) for r in rebuilds], (0, 1))
    w, f = _least_squares(sizes, [max(t, 1e-9) for t in outputs], (0, 1))
    p = sum(r.rebuilds for r in rebuilds) / sum(r.steps * np.log(max(n, 2)) ** 0.5 for r, n in zip(rebuilds, sizes, strict=True))
    density = len(atoms) / atoms.get_volume()
    threads = max([info["num_threads"] for info in threadpool_info()], default=1)
    return Calibration(sizes, plain, memory, a, b, s, c, float(p), u, v, w, f, reach, float(density), threads)


def _factors():
    """(1,1,1), (2,1,1), (2,2,1), (2,2,2), (4,2,2), ..."""
    factor = [1, 1, 1]
    while True:
        for d in range(3):
            yield tuple(factor)
            factor[d] *= 2


@dataclass
class Timing:
    """plain : s of a step without a rebuild;  rebuild : what a rebuild adds to it;  rebuilds in so many steps"""

    plain: float
    rebuild: float
    rebuilds: int
    steps: int

    @property
    def mean(self):
        return self.plain + self.rebuild * self.rebuilds / self.steps


def step_seconds(sim, seconds):
    """The Timing of steps over about `seconds`, each step by itself."""
    marks = []
    sim.run(3)
    sim.attach(lambda s: marks.append((clock(), s.domain.rebuilds)), 1, frozenset())
    sim.run(4)
    steps = int(np.clip(seconds * (len(marks) - 1) / max(marks[-1][0] - marks[0][0], 1e-6), 8, 20_000))
    marks.clear()
    sim.run(steps)
    times, counts = np.diff(np.array(marks), axis=0).T
    plain, fresh = times[counts == 0] if (counts == 0).any() else times, times[counts > 0]
    usual = float(np.median(plain))
    rebuild = float(fresh.mean()) - usual if 4 <= len(fresh) < len(times) else _rebuild_seconds(sim)
    return Timing(usual, max(rebuild, 0.0), len(fresh), len(times))


def output_seconds(sim, writers, seconds, most=5):
    """What a step spends on rows and frames, on average: what they have computed and what writing takes. At least one of each
    is written after the first, which makes the file, and then up to `most` within `seconds`."""
    total = 0.0
    with writers() as hooks:
        for hook in hooks:
            hook.start(sim)
            sim.forces.all_levels(hook.needs)
            hook.write(sim)
            times = []
            while not times or len(times) < most and sum(times) < seconds / len(hooks):
                begin = clock()
                sim.forces.all_levels(hook.needs)
                asked = clock()
                sim.forces.all_levels()
                plain = clock()
                hook.write(sim)
                times.append(max(2 * asked - begin - plain, 0.0) + clock() - plain)
            total += float(np.median(times)) / hook.every
    return total


def _rebuild_seconds(sim):
    """Forces after a rebuild less forces without, where a run has shown too few: less than in a run, where a rebuild finds
    other data in the caches."""
    found = []
    for _ in range(3):
        times = []
        for fresh in (True, False):
            if fresh:
                sim.domain.invalidate()
            begin = clock()
            sim.forces.all_levels()
            times.append(clock() - begin)
        found.append(times[0] - times[1])
    return max(float(np.median(found)), 0.0)


def available_memory():
    """Bytes that this machine could still give, or None where it does not say."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    return 1024 * int(next(line for line in info.read_text().splitlines() if "MemAvailable" in line).split()[1])


def _least_squares(x, y, powers):
    """Coefficients c_k ≥ 0 of y ≈ Σ c_k x^power_k, errors relative to y. One point alone gives the second."""
    from scipy.optimize import nnls

    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) == 1:
        return (0.0, float(y[0] / x[0]), 0.0)[: len(powers)]
    scales = x[-1] ** np.array(powers)
    found, _ = nnls((x[:, None] ** np.array(powers) / scales) / y[:, None], np.ones(len(y)))
    return tuple(float(v) for v in found / scales)


# -- kept between calls ------------------------------------------------------------------------------------------------------
def key(tables, atoms, timestep):
    """A name for this model, matter and machine."""
    parts = [
        json.dumps(tables, sort_keys=True, default=str),
        atoms.get_chemical_formula(),
        f"{atoms.get_volume() / len(atoms):.2f}",
        f"{timestep}",
        platform.node(),
        platform.processor(),
        str(os.cpu_count()),
        engine.__version__,
        str(numba.get_num_threads()),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def load(name):
    path = cache_folder() / f"calibration-{FORMAT}-{name}.json"
    return Calibration(**json.loads(path.read_text())) if path.exists() else None


def save(name, calibration):
    path = cache_folder() / f"calibration-{FORMAT}-{name}.json"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(calibration)))
    temporary.replace(path)


def for_input(job, again=False, seconds=1.0):
    """(Calibration, fs of a step) for a ``engine.run.Run``'s potential and matter: kept from before, or measured now.

    The smallest periodic piece is used: the input's crystal or structure before replication; and the integrator, levels
    and temperature of its first stage that moves atoms. A process that had to compile holds the compiler, too: its memory
    is taken from another one.
    """
    share_cores(job.comm, job.input.run.threads)
    wanted = _Wanted(job)
    found = None if again else load(wanted.name)
    if found is None:
        with event.install_recorder("numba:compile") as compiled:
            found = wanted.calibrate(seconds)
        if compiled.buffer and job.comm.size == 1:
            less = found.bytes[0] - _elsewhere(job)
            found.bytes = [size - less for size in found.bytes]
        save(wanted.name, found)
    return found, wanted.timestep


class _Wanted:
    """What an input file asks for, as far as a calibration knows it."""

    def __init__(self, job):
        from engine.config.system import build_state

        self.job = job
        system = job.input.system.model_copy(update={"replicate": (1, 1, 1), "copies": 1, "velocities": None})
        self.state = build_state(system, job.input.run.seed)
        self.atoms = _ase(self.state)
        stage = next((s for s in job.stages if isinstance(getattr(s, "integrator", None), Composition)), None)
        self.integrator, self.levels, self.every, self.timestep = (lambda: NVE(1.0)), None, None, 1.0
        if stage is not None:
            self.integrator, self.timestep = (lambda: copy.deepcopy(stage.integrator)), stage.integrator.timestep
            if stage.levels:
                self.levels = [dict(level["potentials"]) for level in stage.levels]
                self.every = [int(level["every"]) for level in stage.levels]
                self.timestep *= self.every[-1] / self.every[0]
        self.temperature = _temperature(job, stage)
        moving = repr(stage.integrator) if stage is not None else ""
        output = job.base.suffix, job.input.output.model_dump(include={"thermo", "trajectory", "fields"})
        tables = [job.input.named_potentials(), self.levels, self.every, moving, self.temperature, output]
        self.name = key(tables, self.atoms, self.timestep)

    def calibrate(self, seconds, largest=None):
        from engine.config import plugins

        job, cutoff = self.job, 0.0
        place = "potential" if job.input.potential is not None else "potentials.{}"
        named = job.input.named_potentials()
        potentials = {n: plugins.make("potentials", t, place.format(n), job.folder) for n, t in named.items()}
        for potential in potentials.values():
            potential.bind(self.state.species_names)
            cutoff = max(cutoff, potential.capabilities().cutoff)
        piece = _thick(self.atoms, max(cutoff, 5.0))
        with warnings.catch_warnings():  # of outer steps past resonance, which the run itself gives
            warnings.simplefilter("ignore")
            return calibrate(potentials, piece, self.integrator, seconds, largest, temperature=self.temperature,
                             writers=self.writers, skin=job.input.run.skin, precision=job.input.run.precision,
                             levels=self.levels, every=self.every)

    @contextmanager
    def writers(self):
        """The hooks that write as often as the input asks for, into a folder that vanishes; a row has the usual columns, as those
        of fields and hooks are not there to be asked."""
        from engine.run import run_file

        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / self.job.base.name
            if file := run_file(base):
                file.open("w")
            table, *frames = self.job.writers(base, file)
            table.names = None
            try:
                yield [table, *frames]
            finally:
                if file:
                    file.close()


def smallest_bytes(raw, folder):
    """Of a process that runs the smallest piece of an input for a moment."""
    from engine.run import Run

    job = Run(raw, folder)
    share_cores(job.comm, job.input.run.threads)
    return _Wanted(job).calibrate(0.02, largest=1).bytes[0]


def _elsewhere(job):
    """`smallest_bytes` of a process of its own, which finds all kernels compiled."""
    code = f"import json, sys; from {__name__} import smallest_bytes as f; print(f(*json.load(sys.stdin)))"
    path = os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps([job.raw, job.folder]), capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path}, timeout=300)
    if done.returncode:
        raise InputError(f"the calibration's second process failed: {(done.stderr.splitlines() or ['no word'])[-1]}")
    return int(done.stdout.splitlines()[-1])


def _temperature(job, stage):
    """K, of the velocities to begin with: a crystal's are given twice what is wanted, as half of it becomes potential energy."""
    wanted = getattr(getattr(stage, "integrator", None), "temperature", None)
    if wanted is not None:
        wanted = float(np.mean(Ramp.of(wanted).at(0.5)))
    else:
        given = job.input.system.velocities
        return float(np.mean(Ramp.of(given.temperature).at(0.0))) if given is not None else 300.0
    return 2 * wanted if job.input.system.crystal is not None else wanted


def _ase(state):
    from engine.build import atoms_from_state

    return atoms_from_state(state)


def _thick(atoms, width):
    """Replicas until no height of the cell is below `width` Å: smaller bricks are all ghosts and say nothing."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0)
    return atoms.repeat(tuple(int(np.ceil(width / h)) for h in heights))
