"""Data-parallel training on 1, 2, ... processes: frames a second, and how far the loss curves are apart.

    OMP_NUM_THREADS=1 python -m benchmarks.training_scaling frames.xyz --processes 1,2 [--steps 20] [--frames 4] [--keep]

The same batches on any number of processes: each takes its share of every batch, gradients are added. Clock time, best taken
on an idle machine; steps after the first (which compiles) count.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def work(file, frames_in_batch, steps, compiled, out):
    """One process's part: `steps` steps of the local model of examples/water-learned."""
    import numpy as np
    import torch

    from plugins.equivariant.data import frames, store
    from plugins.equivariant.description import Description
    from plugins.equivariant.models import build
    from plugins.equivariant.training import batches
    from plugins.equivariant.training.loop import Optimizer, Trainer
    from plugins.equivariant.training.processes import Processes

    torch.set_num_threads(1)
    processes = Processes()
    found = frames.read(frames.Source([file], frames=f":{frames_in_batch * 4}"))
    species = sorted({s for f in found for s in f.symbols})
    d = Description(species=species, cutoff=4.5, neighbors=38.0)
    torch.manual_seed(0)
    graphs = store.GraphStore(found, species, d.cutoff)
    mean = sum(f.energy for f in found) / sum(len(f.symbols) for f in found)
    labels = batches.Labels(found, graphs, np.full(len(species), mean), batches.Loss(), d.cutoff, torch.float32)
    rows = {"train": np.arange(len(found)), "validation": np.arange(0)}
    trainer = Trainer(build(d), labels, rows, Optimizer(), batches.BatchSize(frames_in_batch), 10**6, out, processes,
                      compiled=compiled)
    losses, times = [], []
    for k in range(steps):
        order = trainer.order(k // 4)
        begin = time.perf_counter()
        losses.append(trainer.update(order[k % 4], 10**6))
        times.append(time.perf_counter() - begin)
    if processes.first:
        row = {"losses": losses, "times": times[1:], "note": trainer.step.note}
        Path(out, f"{processes.size}.json").write_text(json.dumps(row))
    processes.barrier()
    processes.close()


def launch(processes, arguments):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    root = Path(__file__).resolve().parents[1]
    jobs = []
    for rank in range(processes):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
        code = f"from benchmarks.training_scaling import work; work(*{arguments!r})"
        jobs.append(subprocess.Popen([sys.executable, "-c", code], env=environment))
    if any([job.wait() for job in jobs]):
        raise SystemExit(f"{processes} processes failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--keep", action="store_true", help="write the medians into the results")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        rows = {}
        for count in map(int, given.processes.split(",")):
            launch(count, (os.path.abspath(given.file), given.frames, given.steps, not given.eager, out))
            rows[count] = json.loads(Path(out, f"{count}.json").read_text())
    first = rows[min(rows)]
    alone = sorted(first["times"])[len(first["times"]) // 2]
    print(f"{'processes':>9} {'frames/s':>9} {'speed-up':>9} {'efficiency':>10} {'losses differ by':>17}  step")
    for count, row in rows.items():
        middle = sorted(row["times"])[len(row["times"]) // 2]
        apart = max(abs(a / b - 1) for a, b in zip(row["losses"], first["losses"]))
        print(f"{count:9d} {given.frames / middle:9.2f} {alone / middle:9.2f} {alone / middle / count * min(rows):10.2f} "
              f"{apart:17.1e}  {row['note']}")
    if given.keep:
        from benchmarks.learned_speed import keep

        middle = {count: 1e3 * sorted(row["times"])[len(row["times"]) // 2] for count, row in rows.items()}
        keep([{"what": f"training step of {given.frames} frames on {count} processes, beside one ({Path(given.file).stem})",
               "ours": middle[count], "theirs": middle[1], "goal": "", "command": "training_scaling.py"}
              for count in middle if count > 1 and 1 in middle])


if __name__ == "__main__":
    main()
