"""Two ranks beside LAMMPS's two: parallel efficiency, and what communication costs.

    python -m benchmarks.ranks [--cells 20 40] [--only lennard-jones] [--steps N]

The same configuration, skin and rebuild schedule for all; the contestants (ours and LAMMPS's, on one core and on two)
take turns, in short rounds of which the fastest counts: other work on a machine only adds (how far the median of the
rounds is above the fastest says how much there was). Communication is what a rank spends in exchanging, packing, migration
and new plans included, and in waiting for the other: LAMMPS's ``Comm`` section; ours counts the same, and the rebuild vote.
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
from benchmarks.worker import Contestant, Lammps

HERE = Path(__file__).parent
CASES = {"lennard-jones": matter.lennard_jones, "copper": matter.copper}


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

    def run(self, steps):
        simulation, comm = self.simulation, self.simulation.comm
        comm.barrier()
        busy = comm.busy
        answer = super().run(steps)
        return {**answer, "communication": comm.sum(comm.busy - busy) / comm.size,
                "imbalance": comm.max(simulation.state.n) * comm.size / comm.sum(simulation.state.n)}

    def floor(self):
        """Seconds a step that two rounds of empty messages, a vote, and the bytes alone would take."""
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
        return {"latency": 2 * latency + vote, "bytes": 2 * max(whole - latency, 0.0), "sent": 2 * rows * 24}


def start(matter, folder, cells, kind, count):
    worker = Contestant(f"benchmarks.ranks:{kind}", cores(2)[:count], ranks=count)
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
    talk = {key: row["communication"] / steps for key, row in best.items()}
    noise = {key: median(a["seconds"] for a in rows) / best[key]["seconds"] for key, rows in answers.items()}
    efficiency = lambda kind: step[kind, 1] / step[kind, 2] / 2
    return {
        "case": name, "atoms": atoms, "ours_ms": [1e3 * step["Ranks", c] for c in (1, 2)],
        "lammps_ms": [1e3 * step["RankLammps", c] for c in (1, 2)], "efficiency": efficiency("Ranks"),
        "lammps_efficiency": efficiency("RankLammps"), "communication_us": 1e6 * talk["Ranks", 2],
        "lammps_communication_us": 1e6 * talk["RankLammps", 2], "floor_us": 1e6 * (floor["latency"] + floor["bytes"]),
        "sent_kB": floor["sent"] / 1e3, "imbalance": answers["Ranks", 2][-1]["imbalance"],
        "median_over_fastest": max(noise.values()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[20, 40])
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    rows = []
    for name in [given.only] if given.only else CASES:
        for cells in given.cells:
            row = compare(name, cells, given.steps, given.rounds)
            rows.append(row)
            print(f"{name} {row['atoms']} atoms: ours {row['ours_ms'][0]:.3f} -> {row['ours_ms'][1]:.3f} ms a step (efficiency "
                  f"{row['efficiency']:.3f}), LAMMPS {row['lammps_ms'][0]:.3f} -> {row['lammps_ms'][1]:.3f} "
                  f"({row['lammps_efficiency']:.3f}); communication {row['communication_us']:.0f} us, LAMMPS "
                  f"{row['lammps_communication_us']:.0f}, floor {row['floor_us']:.0f}; imbalance {row['imbalance']:.3f}; "
                  f"medians up to {row['median_over_fastest']:.2f} times the fastest",
                  flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "ranks.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
