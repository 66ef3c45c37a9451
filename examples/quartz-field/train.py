"""Train an electric enthalpy of α-quartz, and say how well it does on the held-out end of each trajectory.

    python train.py DATA.xyz --out model --minutes 120          again with the same line goes on where it stopped
"""

import argparse
import json

import torch

from plugins.dielectric import frames as frames_
from plugins.dielectric.training import Settings, Training, errors, load, new_model
from plugins.equivariant.description import Description

PUBLISHED = {"energy": 0.37, "forces": 26.8, "polarization": 0.14, "born_charges": 5.0}  # arXiv 2403.17207, SiO2, MAE


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("data")
    p.add_argument("--out", default="model")
    p.add_argument("--species", nargs="+", default=["O", "Si"])
    p.add_argument("--trajectories", nargs="+", type=int, default=[76, 75], help="frames of each trajectory (300 K, 600 K)")
    p.add_argument("--cutoff", type=float, default=4.5)
    p.add_argument("--channels", type=int, default=16)
    p.add_argument("--features", type=int, default=48)
    p.add_argument("--form", default="quadratic", choices=["quadratic", "full"])
    p.add_argument("--epochs", type=int, default=500)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--rate", type=float, default=5e-3)
    p.add_argument("--minutes", type=float, default=1e9)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--eager", action="store_true", help="do not compile the step (it takes a minute and saves 40 %% of each)")
    p.add_argument("--limit", type=int, default=None, help="use only so many training frames")
    given = p.parse_args()
    torch.set_num_threads(given.threads)

    every = frames_.read([given.data], given.species, given.cutoff)
    rows, held = frames_.by_blocks(len(every), given.trajectories)
    train, test = [every[k] for k in rows][: given.limit], [every[k] for k in held]
    neighbors = float(sum(len(f.graph.centre) for f in train) / sum(len(f.forces) for f in train))
    description = Description(
        species=given.species, cutoff=given.cutoff, l_max=2, parity=False, layers=2, channels=given.channels,
        features=given.features, embedding_width=given.features, latent_width=2 * given.features,
        readout_width=given.features, neighbors=neighbors)
    model = new_model(train, description, given.form, field_scale=0.1)
    settings = Settings(epochs=given.epochs, batch=given.batch, rate=given.rate, minutes=given.minutes,
                        compiled=not given.eager)
    training = Training(model, train, settings, given.out)
    if training.load():
        print(f"going on after {training.epoch} epochs")
    print(f"{len(train)} frames train, {len(test)} are held out; {sum(p.numel() for p in model.parameters())} weights")
    training.run(lambda line: print(line, flush=True), test[::3])
    found = errors(load(given.out), test)
    print(json.dumps({k: [round(v, 4), PUBLISHED.get(k)] for k, v in found.items()}, indent=1))


if __name__ == "__main__":
    main()
