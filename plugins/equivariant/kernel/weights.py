"""A model's numbers, folded and packed into the one array that its kernel reads.

Folded: normalisations; the radial mixing, species vectors and first linear map of the two-body embedding into one
matrix for each pair of species; consecutive linear maps. Packed: columns in panels of a few registers, so that a
matrix product reads its weights in order.
"""

from __future__ import annotations

import math

import numpy as np

from plugins.equivariant.description import CHARGE
from plugins.equivariant.kernel.plan import Plan, panels


def pack(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """(rows, columns) -> flat: panel after panel, each (rows, panel columns)."""
    parts, column = [], 0
    for n in panels(matrix.shape[1] // lanes):
        parts.append(matrix[:, column:column + n * lanes].ravel())
        column += n * lanes
    return np.concatenate(parts)


def padded(matrix, rows, columns):
    out = np.zeros((rows, columns))
    out[:matrix.shape[0], :matrix.shape[1]] = matrix
    return out


def reader(p: Plan, rows_of) -> np.ndarray:
    """(Σ p.read, width) from what the kernel's last linear map reads to what the model's own does."""
    d = p.description
    if d.readout_depth:
        return padded(np.eye(d.readout_width), p.read[0], d.readout_width)
    own = np.eye(d.features * (d.layers + 1))
    return np.concatenate([padded(rows_of(j, own), width, len(own)) for j, width in enumerate(p.read)])


def fold(p: Plan, weights: dict[str, np.ndarray]) -> np.ndarray:
    """(size,) float64 from the model's state (names as in ``local.LocalModel``)."""
    d = p.description
    out = np.zeros(p.size)
    by_degree = np.arange(d.channels)[None] + p.channels * np.arange(d.l_max + 1)[:, None]  # where (l, u) is stored

    def linear(name, gain=1.0):
        w = weights[name + ".weight"].astype(float)
        return w * (gain / math.sqrt(w.shape[0]))

    def network(name, depth):
        return [linear(f"{name}.layers.{m}", math.sqrt(2.0) if m else 1.0) for m in range(depth + 1)]

    def put(name, matrix):
        m = p.matrices[name]
        matrix = padded(matrix, m.rows, m.columns)
        out[m.start:m.start + m.rows * m.columns] = pack(matrix, p.lanes)
        if name + "_T" in p.matrices:
            t = p.matrices[name + "_T"]
            out[t.start:t.start + t.rows * t.columns] = pack(np.ascontiguousarray(matrix.T), p.lanes)

    def put_vector(name, values):
        start = p.vectors[name]
        out[start:start + values.size] = values.ravel()

    def spread(matrix):
        """Columns (l, u) of the model to padded columns."""
        wide = np.zeros((matrix.shape[0], p.width))
        wide[:, by_degree.ravel()] = matrix
        return wide

    def outputs(scalars, spread_weights, folded):
        """[weights by degree | scalars unless folded]."""
        parts = ([] if spread_weights is None else [spread_weights]) + ([] if folded else [scalars])
        return np.concatenate(parts, 1) if parts else None

    # two-body embedding
    two = network("two_body", d.embedding_depth)
    radial = linear("embedding.radial")
    centre, neighbour = (weights[f"embedding.{n}"].astype(float) for n in ("centre", "neighbour"))
    species = len(d.species)
    embed = p.buffers["two_h0"]
    table = np.zeros((species, species, d.bessel, embed))
    for i in range(species):
        for j in range(species):
            mixed = radial * np.concatenate([centre[i], neighbour[j]])
            table[i, j] = padded(mixed @ two[0] if d.embedding_depth else mixed, d.bessel, embed)
    put_vector("radial", table)
    for m in range(1, d.embedding_depth):
        put(f"two{m}", two[m])
    first = linear("first")
    to_scalars = two[-1] @ first[:, :d.features]
    put("two_out", outputs(to_scalars, np.concatenate([spread(two[-1] @ linear("initial")),
                                                       spread(two[-1] @ first[:, d.features:])], 1), p.folded[0]))
    # what turns a source into scalars, where that was folded away
    into = [to_scalars if p.folded[0] else None]

    def rows_of(source, matrix):
        """The rows of a reader's first matrix that belong to a source."""
        block = matrix[d.features * source:d.features * (source + 1)]
        return into[source] @ block if p.folded[source] else block

    for k in range(d.layers):
        layer = p.products[k]
        path = weights[f"products.{k}.weight"].astype(float)  # (channels, paths)
        expanded = np.zeros((len(layer.values), p.channels))
        expanded[:, :d.channels] = (path[:, layer.entries[:, 0]] * layer.values).T / math.sqrt(d.neighbors)
        put_vector(f"track{k}", expanded)
        net = network(f"latents.{k}", d.latent_depth)
        last = outputs(net[-1][:, :d.features], spread(net[-1][:, d.features:]) if k < d.layers - 1 else None,
                       p.folded[k + 1])
        start = net[0] if d.latent_depth else last
        for j in range(k + 1):
            put(f"latent{k}_from{j}", rows_of(j, start))
        put(f"latent{k}_scalar", start[d.features * (k + 1):])
        for m in range(1, d.latent_depth):
            put(f"latent{k}_{m}", net[m])
        if d.latent_depth and last is not None:
            put(f"latent{k}_out", last)
        into.append(net[-1][:, :d.features] if p.folded[k + 1] else None)

    p.reader = reader(p, rows_of)
    net = network("readout", d.readout_depth)
    net[-1] = net[-1] / math.sqrt(2 * d.neighbors)
    if p.columns > 1:
        net[-1][:, 1:] *= CHARGE if d.charges else weights["response_scales"]
    for j in range(d.layers + 1):
        if d.readout_depth:
            put(f"readout_from{j}", rows_of(j, net[0]))
        else:
            put_vector(f"readout_from{j}", padded(rows_of(j, net[0]).T, p.columns, p.sources[j]))
    for m in range(1, d.readout_depth):
        put(f"readout{m}", net[m])
    if d.readout_depth:
        put_vector("readout_last", padded(net[-1].T, p.columns, p.buffers["read_h0"]))
    return out
