"""Which matrices a local model's kernel multiplies, in which buffers its edges live; shapes only, no numbers.

Edges are rows. All widths are rounded up to the SIMD width, with zero weights in between. A *source* is something
that later networks read: the scalars of the two-body embedding and of every layer. Where the last linear map before
a source may be folded into everything that reads it at no cost, the source is the last hidden layer instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from plugins.equivariant import track
from plugins.equivariant.angular import dimension
from plugins.equivariant.description import Description


@dataclass
class Matrix:
    """A packed weight matrix rows × columns (columns a multiple of the SIMD width) and where it starts in the array."""

    name: str
    rows: int
    columns: int
    start: int


@dataclass
class Plan:
    """columns : of the readout: 1, the energy; 2, and latent charges; 4, and the response to a field (see ``response.py``)"""

    description: Description
    lanes: int
    columns: int = 1
    channels: int = 0  # padded
    features: int = 0
    width: int = 0  # channels · (l_max + 1)
    dim: int = 0
    folded: list[bool] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)  # padded widths
    matrices: dict[str, Matrix] = field(default_factory=dict)
    vectors: dict[str, int] = field(default_factory=dict)  # other data: where it starts
    size: int = 0
    reader: np.ndarray | None = None  # ``weights.reader``
    buffers: dict[str, int] = field(default_factory=dict)  # columns of each edge buffer
    products: list = field(default_factory=list)

    @property
    def read(self) -> list[int]:
        """Widths of what the last linear map reads: the last hidden layer, or every source."""
        return [self.buffers["read_h0"]] if self.description.readout_depth else self.sources

    def padded(self, n):
        return -(-n // self.lanes) * self.lanes

    def matrix(self, name, rows, columns):
        self.matrices[name] = Matrix(name, rows, columns, self.size)
        self.size += rows * columns

    def both(self, name, rows, columns):
        """A matrix and its transpose, for the way back."""
        self.matrix(name, rows, columns)
        self.matrix(name + "_T", columns, rows)

    def vector(self, name, count):
        self.vectors[name] = self.size
        self.size += self.padded(count)

    def buffer(self, name, columns):
        self.buffers[name] = columns


def fold_pays(hidden, features, readers):
    """Does it cost less to let `readers` columns read `hidden` directly than through `features` scalars?"""
    return hidden * readers <= hidden * features + features * readers


def make(d: Description, lanes: int, columns: int = 1) -> Plan:
    p = Plan(d, lanes, columns)
    p.channels, p.features = p.padded(d.channels), p.padded(d.features)
    p.width, p.dim = p.channels * (d.l_max + 1), dimension(d.l_max)
    p.products = track.layers(d.l_max, d.parity, d.layers)
    embed = p.padded(d.embedding_width) if d.embedding_depth else p.features
    latent, readout = p.padded(d.latent_width), p.padded(d.readout_width)

    # who reads source j: the first matrices of latents j ... and of the readout
    first = [latent if d.latent_depth else p.features + (p.width if k < d.layers - 1 else 0) for k in range(d.layers)]
    for j in range(d.layers + 1):
        readers = sum(first[j:]) + (readout if d.readout_depth else p.columns)
        hidden = (embed if d.embedding_depth else 0) if j == 0 else (latent if d.latent_depth else 0)
        p.folded.append(bool(hidden) and fold_pays(hidden, p.features, readers))
        p.sources.append(hidden if p.folded[-1] else p.features)

    # the two-body embedding
    pairs = len(d.species) ** 2
    p.vector("radial", pairs * d.bessel * embed)
    for k in range(max(d.embedding_depth, 1)):
        for side in ("h", "d") if d.embedding_depth else ("h",):
            p.buffer(f"two_{side}{k}", embed)
        if k:
            p.both(f"two{k}", embed, embed)
    p.both("two_out", embed, 2 * p.width + (0 if p.folded[0] else p.features))
    p.buffer("out0", p.matrices["two_out"].columns)
    p.buffer("g_out0", p.matrices["two_out"].columns)

    for k in range(d.layers):
        p.vector(f"track{k}", len(p.products[k].values) * p.channels)
        p.buffer(f"scalar{k}", p.channels)
        p.buffer(f"g_scalar{k}", p.channels)
        for j in range(k + 1):
            p.both(f"latent{k}_from{j}", p.sources[j], first[k])
        p.both(f"latent{k}_scalar", p.channels, first[k])
        for m in range(d.latent_depth):
            p.buffer(f"lat{k}_h{m}", latent)
            p.buffer(f"lat{k}_d{m}", latent)
            if m:
                p.both(f"latent{k}_{m}", latent, latent)
        columns = (p.width if k < d.layers - 1 else 0) + (0 if p.folded[k + 1] else p.features)
        if columns:
            p.buffer(f"out{k + 1}", columns)
            p.buffer(f"g_out{k + 1}", columns)
            if d.latent_depth:
                p.both(f"latent{k}_out", latent, columns)

    for j, width in enumerate(p.sources):
        if d.readout_depth:
            p.both(f"readout_from{j}", width, readout)
        else:
            p.vector(f"readout_from{j}", p.columns * width)
        if p.folded[j]:
            p.buffer(f"g_source{j}", width)
    for m in range(d.readout_depth):
        p.buffer(f"read_h{m}", readout)
        p.buffer(f"read_d{m}", readout)
        if m:
            p.both(f"readout{m}", readout, readout)
    if d.readout_depth:
        p.vector("readout_last", p.columns * readout)
    p.buffer("scratch0", max(embed, latent, readout))
    p.buffer("scratch1", max(embed, latent, readout))
    return p


def panels(vectors: int) -> list[int]:
    """Split a number of SIMD columns into panels of two and three (one for a single one)."""
    if vectors == 1:
        return [1]
    return [2] * (vectors // 2) if vectors % 2 == 0 else [2] * ((vectors - 3) // 2) + [3]
