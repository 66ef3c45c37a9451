"""Two ranks beside LAMMPS's two: parallel efficiency, and what communication costs.

    python -m benchmarks.ranks [--cells 20 40] [--only lennard-jones] [--steps N]     (rows replace those of results/ranks.json)
    python -m benchmarks.ranks --table                                                (those as Markdown)

The same configuration, skin and rebuild schedule for all; the contestants take turns, in short rounds of which the fastest
counts: other work on a machine only adds (how far the median of the rounds is above the fastest says how much there was).
They are ours and LAMMPS's on one core, on two by ranks, and two copies of the run on one core at the same time, one on each:
these share caches and memory and nothing else, so that half of what they need is what two ranks would at best.

What communication costs is said in two ways. Accounts: what a rank spends in exchanging, packing, migration and new plans
included, and in waiting for the other. LAMMPS's is its ``Comm`` section, which leaves out the two exchanges inside an
embedded-atom potential (they are in ``Pair``); ours counts everything, and says how much of it was inside the potential.
Clocks: a step on two ranks less half a step of the two copies, the same for both programs; what ranks compute twice is in it.
The floor is the latency of the messages of a step and their bytes over the bandwidth of memory copies, both measured here
between the same two processes.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import matter
from benchmarks.cases import cores
from benchmarks.ours import Engine
from benchmarks.race import lammps_lines
from benchmarks.two_cores import Both
from benchmarks.worker import Contestant, Lammps

HERE = Path(__file__).parent
CASES = {"lennard-jones": matter.lennard_jones, "copper": matter.copper}
TITLES = {"lennard-jones": "Lennard-Jones", "copper": "copper (EAM)"}
LINE = """{case} {atoms} atoms
  ours   {ours_ms[0]:.3f} -> {ours_ms[1]:.3f} ms a step, efficiency {efficiency:.3f} (two copies {at_best:.3f})
  LAMMPS {lammps_ms[0]:.3f} -> {lammps_ms[1]:.3f} ms a step, efficiency {lammps_efficiency:.3f} (two copies {lammps_at_best:.3f})
  accounts: {communication_us:.0f} us ({inside_us:.0f} inside the potential), LAMMPS {lammps_communication_us:.0f}
  floor {floor_us:.0f} us, {sent_kB:.0f} kB
  beyond half of the two copies: {beyond_us:.0f} us, LAMMPS {lammps_beyond_us:.0f}; imbalance {imbalance:.3f}; medians up to \
{median_over_fastest:.2f} times the fastest"""


class RankLammps(Lammps):
    """Adds LAMMPS's own account of communication to each run."""

    def run(self, steps):
        if not self.ready:
            self.lmp.command("run 0 post no")
            self.ready = True
        begin = time.perf_counter()
        self.lmp.command(f"run {steps} pre no")
        seconds, log = time.perf_counter() - begin, Path(self.log)  # the log is rank 0's
        lines = [line for line in log.read_text().splitlines() if line.startswith("Comm ")] if log.exists() else []
        return {"seconds": seconds, "communication": float(lines[-1].split("|")[2]) if lines else 0.0}


class Ranks(Engine):
    """Ours, with its own account of communication, and what it cannot be less than. Orders: run, forces, floor."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        comm, potential = self.simulation.comm, self.simulation.potentials["potential"]
        compute = potential.compute

        def watched(*given):
            busy = comm.busy
            compute(*given)
            self.inside += comm.busy - busy

        potential.compute, self.inside = watched, 0.0

    def run(self, steps):
        simulation, comm = self.simulation, self.simulation.comm
        comm.barrier()
        busy, self.inside = comm.busy, 0.0
        answer = super().run(steps)
        return {**answer, "communication": comm.sum(comm.busy - busy) / comm.size, "inside": comm.sum(self.inside) / comm.size,
                "imbalance": comm.max(simulation.state.n) * comm.size / comm.sum(simulation.state.n)}

    def floor(self):
        """Seconds a step that the rounds of empty messages, a vote, and the bytes alone would take: positions out and forces
        back; a number out and one back where the potential exchanges."""
        comm, halo = self.simulation.comm, self.simulation.domain.halo
        if halo.local:
            return {"latency": 0.0, "bytes": 0.0, "sent": 0}
        peer, rows = halo.peers[0].rank, comm.max(sum(p.receive.stop - p.receive.start for p in halo.peers))
        empty, data, room = np.zeros(1), np.zeros((rows, 3)), np.zeros((rows, 3))

        def timed(send, receive, repeats):
            comm.barrier()
            begin = time.perf_counter()
            for _ in range(repeats):
                comm.communicator.Sendrecv(send, peer, 0, receive, peer, 0)
            return (time.perf_counter() - begin) / repeats

        latency = min(timed(empty, np.zeros(1), 300) for _ in range(5))
        whole = min(timed(data, room, 50) for _ in range(5))
        vote = time.perf_counter()
        for _ in range(300):
            comm.any(False)
        vote = (time.perf_counter() - vote) / 300
        within = 2 * (self.simulation.potentials["potential"].capabilities().reach == "exchanging")
        vectors = 2 + within / 3
        return {"latency": (2 + within) * latency + vote, "bytes": vectors * max(whole - latency, 0.0),
                "sent": vectors * rows * 24}


def start(matter, folder, cells, kind, count, first=0):
    worker = Contestant(f"benchmarks.ranks:{kind}", cores(2)[first : first + count], ranks=count)
    if kind == "RankLammps":
        worker("make")
        worker("commands", lines=lammps_lines(matter, cells, matter.styles[0], matter.skin, True, folder / "start.data"))
    else:
        worker("make", path=str(folder / "start.npz"), species=[matter.species], masses=[matter.mass],
               potential=matter.potential, skin=matter.skin, timestep=matter.timestep, forced=matter.every,
               velocity_unit=matter.velocity_unit)
    return worker


def compare(name, cells, steps, rounds=12):
    """One case: {contestant: seconds and communication a step, ...}."""
    thing, folder = CASES[name](), Path(tempfile.mkdtemp(prefix="ranks-"))
    first = Contestant("benchmarks.ranks:RankLammps", cores(2)[:1])
    first("make")
    first("commands", lines=lammps_lines(thing, cells, thing.styles[0], thing.skin, True))
    first("run", steps=thing.melt if cells < 30 else thing.melt // 4)
    first("save", path=str(folder / "start.npz"))
    first("commands", lines=[f"write_data {folder / 'start.data'} nocoeff"])
    first.close()
    atoms = len(np.load(folder / "start.npz")["x"])
    steps = steps or max(20, min(60, 1_920_000 // atoms // 20 * 20))  # whole periods of the rebuild schedule
    workers = {(kind, count): start(thing, folder, cells, kind, count) for kind in ("Ranks", "RankLammps") for count in (1, 2)}
    for kind in ("Ranks", "RankLammps"):
        workers[kind, "copies"] = Both(*(start(thing, folder, cells, kind, 1, k) for k in (0, 1)))
    workers["RankLammps", 1]("run", steps=0)
    workers["RankLammps", 1]("save", path=str(folder / "theirs.npz"))
    reference = np.load(folder / "theirs.npz")["f"]
    for count in (1, 2):
        workers["Ranks", count]("forces", path=str(folder / "ours.npz"))
        difference = np.abs(np.load(folder / "ours.npz")["f"] - reference).max() / np.sqrt((reference**2).mean())
        if difference > 1e-6:
            raise SystemExit(f"{name} on {count} ranks: forces differ by {difference:.1e} of their size: no time is reported")
    answers = {key: [] for key in workers}
    for round_ in range(rounds + 1):
        for key, worker in workers.items():
            answer = worker("run", steps=steps)
            if round_:
                answers[key].append(answer)
    floor = workers["Ranks", 2]("floor")
    for worker in workers.values():
        try:
            worker.close()
        except subprocess.TimeoutExpired:  # on a busy machine; there is nothing to lose
            worker.process.kill()
    best = {key: min(rows, key=lambda a: a["seconds"]) for key, rows in answers.items()}
    step = {key: row["seconds"] / steps for key, row in best.items()}
    talk = {kind: best[kind, 2]["communication"] / steps for kind in ("Ranks", "RankLammps")}
    beyond = {kind: step[kind, 2] - step[kind, "copies"] for kind in talk}
    noise = {key: median(a["seconds"] for a in rows) / best[key]["seconds"] for key, rows in answers.items()}
    efficiency = lambda kind: step[kind, 1] / step[kind, 2] / 2
    return {
        "case": name, "atoms": atoms, "ours_ms": [1e3 * step["Ranks", c] for c in (1, 2)],
        "lammps_ms": [1e3 * step["RankLammps", c] for c in (1, 2)], "efficiency": efficiency("Ranks"),
        "lammps_efficiency": efficiency("RankLammps"), "at_best": step["Ranks", 1] / step["Ranks", "copies"] / 2,
        "lammps_at_best": step["RankLammps", 1] / step["RankLammps", "copies"] / 2,
        "communication_us": 1e6 * talk["Ranks"], "inside_us": 1e6 * best["Ranks", 2]["inside"] / steps,
        "lammps_communication_us": 1e6 * talk["RankLammps"], "beyond_us": 1e6 * beyond["Ranks"],
        "lammps_beyond_us": 1e6 * beyond["RankLammps"], "floor_us": 1e6 * (floor["latency"] + floor["bytes"]),
        "sent_kB": floor["sent"] / 1e3, "imbalance": answers["Ranks", 2][-1]["imbalance"],
        "median_over_fastest": max(noise.values()),
    }


def table(rows):
    """Two tables: steps and efficiencies; what communication costs."""
    lines = ["| | ms a step, 1 rank | 2 ranks | efficiency | two copies |", "|---|---|---|---|---|"]
    for r in rows:
        what = f"{TITLES[r['case']]}, {r['atoms'] // 1000} 000 atoms"
        for who, start, first in (("ours", "", what), ("LAMMPS", "lammps_", "the same")):
            times = " | ".join(f"{x:.3g}" for x in r["ours_ms" if who == "ours" else "lammps_ms"])
            lines.append(f"| {first}, {who} | {times} | {r[start + 'efficiency']:.3f} | {r[start + 'at_best']:.3f} |")
    lines += ["", "| µs a step | by the clock: ours | LAMMPS | accounts: ours | without the potential's | LAMMPS | floor |",
              "|---|---|---|---|---|---|---|"]
    for r in rows:
        numbers = (r["beyond_us"], r["lammps_beyond_us"], r["communication_us"], r["communication_us"] - r["inside_us"],
                   r["lammps_communication_us"], r["floor_us"])
        lines.append(f"| {TITLES[r['case']]}, {r['atoms'] // 1000} 000 | " + " | ".join(f"{x:.0f}" for x in numbers) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[20, 40])
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--table", action="store_true", help="the rows there are as Markdown, and nothing else")
    given = parser.parse_args()
    path = HERE / "results" / "ranks.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    if given.table:
        return print(table(rows))
    for name in [given.only] if given.only else CASES:
        for cells in given.cells:
            row = compare(name, cells, given.steps, given.rounds)
            print(LINE.format(**row), flush=True)
            rows = [other for other in rows if (other["case"], other["atoms"]) != (name, row["atoms"])] + [row]
            path.write_text(json.dumps(sorted(rows, key=lambda row: (row["atoms"], [*CASES].index(row["case"]))), indent=1))


if __name__ == "__main__":
    main()
