"""How fast a model runs here, from a short measurement, and what that means for other sizes (after the practical guide of
arXiv 2503.09814, section iv, which has people do this by hand).

A few sizes of the wanted matter run for a second each. Time and memory are then

    step(n) = a + b n + s n^(2/3),    memory(n) = m + c n,    step(n, R ranks) = step(n/R) + messages

| symbol | meaning |
|---|---|
| a | what every step costs whatever its size: Python, calls, the model's own overhead |
| b | time for each atom: forces, lists, moving |
| s | time for each atom at the surface: ghosts |
| messages | six a step each way, with the latency and bandwidth of shared memory between ranks |

n/R atoms on one rank cost what a brick of their own does, ghosts included.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import engine
from engine.build import state_from_atoms, thermalise
from engine.errors import InputError
from engine.kernels.compiled import cache_folder
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.estimate.clock import clock

LATENCY, BANDWIDTH = 3e-6, 4e9  # s a message, bytes/s: shared memory, two ranks
MESSAGES = 12  # a step: six faces, positions out and forces back


@dataclass
class Calibration:
    """sizes (k,), seconds (k,) a step, bytes (k,) of the process; a, b, s, m, c as above, from least squares."""

    sizes: list[int]
    seconds: list[float]
    bytes: list[int]
    a: float
    b: float
    s: float
    m: float
    c: float
    ghosts: float  # Å a side that a brick grows by (cutoff and skin)
    density: float  # atoms/Å³
    threads: int

    def step(self, atoms, ranks=1):
        """Seconds a step for `atoms` spread over `ranks`."""
        own = atoms / ranks
        seconds = self._alone(own)
        if ranks > 1:
            side = (own / self.density) ** (1 / 3)
            shell = ((side + 2 * self.ghosts) ** 3 - side**3) * self.density
            seconds += MESSAGES * LATENCY + 2 * 24 * shell / BANDWIDTH
        return seconds

    def memory(self, atoms, ranks=1):
        """Bytes of all ranks together."""
        return ranks * (self.m + self.c * atoms / ranks)

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


def calibrate(potentials, atoms, timestep, seconds=1.0, largest=None, temperature=300.0, skin=None):
    """Measure {name: potential} on replicas of ASE `atoms`, a periodic piece of the wanted matter, velocities at `temperature`.

    largest : most atoms; by default such that a step takes about a tenth of `seconds`
    """
    from threadpoolctl import threadpool_info

    if not atoms.pbc.all():
        raise InputError("a calibration replicates the structure, which needs three periodic directions")
    sizes, times, memory = [], [], []
    for factor in _factors():
        n = len(atoms) * int(np.prod(factor))
        if sizes and ((largest and n > largest) or times[-1] * n / sizes[-1] > 0.1 * seconds or n > 300_000):
            break
        if sizes and n < 1.7 * sizes[-1]:
            continue
        state = state_from_atoms(atoms.repeat(factor))
        thermalise(state, temperature, 1)
        sim = Simulation(state, potentials, NVE(timestep), skin=skin)
        times.append(_step_seconds(sim, seconds))
        sizes.append(n)
        memory.append(_resident())
        reach = sim.domain.cutoff + sim.domain.skin
    a, b, s = _least_squares(sizes, times, (0, 1, 2 / 3), relative=True)
    m, c = _least_squares(sizes, memory, (0, 1), relative=False)
    density = len(atoms) / atoms.get_volume()
    threads = max([info["num_threads"] for info in threadpool_info()], default=1)
    return Calibration(sizes, times, memory, a, b, s, m, c, reach, float(density), threads)


def _factors():
    """(1,1,1), (2,1,1), (2,2,1), (2,2,2), (4,2,2), ..."""
    factor = [1, 1, 1]
    while True:
        for d in range(3):
            yield tuple(factor)
            factor[d] *= 2


def _step_seconds(sim, seconds):
    """Median over chunks of the time of a step, rebuilds included."""
    sim.run(3)
    begin = clock()
    sim.run(2)
    one = max((clock() - begin) / 2, 1e-6)
    chunk = max(int(seconds / 5 / one), 2)
    found = []
    for _ in range(5):
        begin = clock()
        sim.run(chunk)
        found.append((clock() - begin) / chunk)
    return float(np.median(found))


def _resident():
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(next(line for line in status.read_text().splitlines() if "VmHWM" in line).split()[1])
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available_memory():
    """Bytes that this machine could still give, or None where it does not say."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    return 1024 * int(next(line for line in info.read_text().splitlines() if "MemAvailable" in line).split()[1])


def _least_squares(x, y, powers, relative):
    """Coefficients c_k ≥ 0 of y ≈ Σ c_k x^power_k; errors relative to y where asked. One point alone gives the second."""
    from scipy.optimize import nnls

    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) == 1:
        return (0.0, float(y[0] / x[0]), 0.0)[: len(powers)]
    weight = 1 / y if relative else np.full(len(y), 1 / y.mean())
    scales = x[-1] ** np.array(powers)
    found, _ = nnls((x[:, None] ** np.array(powers) / scales) * weight[:, None], y * weight)
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
        os.environ.get("OMP_NUM_THREADS", ""),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def load(name):
    path = cache_folder() / f"calibration-{name}.json"
    return Calibration(**json.loads(path.read_text())) if path.exists() else None


def save(name, calibration):
    path = cache_folder() / f"calibration-{name}.json"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(calibration)))
    temporary.replace(path)


def for_input(job, again=False, seconds=1.0):
    """The Calibration of a ``engine.run.Run``'s potential and matter: kept from before, or measured now.

    The smallest periodic piece is used: the input's crystal or structure before replication.
    """
    from engine.config import plugins
    from engine.config.system import build_state

    named = job.input.named_potentials()
    system = job.input.system.model_copy(update={"replicate": (1, 1, 1), "copies": 1, "velocities": None})
    state = build_state(system, job.input.run.seed)
    atoms = _ase(state)
    stage = next((s for s in job.stages if hasattr(getattr(s, "integrator", None), "timestep")), None)
    timestep = stage.integrator.timestep if stage is not None else 1.0
    name = key(named, atoms, timestep)
    found = None if again else load(name)
    if found is None:
        place = "potential" if job.input.potential is not None else "potentials.{}"
        potentials = {n: plugins.make("potentials", t, place.format(n), job.folder) for n, t in named.items()}
        cutoff = 0.0
        for potential in potentials.values():
            potential.bind(state.species_names)
            cutoff = max(cutoff, potential.capabilities().cutoff)
        found = calibrate(potentials, _thick(atoms, max(cutoff, 5.0)), timestep, seconds)
        save(name, found)
    return found, timestep


def _ase(state):
    from engine.build import atoms_from_state

    return atoms_from_state(state)


def _thick(atoms, width):
    """Replicas until no height of the cell is below `width` Å: smaller bricks are all ghosts and say nothing."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell[:]), axis=0)
    return atoms.repeat(tuple(int(np.ceil(width / h)) for h in heights))
