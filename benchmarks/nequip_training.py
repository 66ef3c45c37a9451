"""Theirs, for `learned_accuracy.py`: `nequip-train` with a clock of processor time, then predictions on the test frames.

Needs nequip and nequip-allegro, and nothing of ours.
"""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import lightning


class Clock(lightning.Callback):
    """Stops the training after `seconds` of processor time, counted after the first step, and sets the rate on the way:
    a cosine to a hundredth of `rate`, after `warmup` steps."""

    def __init__(self, seconds, rate, warmup):
        self.seconds, self.rate, self.warmup, self.began, self.steps = seconds, rate, warmup, None, 0

    def spent(self):
        return 0.0 if self.began is None else time.process_time() - self.began

    def on_train_batch_start(self, trainer, module, batch, index):
        done = min(self.spent() / self.seconds, 1.0)
        value = self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = value * min(1.0, (self.steps + 1) / max(self.warmup, 1))

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.steps += 1
        if self.began is None:
            self.began = time.process_time()
        if self.spent() > self.seconds:
            trainer.should_stop = True

    def on_fit_end(self, trainer, module):
        Path(trainer.default_root_dir, "clock.json").write_text(json.dumps({"steps": self.steps, "seconds": self.spent()}))


def model(s):
    m = s["model"]
    shared = dict(seed=s["seed"], model_dtype="float32", type_names=m["species"], r_max=m["cutoff"], compile_mode="compile",
                  avg_num_neighbors=m["neighbors"], l_max=m["l_max"], parity=m["parity"], num_layers=m["layers"],
                  per_type_energy_shifts={x: s["shift"] for x in m["species"]},
                  per_type_energy_scales={x: s["scale"] for x in m["species"]})
    if m["architecture"] == "message-passing":
        return dict(_target_="nequip.model.NequIPGNNModel", num_features=m["channels"], radial_mlp_depth=1,
                    radial_mlp_width=m["latent_width"], num_bessels=8, bessel_trainable=False, polynomial_cutoff_p=6, **shared)
    return dict(_target_="allegro.model.AllegroModel", num_scalar_features=m["features"], num_tensor_features=m["channels"],
                allegro_mlp_hidden_layers_depth=1, allegro_mlp_hidden_layers_width=32, scalar_embed_mlp_hidden_layers_depth=1,
                scalar_embed_mlp_hidden_layers_width=32, readout_mlp_hidden_layers_depth=1, readout_mlp_hidden_layers_width=32,
                radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8,
                                       "bessel_trainable": False, "polynomial_cutoff_p": 6}, **shared)


def configuration(s, folder: Path):
    species, cutoff = s["model"]["species"], s["model"]["cutoff"]
    loader = lambda shuffle: {"_target_": "torch.utils.data.DataLoader", "batch_size": s["batch"], "shuffle": shuffle}
    metrics = {"total_energy_rmse": None, "per_atom_energy_rmse": 1.0, "forces_rmse": 1.0, "forces_mae": None}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": s["seed"],
            "train_file_path": str(folder / "train.xyz"), "val_file_path": str(folder / "validation.xyz"),
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": species,
                 "chemical_species_to_atom_type_map": {x: x for x in species}},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": cutoff}],
            "train_dataloader": loader(True), "val_dataloader": loader(False)},
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": 10**6,
            "default_root_dir": str(folder / "theirs"), "logger": False, "enable_progress_bar": False,
            "plugins": [{"_target_": "lightning.pytorch.plugins.environments.LightningEnvironment"}],  # looks for no MPI
            "gradient_clip_val": 0.5 * s["clip"],  # their loss is half of ours
            "callbacks": [
                {"_target_": "benchmarks.nequip_training.Clock", "seconds": 60 * s["minutes"], "rate": s["rate"],
                 "warmup": s["warmup"]},
                {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "val0_epoch/weighted_sum",
                 "dirpath": str(folder / "theirs"), "filename": "best"}]},
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": s["average"], "model": model(s),
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "per_atom_energy": True,
                     "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": metrics},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": s["rate"]}}}


def predict(folder: Path, s):
    """Energies and forces of the test frames, from the best checkpoint (its average of the weights)."""
    import ase.io
    import numpy as np
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model import ModelFromCheckpoint
    from nequip.utils.global_state import set_global_state

    set_global_state()
    found = ModelFromCheckpoint(str(folder / "theirs" / "best.ckpt"), "eager")
    found = found["sole_model"] if "sole_model" in getattr(found, "keys", list)() else found
    found.eval()
    species = s["model"]["species"]
    mapper = ChemicalSpeciesToAtomTypeMapper(model_type_names=species, chemical_species_to_atom_type_map={x: x for x in species})
    neighbors = NeighborListTransform(r_max=s["model"]["cutoff"])
    energy, forces = [], []
    for atoms in ase.io.read(folder / "test.xyz", ":"):
        out = found(AtomicDataDict.batched_from_list([neighbors(mapper(from_ase(atoms)))]))
        energy.append(float(out["total_energy"]))
        forces.append(out["forces"].detach().numpy())
    np.savez(folder / "theirs.npz", energy=energy, forces=np.concatenate(forces))


def main():
    folder = Path(sys.argv[1])
    s = json.loads((folder / "settings.json").read_text())
    (folder / "theirs").mkdir()
    (folder / "theirs.yaml").write_text(json.dumps(configuration(s, folder), indent=1))  # JSON is YAML
    subprocess.run([sys.executable, "-m", "nequip.scripts.train", "-cp", str(folder), "-cn", "theirs",
                    f"hydra.run.dir={folder / 'theirs' / 'hydra'}"], check=True)
    predict(folder, s)
    (folder / "theirs.json").write_text((folder / "theirs" / "clock.json").read_text())


if __name__ == "__main__":
    main()
