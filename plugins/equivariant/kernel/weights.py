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
    """(size,) float64 from the model's state (names as in ``local.LocalModel``); sets the plan's `reader`."""
    folding = Folding(p, weights)
    folding.embedding()
    for k in range(p.description.layers):
        folding.layer(k)
    p.reader = reader(p, folding.rows_of)
    folding.readout()
    return folding.out


class Folding:
    """The array in the making. `into[j]` turns the hidden layer that is source j into the scalars that it stands for."""

    def __init__(self, p: Plan, weights):
        self.plan, self.description, self.weights = p, p.description, weights
        self.out, self.into = np.zeros(p.size), []

    # -- the model's matrices -----------------------------------------------------------------------------------------
    def linear(self, name, gain=1.0):
        w = self.weights[name + ".weight"].astype(float)
        return w * (gain / math.sqrt(w.shape[0]))

    def network(self, name, depth):
        return [self.linear(f"{name}.layers.{m}", math.sqrt(2.0) if m else 1.0) for m in range(depth + 1)]

    # -- their places -------------------------------------------------------------------------------------------------
    def put(self, name, matrix):
        """A matrix and, where the way back needs it, its transpose."""
        m, p = self.plan.matrices[name], self.plan
        matrix = padded(matrix, m.rows, m.columns)
        self.out[m.start:m.start + m.rows * m.columns] = pack(matrix, p.lanes)
        if name + "_T" in p.matrices:
            t = p.matrices[name + "_T"]
            self.out[t.start:t.start + t.rows * t.columns] = pack(np.ascontiguousarray(matrix.T), p.lanes)

    def put_vector(self, name, values):
        start = self.plan.vectors[name]
        self.out[start:start + values.size] = values.ravel()

    def spread(self, matrix):
        """Columns (l, u) of the model to padded columns."""
        p, d = self.plan, self.description
        wide = np.zeros((matrix.shape[0], p.width))
        columns = np.arange(d.channels)[None] + p.channels * np.arange(d.l_max + 1)[:, None]  # where (l, u) is stored
        wide[:, columns.ravel()] = matrix
        return wide

    def rows_of(self, source, matrix):
        """The rows of a reader's first matrix that belong to a source."""
        block = matrix[self.description.features * source:self.description.features * (source + 1)]
        return block if self.into[source] is None else self.into[source] @ block

    # -- the parts of the model ---------------------------------------------------------------------------------------
    def embedding(self):
        """Radial mixing and species of each pair as one matrix; what follows the last hidden layer as another."""
        p, d = self.plan, self.description
        two, first = self.network("two_body", d.embedding_depth), self.linear("first")
        radial = self.linear("embedding.radial")
        centre, neighbour = (self.weights[f"embedding.{n}"].astype(float) for n in ("centre", "neighbour"))
        species, width = len(d.species), p.buffers["two_h0"]
        table = np.zeros((species, species, d.bessel, width))
        for i in range(species):
            for j in range(species):
                mixed = radial * np.concatenate([centre[i], neighbour[j]])
                table[i, j] = padded(mixed @ two[0] if d.embedding_depth else mixed, d.bessel, width)
        self.put_vector("radial", table)
        for m in range(1, d.embedding_depth):
            self.put(f"two{m}", two[m])
        scalars = two[-1] @ first[:, :d.features]
        weights = [self.spread(two[-1] @ self.linear("initial")), self.spread(two[-1] @ first[:, d.features:])]
        self.put("two_out", np.concatenate(weights if p.folded[0] else [*weights, scalars], 1))
        self.into.append(scalars if p.folded[0] else None)

    def layer(self, k):
        """The products' coefficients, one for each channel, and the latent network behind them."""
        p, d, product = self.plan, self.description, self.plan.products[k]
        path = self.weights[f"products.{k}.weight"].astype(float)  # (channels, paths)
        expanded = np.zeros((len(product.values), p.channels))
        expanded[:, :d.channels] = (path[:, product.entries[:, 0]] * product.values).T / math.sqrt(d.neighbors)
        self.put_vector(f"track{k}", expanded)
        net = self.network(f"latents.{k}", d.latent_depth)
        scalars = net[-1][:, :d.features]
        parts = [self.spread(net[-1][:, d.features:])] if k < d.layers - 1 else []
        parts += [] if p.folded[k + 1] else [scalars]
        last = np.concatenate(parts, 1) if parts else None
        start = net[0] if d.latent_depth else last
        for j in range(k + 1):
            self.put(f"latent{k}_from{j}", self.rows_of(j, start))
        self.put(f"latent{k}_scalar", start[d.features * (k + 1):])
        for m in range(1, d.latent_depth):
            self.put(f"latent{k}_{m}", net[m])
        if d.latent_depth and last is not None:
            self.put(f"latent{k}_out", last)
        self.into.append(scalars if p.folded[k + 1] else None)

    def readout(self):
        p, d = self.plan, self.description
        net = self.network("readout", d.readout_depth)
        net[-1] = net[-1] / math.sqrt(2 * d.neighbors)
        if p.columns > 1:
            net[-1][:, 1:] *= CHARGE if d.charges else self.weights["response_scales"]
        for j in range(d.layers + 1):
            if d.readout_depth:
                self.put(f"readout_from{j}", self.rows_of(j, net[0]))
            else:
                self.put_vector(f"readout_from{j}", padded(self.rows_of(j, net[0]).T, p.columns, p.sources[j]))
        for m in range(1, d.readout_depth):
            self.put(f"readout{m}", net[m])
        if d.readout_depth:
            self.put_vector("readout_last", padded(net[-1].T, p.columns, p.buffers["read_h0"]))
