"""A race: the same configuration, the same cores, turn by turn, forces compared before any time is reported."""
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.worker import Contestant

ROUNDS, WARM_UP = 5, 100


@dataclass
class Row:
    """One line of the table. ours, theirs: the median in `unit`; ratio of medians, spread (lowest – highest round)."""

    case: str
    atoms: int
    cores: int
    precision: str
    schedule: str
    peer: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    spread: tuple
    force_difference: float
    goal: float | None = None
    note: str = ""

    def as_dict(self):
        return asdict(self)


@dataclass
class Matter:
    """What is simulated: LAMMPS's commands for it (`skin`, `schedule` and cells are filled in) and our potential."""

    name: str
    commands: str
    potential: dict
    species: str
    mass: float
    timestep: float                 # fs
    velocity_unit: float            # LAMMPS's velocities in ours
    skin: float                     # of the forced schedule, as is `every`
    every: int
    skins: tuple                    # tried in the free schedule
    styles: tuple = ("",)           # of LAMMPS, the fastest of which is the peer
    melt: int = 500
    goals: dict = field(default_factory=dict)       # precision: ratio asked for


CREATION = ("lattice", "region", "create_box", "mass", "velocity")    # what a data file replaces


def lammps_lines(matter, cells, style, skin, forced, data=None):
    schedule = f"every {matter.every} check no" if forced else "every 1 check yes"
    text = matter.commands.format(cells=cells, style=style, skin=skin, schedule=schedule)
    lines = ["package omp 1", *text.strip().splitlines()]
    if data is None:
        return lines
    lines = [f"read_data {data}" if line.startswith("create_atoms") else line for line in lines]
    return [line for line in lines if not line.startswith(CREATION)]


def start_lammps(matter, cells, cores, style, skin, forced, data=None):
    worker = Contestant("lammps", cores, ranks=len(cores))
    worker("make")
    version = worker("commands", lines=lammps_lines(matter, cells, style, skin, forced, data))["version"]
    return worker, version


def start_ours(matter, path, cores, precision, skin, forced, threads=1):
    """Ours, with a rank on each core unless one rank is to use them as so many threads."""
    worker = Contestant("benchmarks.ours:Engine", cores, ranks=len(cores) // threads)
    worker("make", path=str(path), species=[matter.species], masses=[matter.mass], potential=matter.potential, skin=skin,
           timestep=matter.timestep, forced=matter.every if forced else 0, precision=precision,
           threads=threads, velocity_unit=matter.velocity_unit)
    return worker


def turn(contestants, steps, clock, rounds=ROUNDS):
    """Let each run `steps` after a warm-up, in turns; seconds {name: [a round each]}. Clock: "cpu" on one core, so that
    other processes on it take time from nobody; "seconds" by the wall clock on several."""
    for worker in contestants.values():
        worker("run", steps=min(WARM_UP, 2 * steps))
    seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, worker in contestants.items():
            seconds[name].append(worker("run", steps=steps)[clock])
    return seconds


def best(start, options, steps, clock):
    """Of contestants started with each option, the option that is fastest, the lesser of two turns."""
    workers = {}
    try:
        for option in options:
            workers[option] = start(option)
        seconds = turn(workers, steps, clock, 2)
    finally:
        for worker in workers.values():
            worker.close()
    return min(options, key=lambda option: min(seconds[option]))


def race(matter, cells, cores, precisions, forced, say, steps=None):
    """Rows of LAMMPS against us in each precision on the same cores."""
    folder = Path(tempfile.mkdtemp(prefix="race-"))
    path = folder / "start.npz"
    skin_theirs = skin_ours = matter.skin
    clock = "cpu" if len(cores) == 1 else "seconds"
    theirs, version = start_lammps(matter, cells, cores, matter.styles[0], matter.skin, True)
    theirs("run", steps=matter.melt)
    theirs("save", path=str(path))
    theirs("commands", lines=[f"write_data {folder / 'start.data'} nocoeff"])
    atoms = len(np.load(path)["x"])
    steps = steps or max(10, min(200, 3_200_000 // atoms))
    theirs.close()

    def lammps_from(style, skin):
        return start_lammps(matter, cells, cores, style, skin, forced, folder / "start.data")[0]

    style = matter.styles[0]
    if len(matter.styles) > 1:
        style = best(lambda s: lammps_from(s, skin_theirs), matter.styles, max(steps // 2, 10), clock)
    if not forced:
        skin_theirs = best(lambda s: lammps_from(style, s), matter.skins, max(steps // 2, 10), clock)
        skin_ours = best(lambda s: start_ours(matter, path, cores, precisions[0], s, False), matter.skins,
                         max(steps // 2, 10), clock)
    contestants = {"lammps": lammps_from(style, skin_theirs)}
    contestants["lammps"]("run", steps=0)      # forces are there
    contestants["lammps"]("save", path=str(folder / "theirs.npz"))
    reference, difference = np.load(folder / "theirs.npz")["f"], {}
    for precision in precisions:
        contestants[precision] = start_ours(matter, path, cores, precision, skin_ours, forced)
        contestants[precision]("forces", path=str(folder / "ours.npz"))
        f = np.load(folder / "ours.npz")["f"]
        difference[precision] = float(np.abs(f - reference).max())
        typical = float(np.percentile(np.abs(f - reference), 99.9) / np.sqrt((reference**2).mean()))
        if typical > (1e-8 if precision == "double" else 2e-4):
            raise RuntimeError(f"{matter.name} in {precision}: forces differ by {typical:.1e} of their size: no time is reported")
    seconds = turn(contestants, steps, clock)
    for worker in contestants.values():
        worker.close()
    rows = []
    for precision in precisions:
        ratios = [a / b for a, b in zip(seconds["lammps"], seconds[precision])]
        speed = lambda name: atoms * steps / median(seconds[name]) / 1e6
        setting = f"LAMMPS {version} {style}".strip() + f", {len(cores)} rank{'s' * (len(cores) > 1)}, skin {skin_theirs}"
        rows.append(Row(matter.name, atoms, len(cores), precision, "forced" if forced else "free", setting, speed(precision),
                        speed("lammps"), "M atom-step/s", median(ratios), (min(ratios), max(ratios)),
                        difference[precision], matter.goals.get(precision), f"{len(cores)} rank(s), skin {skin_ours}"))
        say(rows[-1])
    return rows
