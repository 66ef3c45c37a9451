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
from plugins.equivariant.irreps import SILU_GAIN, TANH_GAIN, irreps_of_layers

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


class Layer:
    """One layer's arrays under our names. `features`: factor by which theirs exceed ours, for each irrep that enters."""

    def __init__(self, d, arrays, k, layer, before, after, features):
        self.d, self.k, self.layer, self.before, self.after, self.features = d, k, layer, before, after, features
        self.theirs = lambda name: arrays[f"layer{k}_convnet.conv.{name}"].astype(float)
        self.embedding = arrays["type_embed.embed_module.weight"].astype(float)
        self.entering = [(l, p) for _, l, p in layer["in"]]
        self.paths = [(a, l2, c) for c, (lc, pc) in enumerate(after) for a, (la, pa) in enumerate(before)
                      for l2 in range(d.l_max + 1) if pa * (-1) ** l2 == pc and abs(la - l2) <= lc <= la + l2]
        #: our path -> (number of theirs, block of the middle that it fills, its weight against ours)
        self.product = {}
        for t, (i, l2, m, weight) in enumerate(layer["products"]):
            _, l, p = layer["mid"][m]
            path = before.index(self.entering[i]), l2, after.index((l, p))
            self.product[path] = t, m, weight / math.sqrt(2 * l + 1)

    def arrays(self):
        """{name: array}"""
        found = {**self.before_products(), **self.radial(), **self.after_products(), **self.own()}
        return {f"interactions.{self.k}.{name}": array for name, array in found.items()}

    def leaving(self):
        """Factors by which their features exceed ours behind this layer."""
        gains = {tuple(x[1:]): gain for x, (_, gain) in zip(self.layer["scalars"], self.layer["gains"]["scalars"])}
        gains |= {tuple(x[1:]): gain for x, (_, gain) in zip(self.layer["gated"], self.layer["gains"]["gates"])}
        return {x: gain / (TANH_GAIN if x == (0, -1) else SILU_GAIN) for x, gain in gains.items()}

    def columns(self, matrix, irrep):
        """Columns of an output irrep -> ours: the scalars, then each gate, each as wide as our channels."""
        if irrep != (0, 1):
            return placed(matrix, len(matrix), self.d.channels)
        starts = np.cumsum([0, *(mul for mul, l, p in self.layer["scalars"] if (l, p) == (0, 1)),
                            *(mul for mul, _, _ in self.layer["gated"])])
        gates = {(l, p): k + 1 for k, (_, l, p) in enumerate(self.layer["gated"])}
        blocks = [matrix[:, starts[b]:starts[b + 1]] for b in (0, *(gates[x] for x in self.after if x[0] > 0))]
        return np.concatenate([placed(b, len(matrix), self.d.channels) for b in blocks], 1)

    def before_products(self):
        """A square matrix for each irrep that enters."""
        u, out, parts = self.d.channels, {}, pieces(self.theirs("linear_1.weight"))
        for a, _, weight in self.layer["linear_1"]:
            mul, irrep = self.layer["in"][a][0], self.entering[a]
            matrix = weight * self.features[irrep] * parts((mul, mul))
            out[f"before.{self.before.index(irrep)}.weight"] = placed(matrix, u, u) * math.sqrt(u)
        return out

    def radial(self):
        """The network's matrices; the last has a block of columns for each path."""
        starts, out = np.cumsum([0, *(self.layer["in"][i][0] for i, *_ in self.layer["products"])]), {}
        for n in range(self.d.latent_depth + 1):
            matrix = self.theirs(f"edge_mlp.mlp.{2 * n}.weight") * (2 * math.pi / self.d.cutoff**2 if n == 0 else 1.0)
            if n == self.d.latent_depth:
                blocks = [factor * matrix[:, starts[t]:starts[t + 1]] for t, _, factor in map(self.product.get, self.paths)]
                matrix = np.concatenate([placed(b, len(b), self.d.channels) for b in blocks], 1)
            out[f"radial.layers.{n}.weight"] = matrix
        return out

    def after_products(self):
        """Rows of all paths into an irrep; theirs has them in the order of the middle's blocks."""
        u, out, parts, middle = self.d.channels, {}, pieces(self.theirs("linear_2.weight")), self.layer["mid"]
        merged = [tuple(x[1:]) for x, y in zip(middle, [None, *middle]) if y is None or x[1:] != y[1:]]
        for a, b, weight in self.layer["linear_2"]:
            irrep = merged[a]
            slots = [m for m, x in enumerate(middle) if tuple(x[1:]) == irrep]
            starts = np.cumsum([0, *(middle[m][0] for m in slots)])
            matrix = self.columns(weight * parts((starts[-1], self.layer["out"][b][0])), irrep)
            c, blocks = self.after.index(irrep), []
            for path in self.paths:
                if path[2] == c:
                    s = slots.index(self.product[path][1])
                    blocks.append(placed(matrix[starts[s]:starts[s + 1]], u, matrix.shape[1]))
            factor = math.sqrt(2.0) if irrep in self.before else 1.0
            out[f"after.{c}.weight"] = np.concatenate(blocks) * math.sqrt(len(blocks) * u) * factor
        return out

    def own(self):
        """For each species a matrix: theirs multiplies features by the species' embedding."""
        u, species = self.d.channels, len(self.d.species)
        width = {x: u * (1 + sum(l > 0 for l, _ in self.after)) if x == (0, 1) else u for x in self.after}
        own = {x: np.zeros((species, u, width[x])) for x in self.after if x in self.before}
        parts = pieces(self.theirs("sc.weight")) if self.layer["self"] else None
        for a, _, b, weight in self.layer["self"] or ():
            irrep, (mul, *out_irrep) = self.entering[a], self.layer["out"][b]
            if tuple(out_irrep) != irrep:
                refuse(f"self-connection in layer {self.k}")
            w = parts((self.layer["in"][a][0], self.embedding.shape[1], mul))
            w = np.einsum("uvw,zv->zuw", w, self.embedding) * weight / math.sqrt(2 * irrep[0] + 1) * self.features[irrep]
            for z in range(species):
                own[irrep][z] = placed(self.columns(w[z], irrep), u, width[irrep])
        return {f"own.{n}": x * math.sqrt(2.0 * u) for n, x in enumerate(own.values())}


def placed(matrix, rows, columns):
    """`matrix` in the upper left corner of zeros (rows, columns)."""
    return np.pad(matrix, ((0, rows - matrix.shape[0]), (0, columns - matrix.shape[1])))


def pieces(flat):
    """A function that takes the next array of a shape from flat weights."""
    taken = 0

    def following(shape):
        nonlocal taken
        taken += math.prod(shape)
        return flat[taken - math.prod(shape):taken].reshape(shape)
    return following


def translate(arrays, hyper, layers):
    """Their arrays, hyper-parameters and layers -> our description and arrays; what we do not have is refused by name."""
    d, irreps = describe(arrays, hyper, layers)
    u, species = d.channels, len(d.species)
    embedding = arrays["type_embed.embed_module.weight"].astype(float)
    out = {"embedding": np.zeros((species, u, 1))}
    out["embedding"][:, :embedding.shape[1], 0] = embedding
    features = {(0, 1): 1.0}
    for k, layer in enumerate(layers):
        one = Layer(d, arrays, k, layer, irreps[k], irreps[k + 1], features)
        out |= one.arrays()
        features = one.leaving()
    last = arrays["per_atom_energy_readout.mlp_module.mlp.0.weight"].astype(float)
    out["readout.0.weight"] = placed(last / math.sqrt(len(last)) * features[0, 1] * math.sqrt(u), u, 1)
    out["readout.1.weight"] = np.ones((1, 1))
    for name, default in (("scales", 1.0), ("shifts", 0.0)):
        value = arrays.get(f"per_type_energy_scale_shift.{name}", np.zeros(0)).ravel().astype(float)
        out[name] = np.broadcast_to(value if value.size else default, species).astype(float).copy()
    kind = np.dtype(d.dtype)
    return d, {name: np.ascontiguousarray(a, float if name == "shifts" else kind) for name, a in out.items()}
