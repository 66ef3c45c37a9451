"""NequIP checkpoints in our form: the matrices that their layers multiply by, brought to our order, scale and width.

``foreign_checkpoint.layers`` says which irreps a layer has and how its weights lie. A matrix that acts, its normalisation
in it, is cut from theirs, put where our irreps stand (channels that theirs does not have stay zero), and divided by our
normalisation. What differs otherwise goes into matrices as well:

| theirs | ours |
|---|---|
| radial functions times 2π/r_c² | first matrix of ``radial`` |
| no self-connection in the first layer | ``own`` = 0; ours adds both and divides by √2, so all matrices before have a √2 |
| activations scaled by constants of e3nn, not by SILU_GAIN | features differ by a factor, which the next matrices have |
| readout of one matrix | ``readout`` of width one |
"""

from __future__ import annotations

import math

import numpy as np

from engine.errors import InputError
from plugins.equivariant import description as descriptions
from plugins.equivariant.message_passing import SILU_GAIN, TANH_GAIN, irreps_of_layers

TARGETS = "NequIPGNNModel", "PresetNequIPGNNModel", "FullNequIPGNNModel"


def refuse(what):
    raise InputError(f"the checkpoint's {what} has no counterpart here")


def describe(arrays, hyper, layers):
    """Our description, from their hyper-parameters and layers."""
    for key in ("pair_potential", "per_edge_type_cutoff", "bessel_trainable", "convnet_resnet", "categorical_graph_field_embed",
                "readout_mlp_hidden_layers_depth"):
        if hyper.get(key):
            refuse(f"{key} = {hyper[key]!r}")
    if not isinstance(hyper.get("avg_num_neighbors"), int | float):
        refuse(f"avg_num_neighbors = {hyper.get('avg_num_neighbors')!r}")
    for k, layer in enumerate(layers):
        if "unknown" in layer:
            refuse(f"layer {k} with {layer['unknown']}")
        found = [name for part in ("scalars", "gates") for name, _ in layer["gains"][part]]
        usual = [{1: "silu", -1: "tanh"}[p] for _, _, p in layer["scalars"]] + ["silu"] * len(layer["gated"])
        if found != usual or any(p != 1 for _, _, p in layer["gates"]):
            refuse(f"activations {', '.join(found)} in layer {k}")
    depth = sum(name.startswith("layer0_convnet.conv.edge_mlp.mlp.") and name.endswith("weight") for name in arrays) - 1
    bessel, width = arrays["layer0_convnet.conv.edge_mlp.mlp.0.weight"].shape
    everything = [x for layer in layers for x in (*layer["in"], *layer["scalars"], *layer["gated"])]
    edges = layers[0]["edge"]
    if [x[1:] for x in edges] != [[l, (-1) ** l] for l in range(len(edges))]:
        refuse(f"irreps of edges {edges}")
    d = descriptions.Description(
        species=hyper["type_names"], cutoff=float(hyper["r_max"]), architecture="message-passing",
        l_max=len(edges) - 1, parity=any(p != (-1) ** l for _, l, p in everything), layers=len(layers),
        channels=max(mul for mul, _, _ in everything),
        latent_depth=depth, latent_width=width if depth else 1, readout_width=1, bessel=bessel,
        envelope=int(hyper.get("polynomial_cutoff_p", 6)), neighbors=float(hyper["avg_num_neighbors"]),
        dtype=hyper["model_dtype"])
    ours = irreps_of_layers(d.l_max, d.parity, d.layers)
    for k, layer in enumerate(layers):
        if {(l, p) for _, l, p in layer["in"]} != set(ours[k]):
            refuse(f"choice of irreps before layer {k}")
    return d, ours


class LayerOf:
    """One layer's arrays under our names. `features`: factor by which theirs exceed ours, for each irrep that enters."""

    def __init__(self, d, arrays, k, layer, before, after, features):
        self.d, self.k, self.layer, self.before, self.after, self.features = d, k, layer, before, after, features
        self.theirs = lambda name: arrays[f"layer{k}_convnet.conv.{name}"].astype(float)
        self.embedding = arrays["type_embed.embed_module.weight"].astype(float)

    def place(self, matrix, rows, columns, at=0, out=None):
        """`matrix` in the upper left corner of zeros (rows, columns), or of `out` from row `at`."""
        out = np.zeros((rows, columns)) if out is None else out
        out[at:at + matrix.shape[0], :matrix.shape[1]] = matrix
        return out

    def columns(self, matrix, irrep):
        """Columns of an output irrep -> ours: the scalars, then each gate, each as wide as our channels."""
        if tuple(irrep) != (0, 1):
            return self.place(matrix, len(matrix), self.d.channels)
        starts = np.cumsum([0, *(mul for mul, l, p in self.layer["scalars"] if (l, p) == (0, 1)),
                            *(mul for mul, _, _ in self.layer["gated"])])
        order = [tuple(x) for x in self.after if x[0] > 0]
        gates = {(l, p): k + 1 for k, (_, l, p) in enumerate(self.layer["gated"])}
        blocks = [matrix[:, starts[b]:starts[b + 1]] for b in (0, *(gates[x] for x in order))]
        return np.concatenate([self.place(b, len(matrix), self.d.channels) for b in blocks], 1)

    def write(self, out):
        d, layer, u, prefix = self.d, self.layer, self.d.channels, f"interactions.{self.k}."
        theirs_in = [(l, p) for _, l, p in layer["in"]]
        theirs_out = [(l, p) for _, l, p in layer["out"]]
        # before: one square matrix for each irrep
        start, flat = 0, self.theirs("linear_1.weight")
        for a, _, weight in layer["linear_1"]:
            mul = layer["in"][a][0]
            matrix = weight * flat[start:start + mul * mul].reshape(mul, mul) * self.features[theirs_in[a]]
            start += mul * mul
            k = self.before.index(theirs_in[a])
            out[f"{prefix}before.{k}.weight"] = self.place(matrix, u, u) * math.sqrt(u)
        # radial: a block of columns for each path
        ours = [(a, l2, c) for c, (lc, pc) in enumerate(self.after) for a, (la, pa) in enumerate(self.before)
                for l2 in range(d.l_max + 1) if pa * (-1) ** l2 == pc and abs(la - l2) <= lc <= la + l2]
        sizes = np.cumsum([0, *(layer["in"][i][0] for i, *_ in layer["products"])])
        of_path = {}
        for t, (i, j, m, weight) in enumerate(layer["products"]):
            _, l, p = layer["mid"][m]
            of_path[self.before.index(theirs_in[i]), j, self.after.index((l, p))] = t, m, weight / math.sqrt(2 * l + 1)
        for n in range(d.latent_depth + 1):
            matrix = self.theirs(f"edge_mlp.mlp.{2 * n}.weight") * (2 * math.pi / d.cutoff**2 if n == 0 else 1.0)
            if n == d.latent_depth:
                blocks = [of_path[path] for path in ours]
                matrix = np.concatenate([self.place(factor * matrix[:, sizes[t]:sizes[t + 1]], len(matrix), u)
                                         for t, _, factor in blocks], 1)
            out[f"{prefix}radial.layers.{n}.weight"] = matrix
        # after: rows of the paths into an irrep, in the order of their middle; theirs merges neighbours of one irrep
        start, flat = 0, self.theirs("linear_2.weight")
        merged = [x for x, y in zip(layer["mid"], [None, *layer["mid"]]) if y is None or x[1:] != y[1:]]
        for a, b, weight in layer["linear_2"]:
            irrep = tuple(merged[a][1:])
            slots = [m for m, x in enumerate(layer["mid"]) if tuple(x[1:]) == irrep]
            heights = np.cumsum([0, *(layer["mid"][m][0] for m in slots)])
            shape = heights[-1], layer["out"][b][0]
            matrix = self.columns(weight * flat[start:start + shape[0] * shape[1]].reshape(shape), irrep)
            start += shape[0] * shape[1]
            c = self.after.index(irrep)
            paths = [path for path in ours if path[2] == c]
            wide = np.zeros((len(paths) * u, matrix.shape[1]))
            for n, path in enumerate(paths):
                s = slots.index(of_path[path][1])
                self.place(matrix[heights[s]:heights[s + 1]], 0, 0, n * u, wide)
            factor = math.sqrt(2.0) if irrep in self.before else 1.0
            out[f"{prefix}after.{c}.weight"] = wide * math.sqrt(len(wide)) * factor
        # own: for each species a matrix from their product with the embedding of the species
        shared = [x for x in self.after if x in self.before]
        own = {x: np.zeros((len(d.species), u, u * (1 + sum(l > 0 for l, _ in self.after)) if x == (0, 1) else u))
               for x in shared}
        start, flat = 0, self.theirs("sc.weight") if layer["self"] is not None else None
        for a, _, b, weight in layer["self"] or ():
            irrep, shape = theirs_in[a], (layer["in"][a][0], self.embedding.shape[1], layer["out"][b][0])
            w = flat[start:start + math.prod(shape)].reshape(shape)
            start += math.prod(shape)
            if theirs_out[b] != irrep:
                refuse(f"self-connection in layer {self.k}")
            w = np.einsum("uvw,zv->zuw", w, self.embedding) * weight / math.sqrt(2 * irrep[0] + 1) * self.features[irrep]
            for z in range(len(w)):
                self.place(self.columns(w[z], irrep), 0, 0, 0, own[irrep][z])
        for n, x in enumerate(shared):
            out[f"{prefix}own.{n}"] = own[x] * math.sqrt(2.0 * u)

    def leaving(self):
        """Factors by which their features exceed ours behind this layer."""
        gains = {tuple(x[1:]): gain for x, (_, gain) in zip(self.layer["scalars"], self.layer["gains"]["scalars"])}
        gains |= {tuple(x[1:]): gain for x, (_, gain) in zip(self.layer["gated"], self.layer["gains"]["gates"])}
        return {x: gain / (TANH_GAIN if x == (0, -1) else SILU_GAIN) for x, gain in gains.items()}


def translate(arrays, hyper, layers):
    """Their arrays, hyper-parameters and layers -> our description and arrays; what we do not have is refused by name."""
    d, irreps = describe(arrays, hyper, layers)
    u, species = d.channels, len(d.species)
    embedding = arrays["type_embed.embed_module.weight"].astype(float)
    out = {"embedding": np.zeros((species, u, 1))}
    out["embedding"][:, :embedding.shape[1], 0] = embedding
    features = {(0, 1): 1.0}
    for k, layer in enumerate(layers):
        one = LayerOf(d, arrays, k, layer, irreps[k], irreps[k + 1], features)
        one.write(out)
        features = one.leaving()
    last = arrays["per_atom_energy_readout.mlp_module.mlp.0.weight"].astype(float)
    out["readout.0.weight"] = one.place(last / math.sqrt(len(last)) * features[0, 1] * math.sqrt(u), u, 1)
    out["readout.1.weight"] = np.ones((1, 1))
    for name, default in (("scales", 1.0), ("shifts", 0.0)):
        value = arrays.get(f"per_type_energy_scale_shift.{name}", np.zeros(0)).ravel().astype(float)
        out[name] = np.broadcast_to(value if value.size else default, species).astype(float).copy()
    kind = np.dtype(d.dtype)
    return d, {name: np.ascontiguousarray(a, float if name == "shifts" else kind) for name, a in out.items()}
