"""The whole kernel of a local model as source text, from its plan: tiles of centre atoms, forward and backward.

A tile holds so many centres that their edges fill some hundred rows; it is taken through the whole model and back
before the next begins, so that nothing of an edge leaves the cache. Everything is exact: the model is strictly local.
"""

from __future__ import annotations

from plugins.equivariant.kernel import geometry, matrices, mixing, tangents, tensors
from plugins.equivariant.kernel.passes import MORE, Passes
from plugins.equivariant.kernel.plan import Plan
from plugins.equivariant.kernel.tangents import Tangents

CENTRES = 16  # at most so many in a tile

HEADER = """from math import pi as PI

import numpy as np
from numba import njit

from engine.kernels.simd import cos, exp, fused, hsum, load, select, sin, splat, sqrt, store
from plugins.equivariant.kernel.memory import compiler, item

compiled = compiler("{dtype}")


@njit(inline="always")
def ZERO():
    return splat({real}(0.0), {lanes})


@compiled
def activate(w, h, d, count):
    \"\"\"SiLU in place and its derivative beside it.\"\"\"
    for k in range(0, count, {lanes}):
        x = load(w, h + k, {lanes})
        s = 1.0 / (1.0 + exp(-x))
        y = x * s
        store(w, h + k, y)
        store(w, d + k, s + y * (1.0 - s))


@compiled
def multiply(w, a, b, out, count):
    for k in range(0, count, {lanes}):
        store(w, out + k, load(w, a + k, {lanes}) * load(w, b + k, {lanes}))


@compiled
def radial_mix(w, te, data, n, o_B, o_pair, out, count, width):
    \"\"\"First pre-activations: radial functions times the matrix of the edge's pair of species.\"\"\"
    for e in range(n):
        table = int(w[o_pair + e])
        for c in range(0, width, {lanes}):
            s = ZERO()
            for k in range(count):
                s = fused(splat(item(w, o_B + k * te + e), {lanes}), load(data, table + k * width + c, {lanes}), s)
            store(w, out + e * width + c, s)


@compiled
def radial_mix_back(w, te, data, n, o_D, o_pair, g, out, count, width):
    \"\"\"∂E/∂r through the radial functions.\"\"\"
    for e in range(n):
        table = int(w[o_pair + e])
        total = ZERO()
        for c in range(0, width, {lanes}):
            s = ZERO()
            for k in range(count):
                s = fused(splat(item(w, o_D + k * te + e), {lanes}), load(data, table + k * width + c, {lanes}), s)
            total = fused(s, load(w, g + e * width + c, {lanes}), total)
        w[out + e] = hsum(total)


@compiled
def add_energy(w, data, n, values, ld, vector, width, out):
    \"\"\"Edge energies: += values · vector.\"\"\"
    for e in range(n):
        s = ZERO()
        for c in range(0, width, {lanes}):
            s = fused(load(w, values + e * ld + c, {lanes}), load(data, vector + c, {lanes}), s)
        w[out + e] += hsum(s)


@compiled
def spread_rows(w, data, n, vector, width, out, ld):
    \"\"\"Every row of a gradient buffer = vector.\"\"\"
    for e in range(n):
        for c in range(0, width, {lanes}):
            store(w, out + e * ld + c, load(data, vector + c, {lanes}))


@compiled
def scaled_rows(w, data, n, vector, factor, width, out):
    \"\"\"Row e = vector * factor_e.\"\"\"
    for e in range(n):
        for c in range(0, width, {lanes}):
            store(w, out + e * width + c, load(data, vector + c, {lanes}) * load(w, factor + e * width + c, {lanes}))


@compiled
def combine(w, n, o_x, o_ir, o_n, o_r, te):
    \"\"\"Gradient on the edge vector from those on its direction and its length, written over the former.\"\"\"
    for e in range(0, n, {lanes}):
        x, y, z = load(w, o_x + e, {lanes}), load(w, o_x + te + e, {lanes}), load(w, o_x + 2 * te + e, {lanes})
        gx, gy, gz = load(w, o_n + e, {lanes}), load(w, o_n + te + e, {lanes}), load(w, o_n + 2 * te + e, {lanes})
        ir = load(w, o_ir + e, {lanes})
        q = load(w, o_r + e, {lanes}) - (x * gx + y * gy + z * gz) * ir
        store(w, o_n + e, gx * ir + x * q)
        store(w, o_n + te + e, gy * ir + y * q)
        store(w, o_n + 2 * te + e, gz * ir + z * q)
"""

SEEDED = """
@compiled
def seeded_rows(w, data, te, n, vectors, width, o_seed, out, ld):
    \"\"\"Every row of a gradient buffer = Σ seed · vector of its column.\"\"\"
    for e in range(n):
        for c in range(0, width, {lanes}):
            s = ZERO()
            for k in range({columns}):
                s = fused(splat(item(w, o_seed + k * te + e), {lanes}), load(data, vectors + k * width + c, {lanes}), s)
            store(w, out + e * ld + c, s)
"""

FILL = """    while i < stop:
        # fill the tile
        n, atoms, last = 0, 0, 0
        while i + atoms < stop and atoms < {centres} and (atoms == 0 or n + last <= target):
            a = i + atoms
            first[atoms] = n
            za = species[a]
            for m in range(offsets[a], offsets[a + 1]):
                j = indices[m]
                x, y, z = positions[j, 0] - positions[a, 0], positions[j, 1] - positions[a, 1], \\
                    positions[j, 2] - positions[a, 2]
                pair = za * {species} + species[j]
                rc = cutoffs[pair]
                if x * x + y * y + z * z < rc * rc:
                    w[o_x + n], w[o_x + te + n], w[o_x + 2 * te + n] = x, y, z
                    w[o_q + n] = 1.0 / rc
                    w[o_pair + n] = {radial} + pair * {pair_size}
                    neighbor[n] = j
                    n += 1
            last = n - first[atoms]
            atoms += 1
        first[atoms] = n
        for e in range(n, (n + {lanes}) // {lanes} * {lanes}):
            w[o_x + e], w[o_x + te + e], w[o_x + 2 * te + e], w[o_q + e] = 1.0, 0.0, 0.0, 1.0
        for e in range({columns} * te):
            w[o_E + e] = 0.0
        if n == 0:
            i += atoms
            continue
"""

SCATTER = """        for b in range(atoms):
            a = i + b
            scale = scales[species[a]]
            fx, fy, fz, energy = 0.0, 0.0, 0.0, 0.0
            for e in range(first[b], first[b + 1]):
                energy += w[o_E + e]
                gx, gy, gz = scale * w[o_n + e], scale * w[o_n + te + e], scale * w[o_n + 2 * te + e]
                j = neighbor[e]
                fx, fy, fz = fx + gx, fy + gy, fz + gz
                forces[j, 0] -= gx
                forces[j, 1] -= gy
                forces[j, 2] -= gz
                if want_virial or want_atoms:
                    r = 1.0 / w[o_ir + e]
                    x, y, z = r * w[o_x + e], r * w[o_x + te + e], r * w[o_x + 2 * te + e]
                    if want_virial:
                        s = system[a]
                        virial[s, 0, 0] -= x * gx
                        virial[s, 0, 1] -= x * gy
                        virial[s, 0, 2] -= x * gz
                        virial[s, 1, 0] -= y * gx
                        virial[s, 1, 1] -= y * gy
                        virial[s, 1, 2] -= y * gz
                        virial[s, 2, 0] -= z * gx
                        virial[s, 2, 1] -= z * gy
                        virial[s, 2, 2] -= z * gz
                    if want_atoms:
                        atom_virial[j, 0, 0] -= x * gx
                        atom_virial[j, 0, 1] -= x * gy
                        atom_virial[j, 0, 2] -= x * gz
                        atom_virial[j, 1, 0] -= y * gx
                        atom_virial[j, 1, 1] -= y * gy
                        atom_virial[j, 1, 2] -= y * gz
                        atom_virial[j, 2, 0] -= z * gx
                        atom_virial[j, 2, 1] -= z * gy
                        atom_virial[j, 2, 2] -= z * gz
            forces[a, 0] += fx
            forces[a, 1] += fy
            forces[a, 2] += fz
            atom_energy[a] += scale * energy
        i += atoms
"""


class Layout:
    """Offsets: edge buffers in units of `te` rows, then the centres' buffers after all of them."""

    def __init__(self, p: Plan):
        d = p.description
        self.columns, self.start = {}, 0
        kept = len(geometry.stored(d.l_max))
        singles = dict(x=1, y=1, z=1, q=1, ir=1, pair=1, Y=p.dim, J=kept, B=d.bessel, D=d.bessel, n=3, r=1,
                       E=p.columns, seed=p.columns if p.columns > 1 else 0)
        for name, count in {**singles, **p.buffers}.items():
            self.columns[name] = self.start
            self.start += count
        self.centre, self.size = {}, 0
        for k in range(d.layers):
            self.add(f"A{k}", p.dim * p.channels)
            self.add(f"gA{k}", p.dim * p.channels)
            for s in range(k + 1):
                self.add(f"V{k}_{s}", p.products[s].dim_in * p.channels)
        widest = max(x.dim_in for x in p.products) * p.channels
        self.add("gV0", widest)
        self.add("gV1", widest)

    def add(self, name, count):
        self.centre[name] = self.size
        self.size += count


def workspace(p: Plan, te: int, copies: int = 1) -> int:
    layout = Layout(p)
    return copies * (layout.start * te + layout.size * CENTRES) + p.lanes


FEATURES = """        for b in range(atoms):
            for e in range(first[b], first[b + 1]):
{rows}
        i += atoms
"""


def _features(passes):
    """Sums over edges of what the last linear map reads, one of its parts after another."""
    lines, at = [], 0
    for values, ld, _, width in passes.readouts():
        lines += [f"                for c in range({width}):",
                  f"                    forces[i + b, {at} + c] += w[{values} + e * {ld} + c]"]
        at += width
    return FEATURES.format(rows="\n".join(lines))


def write(p: Plan, registers: int, gives: str = "forces") -> str:
    """The module's text; ``run`` is its entry.

    gives : "forces", and what belongs to them; "features": it goes forward only, the array in the place of forces is
        (n, Σ p.read) and receives for every centre the sum over its edges of what the last linear map reads; "responses":
        Born charges and the polarizability too, of a model with a field in its environments
    """
    d, lanes, layout = p.description, p.lanes, Layout(p)
    text = [HEADER.format(real=f"np.{d.dtype}", dtype=d.dtype, lanes=lanes), "",
            matrices.functions(lanes, registers),
            geometry.function(d.l_max, d.bessel, d.envelope, lanes).replace("ONE * ", ""), "",
            tensors.functions(d.l_max, d.layers, p.channels, lanes)]
    more = ""
    if p.columns > 1:
        text += [MORE[p.columns].FUNCTIONS, SEEDED.format(lanes=lanes, columns=p.columns)]
        more = MORE[p.columns].ARGUMENTS
    if mixing.has_field(p):
        text.append(mixing.functions(p))
        more = mixing.ARGUMENTS
    if gives == "features":
        more = ""
    if gives == "responses":
        text.append(tangents.functions(p))
        more = tangents.ARGUMENTS.format(more)
    text += ["", "@compiled",
             "def run(start, stop, positions, species, system, offsets, indices, cutoffs, scales, data, table, w, te, target,",
             f"        forces, atom_energy, virial, atom_virial, want_virial, want_atoms{more}):",
             '    """Centres start … stop; adds to forces (n_all, 3), atom_energy (n,), virial (S, 3, 3) and atom_virial."""']
    text += [f"    o_{name} = {column} * te" for name, column in layout.columns.items()]
    text += [f"    o_{name} = {layout.start} * te + {offset}" for name, offset in layout.centre.items()]
    text += [f"    block = {layout.start} * te + {layout.size * CENTRES}"]
    text += ["    neighbor = np.empty(te, np.int64)", f"    first = np.empty({CENTRES + 1}, np.int64)", "    i = start",
             FILL.format(centres=CENTRES, species=len(d.species), radial=p.vectors["radial"],
                         pair_size=d.bessel * p.buffers["two_h0"], lanes=lanes, columns=p.columns)]
    passes = (Tangents if gives == "responses" else Passes)(p, layout.size)
    if gives == "features":
        passes.more = None
        passes.forward()
        return "\n".join(text + passes.lines) + "\n" + _features(passes)
    passes.forward()
    passes.backward()
    return "\n".join(text + passes.lines) + "\n" + (tangents.SCATTER if gives == "responses" else "") + SCATTER
