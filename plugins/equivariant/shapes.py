"""Shapes of a local model's arrays, told from its description: what a folder must hold, without torch."""

from __future__ import annotations

from plugins.equivariant import track
from plugins.equivariant.description import Description


def shapes(d: Description, form: str | None = None) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the state of ``local.LocalModel``, or, with a form, of ``plugins.dielectric.model``."""
    species, width, known = len(d.species), d.channels * (d.l_max + 1), d.features * (d.layers + 1)
    columns = 4 if form == "quadratic" else 1 + d.charges
    out = {"scales": (species,), "shifts": (species,), "first.weight": (d.features, d.features + width),
           "initial.weight": (d.features, width), "embedding.radial.weight": (d.bessel, d.features),
           "embedding.centre": (species, d.features // 2), "embedding.neighbour": (species, d.features // 2)}

    def network(name, rows, columns, depth, width):
        sizes = [rows, *[width] * depth, columns]
        out.update({f"{name}.layers.{k}.weight": pair for k, pair in enumerate(zip(sizes, sizes[1:]))})

    network("two_body", d.features, d.features, d.embedding_depth, d.embedding_width)
    network("readout", known, columns, d.readout_depth, d.readout_width)
    for k, layer in enumerate(track.layers(d.l_max, d.parity, d.layers)):
        out[f"products.{k}.weight"] = d.channels, len(layer.paths)
        network(f"latents.{k}", d.features * (k + 1) + d.channels, d.features + (width if k < d.layers - 1 else 0),
                d.latent_depth, d.latent_width)
        if form == "full":
            out[f"field_weights.{k}"] = species, d.channels * d.l_max
    return out | ({"latent.base": (species,)} if d.charges else {}) | ({"response_scales": (3,)} if form == "quadratic" else {})
