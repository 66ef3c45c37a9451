"""How accurate a learned model is after equal times: ours beside nequip's, same hyper-parameters, frames and minutes.

    python -m benchmarks.learned_accuracy water --data ../shared/data --theirs-python PATH [--minutes 15] [--seed 0] [--swap]
    python -m benchmarks.learned_accuracy --table

Each trains on a core of its own, the two at once, for `--minutes` of processor time counted after the first step (which
compiles, in both), the rate falling along a cosine of that time; the weights' average with the best validation counts. Both are
then asked for the energies and forces of the same test frames, blocks that neither has seen. Theirs runs under
`nequip-train` with `compile_mode: compile` and batches of two or more in the interpreter `--theirs-python`
(`benchmarks/nequip_training.py`). A row goes into results/learned_accuracy.json and the table into README.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "learned_accuracy.json"
MARKS = "<!-- learned accuracy -->", "<!-- end of learned accuracy -->"


@dataclass
class Case:
    """file : below the folder of data;  batch : frames;  block : frames that stay together in the split;  unit : of energies;
    test, validation : parts of the frames;  model : keys of our description"""

    title: str
    file: str
    batch: int = 2
    block: int = 5
    test: float = 0.2
    validation: float = 0.1
    unit: str = "eV"
    rate: float = 0.005
    model: dict = field(default_factory=dict)


LOCAL = dict(architecture="local", l_max=2, parity=True, layers=2, channels=16, features=32)
PASSING = dict(architecture="message-passing", l_max=1, parity=True, layers=3, channels=16, latent_width=64, readout_width=16)
CASES = {
    "water": Case("water, local", "06-mlip-data/water-deepmd/water_dev.xyz", model={**LOCAL, "cutoff": 4.5}),
    "silicon": Case("silicon, local", "06-mlip-data/mlearn/Si_train.xyz", batch=4, model={**LOCAL, "cutoff": 5.0}),
    "copper": Case("copper, local", "06-mlip-data/mlearn/Cu_dev.xyz", block=1, test=0.25, validation=0.12,
                   model={**LOCAL, "cutoff": 5.0}),
    "silica": Case("silica, local", "06-mlip-data/allegro-pol/SiO2_dev.xyz", block=10, model={**LOCAL, "cutoff": 4.5}),
    "ethanol": Case("ethanol, local", "06-mlip-data/md17-small/ethanol_kcal_100.xyz", batch=10, unit="kcal/mol",
                    model={**LOCAL, "cutoff": 5.0}),
    "water-passing": Case("water, message passing", "06-mlip-data/water-deepmd/water_dev.xyz", model={**PASSING, "cutoff": 4.5}),
}


def prepare(case: Case, data, folder: Path, minutes, seed, optimizer="adam"):
    """The split as files in `folder`, and the settings that both read."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from plugins.equivariant.data import baseline, frames, splits, store

    found = frames.read(frames.Source([str(Path(data, case.file))], energy_unit=case.unit))
    rows = splits.split(found, splits.Split(by="block", block=case.block, test=case.test, validation=case.validation))
    rows["train"] = rows["train"][:len(rows["train"]) // case.batch * case.batch]  # no batch is short of frames
    for part, chosen in rows.items():
        images = []
        for f in (found[r] for r in chosen):
            atoms = Atoms(list(f.symbols), f.positions, cell=f.cell, pbc=f.periodic)
            atoms.calc = SinglePointCalculator(atoms, energy=f.energy, forces=f.forces)
            images.append(atoms)
        write(folder / f"{part}.xyz", images)
    train = [found[r] for r in rows["train"]]
    species = sorted({s for f in found for s in f.symbols})
    model = {**case.model, "species": species}
    model["neighbors"] = float(store.GraphStore(train, species, model["cutoff"]).neighbors)
    settings = {"model": model, "shift": float(baseline.shifts(train, species, "mean")[0]),
                "scale": float(baseline.scales(train, species)[0]), "batch": case.batch, "rate": case.rate, "warmup": 100,
                "clip": 10.0, "average": 0.99, "minutes": minutes, "seed": seed, "optimizer": optimizer}
    (folder / "settings.json").write_text(json.dumps(settings, indent=1))
    return {part: len(chosen) for part, chosen in rows.items()}


def ours(folder: Path):
    """Train as the settings say; predictions on the test frames."""
    import torch

    from plugins.equivariant.data.frames import Source
    from plugins.equivariant.data.splits import Split
    from plugins.equivariant.training.batches import BatchSize
    from plugins.equivariant.training.loop import Optimizer
    from plugins.equivariant.training.processes import Processes
    from plugins.equivariant.training.stage import Train

    torch.set_num_threads(1)
    s = json.loads((folder / "settings.json").read_text())
    part = lambda name: Source([str(folder / f"{name}.xyz")])
    stage = Train(part("train"), s["model"], str(folder / "ours"), split=Split(validation=0.0, test=0.0),
                  validation_data=part("validation"), test_data=part("test"), batch=BatchSize(s["batch"]), shifts="mean",
                  epochs=10**6, seed=s["seed"],
                  optimizer=Optimizer(s["optimizer"], s["rate"], "cosine", s["warmup"], clip=s["clip"], ema=s["average"]))
    trainer, _ = stage.begin(Processes(), clock=time.process_time)
    (folder / "ours").mkdir()
    trainer.step(trainer.parameters, trainer.labels.batch(trainer.order(0)[0], trainer.shape))  # compiles; goes nowhere
    trainer.seconds = 60 * s["minutes"]
    trainer.fit()
    energies, forces = [], []
    labels, weights = trainer.labels, trainer.best_weights
    for row in trainer.rows["test"]:
        _, (energy, force, _) = trainer.evaluation(weights, labels.batch([int(row)], trainer.shape))
        energies.append(float(energy[0]) + labels.base[row])
        forces.append(force[:len(labels.frames[row].symbols)].numpy())
    np.savez(folder / "ours.npz", energy=energies, forces=np.concatenate(forces))
    return {"steps": trainer.state["steps"], "seconds": trainer.state["seconds"], "note": trainer.step.note}


def errors(folder: Path, who):
    """MAE of energies (meV/atom) and forces (meV/Å), and of forces their root mean square, on the test frames."""
    from ase.io import read

    images, found = read(folder / "test.xyz", ":"), np.load(folder / f"{who}.npz")
    energies = np.array([a.get_potential_energy() for a in images])
    forces = np.concatenate([a.get_forces() for a in images]) - found["forces"]
    atoms = np.array([len(a) for a in images])
    return {"energy": float(1e3 * np.abs((energies - found["energy"]) / atoms).mean()),
            "forces": float(1e3 * np.abs(forces).mean()), "forces_rms": float(1e3 * np.sqrt((forces**2).mean()))}


def compare(name, arguments):
    """Both trainings at once, each on its core; the row of the table."""
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix=f"accuracy-{name}-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    case = CASES[name]
    counts = prepare(case, arguments.data, folder, arguments.minutes, arguments.seed, arguments.optimizer)
    cores = (1, 0) if arguments.swap else (0, 1)
    commands = {"ours": [sys.executable, "-m", "benchmarks.learned_accuracy", "--work", str(folder)],
                "theirs": [arguments.theirs_python, "-m", "benchmarks.nequip_training", str(folder)]}
    commands = {who: c for who, c in commands.items() if arguments.only in (None, who)}
    environment = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONPATH=str(HERE.parent))
    running = {}
    for core, (who, command) in zip(cores[:2] if len(commands) > 1 else cores, commands.items()):
        log = open(folder / f"{who}.log", "w")
        running[who] = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=log, stderr=subprocess.STDOUT,
                                        env=environment, cwd=HERE.parent)
    title = case.title + ("" if arguments.optimizer == "adam" else f" (ours by {arguments.optimizer.title()})")
    row = {"case": name, "title": title, "minutes": arguments.minutes, "seed": arguments.seed, "frames": counts,
           "settings": asdict(case), "cores": dict(zip(commands, cores))}
    for who, process in running.items():
        if process.wait():
            last = (folder / f"{who}.log").read_text().splitlines()[-15:]
            raise SystemExit("\n".join([f"{who} failed; its last lines:", *last]))
        row[who] = json.loads((folder / f"{who}.json").read_text()) | errors(folder, who)
    return row


def table(rows):
    """Markdown: a line for each case and duration, seeds averaged with their standard error."""
    out = ["| case | minutes | frames (train, test) | seeds | forces, ours | theirs | energy, ours | theirs "
           "| steps, ours | theirs |",
           "|---|---|---|---|---|---|---|---|---|---|"]
    groups = {}
    for row in rows:
        groups.setdefault((row["title"], row["minutes"]), []).append(row)
    for (title, minutes), found in groups.items():
        def mean(who, key, digits=3, found=found):
            values = [r[who][key] for r in found if who in r]
            if not values:
                return "–"
            spread = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2g}" if len(values) > 1 else ""
            return f"{np.mean(values):.{digits}g}{spread}"
        frames = found[0]["frames"]
        out.append(f"| {title} | {minutes:g} | {frames['train']}, {frames['test']} | {len(found)} | "
                   + " | ".join(mean(who, key) for key in ("forces", "energy") for who in ("ours", "theirs"))
                   + " | " + " | ".join(mean(who, "steps", 5) for who in ("ours", "theirs")) + " |")
    return "\n".join(out)


def render(rows):
    """The table between its marks in README.md."""
    readme = HERE / "README.md"
    text = readme.read_text()
    before, rest = text.split(MARKS[0])
    readme.write_text(before + MARKS[0] + "\n" + table(rows) + "\n" + MARKS[1] + rest.split(MARKS[1])[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=sorted(CASES))
    parser.add_argument("--data", default="../shared/data", help="folder of the data sets")
    parser.add_argument("--theirs-python", default=sys.executable, help="an interpreter with nequip and nequip-allegro")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--optimizer", default="adam", choices=["adam", "muon"], help="ours; theirs is Adam")
    parser.add_argument("--swap", action="store_true", help="ours on core 1, theirs on core 0")
    parser.add_argument("--only", choices=["ours", "theirs"], help="train one of them; its row is shown, not kept")
    parser.add_argument("--folder", help="where the trainings go, by default a temporary one")
    parser.add_argument("--table", action="store_true", help="render the rows that there are")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if arguments.work:
        folder = Path(arguments.work)
        (folder / "ours.json").write_text(json.dumps(ours(folder)))
    elif arguments.table:
        render(rows)
    elif arguments.case:
        row = compare(arguments.case, arguments)
        print(json.dumps(row, indent=1))
        if not arguments.only:
            RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")
            render([*rows, row])
    else:
        parser.error("which case?")


if __name__ == "__main__":
    main()
