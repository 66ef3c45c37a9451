"""A race: the same configuration, the same cores, turn by turn, forces compared before any time is reported."""
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.worker import Contestant

ROUNDS, WARM_UP = 5, 100
STIR = 100      # steps that make different liquids of copies
LARGE = 500_000     # atoms, from which on turns are shorter
TOLERANCE = {"double": 1e-8, "mixed": 2e-4}     # of forces, relative to their rms, for 99.9 % of the components


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
    peers: tuple = ()               # beside LAMMPS
    large: tuple = (100, 100)       # steps not counted and steps of a turn, where there are many atoms
    tolerance: dict = field(default_factory=lambda: TOLERANCE)
    tuned: dict = field(default_factory=dict)       # settings found fastest at the first size, which serve the others


CREATION = ("lattice", "region", "create_box", "mass", "velocity")    # what a data file replaces


def lammps_lines(matter, cells, style, skin, forced, data=None):
    schedule = f"every {matter.every} check no" if forced else "every 1 check yes"
    text = matter.commands.format(cells=cells, style=style, skin=skin, schedule=schedule)
    lines = ["package omp 1", *text.strip().splitlines()]
    if data is None:
        return lines
    lines = [f"read_data {data}" if line.startswith("create_atoms") else line for line in lines]
    return [line for line in lines if not line.startswith(CREATION)]


@cache
def _folder():
    return Path(tempfile.mkdtemp(prefix="race-"))


def melted(matter, cells, copies, core):
    """(configuration, LAMMPS's data file, atoms, LAMMPS's version) after `melt` steps of `cells`³ unit cells, of which copies³
    are put together, given velocities of their own and stirred: while copies are the same, atom by atom, a branch predictor
    learns from one what comes in the next, and LAMMPS runs up to 1.4 times as fast as in any real liquid."""
    stem = _folder() / f"{''.join(c for c in matter.name if c.isalnum())}-{cells}-{copies}"
    path, data = stem.with_suffix(".npz"), stem.with_suffix(".data")
    worker = Contestant("lammps", [core])
    worker("make")
    if copies == 1:
        lines = lammps_lines(matter, cells, matter.styles[0], matter.skin, True)
    else:
        small = melted(matter, cells, 1, core)[1]
        lines = lammps_lines(matter, cells, matter.styles[0], matter.skin, True, small)
        place = next(k for k, line in enumerate(lines) if line.startswith("read_data"))
        lines.insert(place + 1, f"replicate {copies} {copies} {copies}")
        lines += ["variable now equal temp", "run 0", "velocity all create ${now} 4711 loop geom"]
    version = worker("commands", lines=lines)["version"]
    if not path.exists():
        worker("run", steps=matter.melt if copies == 1 else STIR)
        worker("save", path=str(path))
        worker("commands", lines=[f"write_data {data} nocoeff"])
    worker.close()
    return path, data, len(np.load(path)["x"]), version


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


def turn(contestants, steps, clock, rounds=ROUNDS, warm_up=WARM_UP, share=None):
    """Let each run `steps` after a warm-up, in turns; seconds {name: [a round each]}. Clock: "cpu" on one core, so that
    other processes on it take time from nobody; "seconds" by the wall clock on several. With share {name: part}, those
    contestants do that part of the steps, and their seconds are stretched to all."""
    part = {name: max(2, round(steps * (share or {}).get(name, 1.0))) for name in contestants}
    for name, worker in contestants.items():
        worker("run", steps=min(warm_up, 2 * part[name]))
    seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, worker in contestants.items():
            seconds[name].append(worker("run", steps=part[name])[clock] * steps / part[name])
    return seconds


def best(start, options, steps, clock):
    """Of contestants started with each option, the option that is fastest, the lesser of two turns."""
    if len(options) == 1:
        return options[0]
    workers = {}
    try:
        for k, option in enumerate(options):
            workers[k] = start(option)
        seconds = turn(workers, steps, clock, 2)
    finally:
        for worker in workers.values():
            worker.close()
    return options[min(seconds, key=lambda k: min(seconds[k]))]


def difference(worker, path, reference, tolerance, name):
    """Largest difference of a contestant's forces; refuses contestants whose forces are others."""
    worker("forces", path=str(path))
    apart = np.abs(np.load(path)["f"] - reference)
    typical = float(np.percentile(apart, 99.9) / np.sqrt((reference**2).mean()))
    if not typical < tolerance:
        raise RuntimeError(f"{name}: forces differ by {typical:.1e} of their size: no time is reported")
    return float(apart.max())


def race(matter, size, cores, precisions, forced, say):
    """Rows of LAMMPS and the other peers against us in each precision on the same cores. size: (cells, copies of them)."""
    cells, copies = size if isinstance(size, tuple) else (size, 1)
    path, data, atoms, version = melted(matter, cells, copies, cores[-1])
    clock, tuned = "cpu" if len(cores) == 1 else "seconds", matter.tuned
    warm_up, steps = WARM_UP, max(100, min(400, 3_200_000 // atoms))
    if atoms > LARGE:
        warm_up, steps = matter.large

    def lammps_from(style, skin):
        return start_lammps(matter, cells, cores, style, skin, forced, data)[0]

    def ours_from(precision, skin):
        return start_ours(matter, path, cores, precision, skin, forced)

    def choose(key, start, options):
        if key not in tuned:
            tuned[key] = best(start, options, max(steps // 2, 10), clock)
        return tuned[key]

    style = choose(("style", len(cores)), lambda s: lammps_from(s, matter.skin), matter.styles)
    skins = {name: matter.skin for name in ("lammps", *precisions)}
    if not forced:
        skins["lammps"] = choose(("lammps", len(cores)), lambda s: lammps_from(style, s), matter.skins)
        for precision in precisions:
            skins[precision] = choose((precision, len(cores)), partial(ours_from, precision), (*matter.skins, "auto"))
    contestants = {"lammps": lammps_from(style, skins["lammps"])}
    contestants["lammps"]("run", steps=0)      # forces are there
    contestants["lammps"]("save", path=str(path.with_suffix(".theirs.npz")))
    reference = np.load(path.with_suffix(".theirs.npz"))["f"]
    apart = {}
    for precision in precisions:
        contestants[precision] = ours_from(precision, skins[precision])
        apart[precision] = difference(contestants[precision], path.with_suffix(".ours.npz"), reference,
                                      matter.tolerance[precision], f"{matter.name} in {precision}")
    others = {}
    for peer in matter.peers if len(cores) == 1 else ():
        options = peer.settings(forced)
        if peer.precision not in precisions or atoms > peer.most or not options:
            continue
        if reason := peer.absent():
            print(f"  {peer.name} is left out: {reason}", flush=True)
            continue
        setting = choose((peer.name, forced), partial(peer.start, path, cores), options)
        contestants[peer.name] = peer.start(path, cores, setting)
        difference(contestants[peer.name], path.with_suffix(".peer.npz"), reference, peer.tolerance, peer.name)
        others[peer.name] = peer
    seconds = turn(contestants, steps, clock, ROUNDS, warm_up, {name: peer.share for name, peer in others.items()})
    ranks = f"{len(cores)} rank{'s' * (len(cores) > 1)}"
    labels = {"lammps": f"LAMMPS {version} {style}".strip() + f", {ranks}, skin {skins['lammps']}",
              **{name: contestants[name]("label")["label"] for name in others}}
    lost = {name: contestants[name]("missed")["change"] for name in ("lammps", "double") if name in contestants}
    if not (forced or max(lost.values()) < TOLERANCE["double"]):
        raise RuntimeError(f"{matter.name}, skins {skins}: a pair was missed, forces changed by {lost}")
    for worker in contestants.values():
        worker.close()
    rows = []
    for name in labels:
        for precision in [others[name].precision] if name in others else precisions:
            ratios = [a / b for a, b in zip(seconds[name], seconds[precision], strict=True)]
            speed = lambda name: atoms * steps / median(seconds[name]) / 1e6
            schedule = "forced" if forced else f"free, ours skin {skins[precision]}"
            rows.append(Row(matter.name, atoms, len(cores), precision, schedule, labels[name], speed(precision), speed(name),
                            "M atom-step/s", median(ratios), (min(ratios), max(ratios)), apart[precision],
                            others[name].goal if name in others else matter.goals.get(precision),
                            f"{ranks}, skin {skins[precision]}, {warm_up} steps not counted, {ROUNDS} turns of {steps}, forces "
                            f"with a new list at the end: {max(lost.values()):.0e}"))
            say(rows[-1])
    return rows
