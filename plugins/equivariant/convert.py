"""Checkpoints of the `nequip` family in our form: the same function, folder of safetensors and TOML.

Their checkpoints are pickles. They are read by a separate interpreter that has their packages (`--python`), and only
with `--trust`; what comes back are plain arrays. NequIP's are translated by ``convert_messages``, Allegro's here:

| theirs | ours |
|---|---|
| radial_chemical_embed.type_embed.{center,neighbor}_embed, basis_linear | embedding.centre, .neighbour, .radial |
| scalar_embed_mlp | two_body |
| tensor_embed.env_embed_linear | initial |
| allegro.first_layer_env_embed_projection | first |
| allegro.latents, allegro.tps | latents, products |
| edge_readout | readout |

Weights of tensors are stored there by channel, then degree; here by degree, then channel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from engine.errors import InputError
from plugins.equivariant import convert_messages
from plugins.equivariant import description as descriptions


def read_foreign(checkpoint, trust: bool, python: str | None = None):
    """(arrays by their names, their hyper-parameters, their message-passing layers), from a subprocess."""
    if not trust:
        raise InputError(f"{checkpoint} is a pickle, and reading it runs code from it; say --trust if you trust its source")
    if not Path(checkpoint).is_file():
        raise InputError(f"{checkpoint} does not exist")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "arrays.safetensors")
        script = Path(__file__).with_name("foreign_checkpoint.py")
        try:
            done = subprocess.run([python or sys.executable, str(script), str(checkpoint), str(output)],
                                  capture_output=True, text=True)
        except OSError as error:
            raise InputError(f"--python {python}: {error.strerror}; give an interpreter with nequip and nequip-allegro") from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{checkpoint} could not be read by {python or sys.executable}: {reason}; "
                             "an interpreter with nequip and nequip-allegro is given by --python")
        return read_arrays(output)


def read_arrays(path):
    """What ``foreign_checkpoint`` wrote."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        about = file.metadata()
    return arrays, json.loads(about["hyper_parameters"]), json.loads(about["layers"])


def translate(arrays: dict, hyper: dict, layers=()) -> tuple[descriptions.Description, dict[str, np.ndarray]]:
    """Their arrays and hyper-parameters -> our description and arrays; what we do not have is refused by name."""
    target = hyper.get("_target_", "?")
    if target.rsplit(".", 1)[-1] in convert_messages.TARGETS:
        return convert_messages.translate(arrays, hyper, layers)
    if not target.endswith("AllegroModel"):
        raise InputError(f"a checkpoint of '{target}' cannot be converted; allegro.model.AllegroModel and "
                         "nequip.model.NequIPGNNModel can")
    radial = hyper["radial_chemical_embed"]
    species, channels, l_max = hyper["type_names"], hyper["num_tensor_features"], hyper["l_max"]
    features = hyper["num_scalar_features"]
    refuse = {
        "radial_chemical_embed": not radial["_target_"].endswith("TwoBodyBesselScalarEmbed"),
        "bessel_trainable": bool(radial.get("bessel_trainable")),
        "radial_chemical_embed_dim": hyper.get("radial_chemical_embed_dim") not in (None, features),
        "per_edge_type_cutoff": hyper.get("per_edge_type_cutoff") is not None,
        "pair_potential": hyper.get("pair_potential") is not None,
        "avg_num_neighbors": isinstance(hyper["avg_num_neighbors"], dict),
        **{key: hyper.get(key, "silu") != "silu" for key in hyper if key.endswith("nonlinearity")},
    }
    for key, unknown in refuse.items():
        if unknown:
            raise InputError(f"the checkpoint's {key} = {hyper.get(key, radial.get(key))!r} has no counterpart here")
    d = descriptions.Description(
        species=species, cutoff=hyper["r_max"], l_max=l_max, parity=hyper.get("parity", True), layers=hyper["num_layers"],
        channels=channels, features=features, embedding_depth=hyper["scalar_embed_mlp_hidden_layers_depth"],
        embedding_width=hyper["scalar_embed_mlp_hidden_layers_width"],
        latent_depth=hyper["allegro_mlp_hidden_layers_depth"], latent_width=hyper["allegro_mlp_hidden_layers_width"],
        readout_depth=hyper["readout_mlp_hidden_layers_depth"], readout_width=hyper["readout_mlp_hidden_layers_width"],
        bessel=radial.get("num_bessels", 8), envelope=radial.get("polynomial_cutoff_p", 6),
        neighbors=float(hyper["avg_num_neighbors"]), dtype=hyper["model_dtype"])

    by_degree = np.arange(channels * (l_max + 1)).reshape(channels, l_max + 1).T.ravel()

    def layer(name, number):  # hidden layers alternate with activations there
        return arrays[f"{name}.mlp.{2 * number}.weight"]

    def scalars_first(matrix):
        return np.concatenate([matrix[:, :features], matrix[:, features:][:, by_degree]], 1)

    out = {
        "embedding.centre": arrays["radial_chemical_embed.type_embed.center_embed.weight"],
        "embedding.neighbour": arrays["radial_chemical_embed.type_embed.neighbor_embed.weight"],
        "embedding.radial.weight": layer("radial_chemical_embed.type_embed.basis_linear", 0),
        "initial.weight": layer("tensor_embed.env_embed_linear", 0)[:, by_degree],
        "first.weight": scalars_first(layer("allegro.first_layer_env_embed_projection", 0)),
    }
    for m in range(d.embedding_depth + 1):
        out[f"two_body.layers.{m}.weight"] = layer("scalar_embed_mlp.mlp_module", m)
    for m in range(d.readout_depth + 1):
        out[f"readout.layers.{m}.weight"] = layer("edge_readout.mlp_module", m)
    from plugins.equivariant import track

    for k, product in enumerate(track.layers(l_max, d.parity, d.layers)):
        weights = arrays[f"allegro.tps.{k}.weights"]
        if not hyper.get("tp_path_channel_coupling", True):
            weights = np.broadcast_to(weights.reshape(1, -1), (channels, len(product.paths)))
        out[f"products.{k}.weight"] = np.ascontiguousarray(weights).reshape(channels, len(product.paths))
        for m in range(d.latent_depth + 1):
            matrix = layer(f"allegro.latents.{k}", m)
            last = m == d.latent_depth and k < d.layers - 1
            out[f"latents.{k}.layers.{m}.weight"] = scalars_first(matrix) if last else matrix
    scale_shift = "per_type_energy_scale_shift."
    for ours, theirs, default in (("scales", "scales", 1.0), ("shifts", "shifts", 0.0)):
        value = arrays.get(scale_shift + theirs, np.zeros(0)).ravel().astype(float)
        out[ours] = np.broadcast_to(value if value.size else default, len(species)).astype(float).copy()
    return d, {name: np.ascontiguousarray(array) for name, array in out.items()}


def convert(checkpoint, folder, trust=False, python=None, force=False):
    """Write `folder` from their checkpoint; returns the description."""
    from plugins.equivariant.folder import save

    if Path(folder, "model.toml").exists() and not force:
        raise InputError(f"{folder} holds a model; name another folder, or say --force to replace it")
    d, arrays = translate(*read_foreign(checkpoint, trust, python))
    save(folder, d, arrays, {"origin": f"converted from {Path(checkpoint).name}"})
    return d
