"""The whole kernel of a local model as source text, from its plan: tiles of centre atoms, forward and backward.

A tile holds so many centres that their edges fill some hundred rows; it is taken through the whole model and back
before the next begins, so that nothing of an edge leaves the cache. Everything is exact: the model is strictly local.
"""

from __future__ import annotations

from plugins.equivariant.kernel import geometry, matrices, response, tensors
from plugins.equivariant.kernel.plan import Plan

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


def workspace(p: Plan, te: int) -> int:
    layout = Layout(p)
    return layout.start * te + layout.size * CENTRES + p.lanes


def write(p: Plan, registers: int) -> str:
    """The module's text; ``run`` is its entry."""
    d, lanes, layout = p.description, p.lanes, Layout(p)
    real = f"np.{d.dtype}"
    embed = p.buffers["two_h0"]
    text = [HEADER.format(real=real, dtype=d.dtype, lanes=lanes), "",
            matrices.functions(lanes, registers),
            geometry.function(d.l_max, d.bessel, d.envelope, lanes).replace("ONE * ", ""), "",
            tensors.functions(d.l_max, d.layers, p.channels, lanes)]
    if p.columns > 1:
        text.append(response.FUNCTIONS.format(lanes=lanes))
    body: list[str] = []

    def line(*lines):
        body.extend("        " + s for s in lines)

    def product(name, source, source_width, target, target_width, add=False):
        line(*matrices.call(p.matrices[name], lanes, source, source_width, target, target_width, add))

    def b(name):
        return f"o_{name}"

    def centre(name):
        return f"(o_{name} + b * {layout.size})"

    def entries(k):
        start = sum(len(x.values) for x in p.products[:k])
        return f"table, {start}, {start + len(p.products[k].values)}, {p.vectors[f'track{k}']}"

    def source(j):
        """(offset expression, row width) of source j and of its gradient."""
        if p.folded[j]:
            name = f"two_h{max(d.embedding_depth, 1) - 1}" if j == 0 else f"lat{j - 1}_h{d.latent_depth - 1}"
            return b(name), p.buffers[name], b(f"g_source{j}"), p.sources[j]
        column = p.buffers[f"out{j}"] - p.features
        return f"{b(f'out{j}')} + {column}", p.buffers[f"out{j}"], f"{b(f'g_out{j}')} + {column}", p.buffers[f"out{j}"]

    def env(k):
        """(weights of environment k, their row width, their gradient): inside the output that made them."""
        if k == 0:
            return f"{b('out0')} + {p.width}", p.buffers["out0"], f"{b('g_out0')} + {p.width}"
        return b(f"out{k}"), p.buffers[f"out{k}"], b(f"g_out{k}")

    # ---- forward
    line(f"geometry(w, te, n, {', '.join('o_' + s for s in ('x', 'y', 'z', 'q', 'ir', 'Y', 'J', 'B', 'D'))})")
    line(f"radial_mix(w, te, data, n, o_B, o_pair, o_two_h0, {d.bessel}, {embed})")
    for m in range(d.embedding_depth):
        if m:
            product(f"two{m}", b(f"two_h{m - 1}"), embed, b(f"two_h{m}"), embed)
        line(f"activate(w, o_two_h{m}, o_two_d{m}, n * {embed})")
    last_two = f"two_h{max(d.embedding_depth, 1) - 1}"
    product("two_out", b(last_two), embed, b("out0"), p.buffers["out0"])
    for k in range(d.layers):
        weight, ld, _ = env(k)
        line("for b in range(atoms):")
        line(f"    gather_sum(w, te, o_Y, first[b], first[b + 1], {weight}, {ld}, {centre(f'A{k}')})")
        line(f"    clear(w, {centre(f'V{k}_{k}')}, {p.products[k].dim_in * p.channels})")
        line(f"    project(w, data, {entries(k)}, {centre(f'A{k}')}, {centre(f'V{k}_{k}')})")
        for s in range(k - 1, -1, -1):
            line(f"    clear(w, {centre(f'V{k}_{s}')}, {p.products[s].dim_in * p.channels})")
            line(f"    operate(w, data, {entries(s)}, {centre(f'A{s}')}, {centre(f'V{k}_{s + 1}')}, "
                 f"{centre(f'V{k}_{s}')})")
        line(f"    edge_dot(w, te, o_Y, first[b], first[b + 1], o_out0, {p.buffers['out0']}, {centre(f'V{k}_0')}, "
             f"o_scalar{k})")
        latent = f"lat{k}_h0" if d.latent_depth else f"out{k + 1}"
        width = p.buffers[latent]
        for j in range(k + 1):
            product(f"latent{k}_from{j}", *source(j)[:2], b(latent), width, add=j > 0)
        product(f"latent{k}_scalar", b(f"scalar{k}"), p.channels, b(latent), width, add=True)
        for m in range(d.latent_depth):
            if m:
                product(f"latent{k}_{m}", b(f"lat{k}_h{m - 1}"), width, b(f"lat{k}_h{m}"), width)
            line(f"activate(w, o_lat{k}_h{m}, o_lat{k}_d{m}, n * {width})")
        if d.latent_depth and f"out{k + 1}" in p.buffers:
            product(f"latent{k}_out", b(f"lat{k}_h{d.latent_depth - 1}"), width, b(f"out{k + 1}"),
                    p.buffers[f"out{k + 1}"])
    if d.readout_depth:
        width = p.buffers["read_h0"]
        for j in range(d.layers + 1):
            product(f"readout_from{j}", *source(j)[:2], b("read_h0"), width, add=j > 0)
        for m in range(d.readout_depth):
            if m:
                product(f"readout{m}", b(f"read_h{m - 1}"), width, b(f"read_h{m}"), width)
            line(f"activate(w, o_read_h{m}, o_read_d{m}, n * {width})")
        last = [(b(f"read_h{d.readout_depth - 1}"), width, p.vectors["readout_last"], width)]
    else:
        last = [(*source(j)[:2], p.vectors[f"readout_from{j}"], p.sources[j]) for j in range(d.layers + 1)]
    for values, ld, vector, width in last:
        for c in range(p.columns):
            line(f"add_energy(w, data, n, {values}, {ld}, {vector + c * width}, {width}, o_E + {c} * te)")
    responds = p.columns > 1
    if responds:
        line("for b in range(atoms):", response.FORWARD)
    # ---- backward
    if d.readout_depth:
        width, factor = p.buffers["read_h0"], f"o_read_d{d.readout_depth - 1}"
        if responds:
            line(f"seeded_rows(w, data, te, n, {p.vectors['readout_last']}, {width}, o_seed, o_scratch1, {width})",
                 f"multiply(w, o_scratch1, {factor}, o_scratch0, n * {width})")
        else:
            line(f"scaled_rows(w, data, n, {p.vectors['readout_last']}, {factor}, {width}, o_scratch0)")
        for m in range(d.readout_depth - 1, 0, -1):
            product(f"readout{m}_T", "o_scratch0", width, "o_scratch1", width)
            line(f"multiply(w, o_scratch1, o_read_d{m - 1}, o_scratch0, n * {width})")
        for j in range(d.layers + 1):
            product(f"readout_from{j}_T", "o_scratch0", width, *source(j)[2:])
    else:
        for j in range(d.layers + 1):
            g, ld = source(j)[2:]
            given = f"{p.vectors[f'readout_from{j}']}, {p.sources[j]}"
            line(f"seeded_rows(w, data, te, n, {given}, o_seed, {g}, {ld})" if responds else
                 f"spread_rows(w, data, n, {given}, {g}, {ld})")
    line("for b in range(atoms):")
    for k in range(d.layers):
        line(f"    clear(w, {centre(f'gA{k}')}, {p.dim * p.channels})")
    for k in range(d.layers - 1, -1, -1):
        if d.latent_depth:
            width = p.buffers[f"lat{k}_h0"]
            out = f"out{k + 1}"
            if p.folded[k + 1]:  # the gradient of the source is that of the last hidden layer; weights add to it
                if out in p.buffers:
                    product(f"latent{k}_out_T", b("g_" + out), p.buffers[out], b(f"g_source{k + 1}"), width, add=True)
                line(f"multiply(w, o_g_source{k + 1}, o_lat{k}_d{d.latent_depth - 1}, o_scratch0, n * {width})")
            else:
                product(f"latent{k}_out_T", b("g_" + out), p.buffers[out], "o_scratch1", width)
                line(f"multiply(w, o_scratch1, o_lat{k}_d{d.latent_depth - 1}, o_scratch0, n * {width})")
            for m in range(d.latent_depth - 1, 0, -1):
                product(f"latent{k}_{m}_T", "o_scratch0", width, "o_scratch1", width)
                line(f"multiply(w, o_scratch1, o_lat{k}_d{m - 1}, o_scratch0, n * {width})")
            gradient = "o_scratch0"
        else:
            gradient, width = b(f"g_out{k + 1}"), p.buffers[f"out{k + 1}"]
        for j in range(k + 1):
            product(f"latent{k}_from{j}_T", gradient, width, *source(j)[2:], add=True)
        product(f"latent{k}_scalar_T", gradient, width, b(f"g_scalar{k}"), p.channels)
        line("for b in range(atoms):")
        line(f"    edge_dot_back(w, te, o_Y, first[b], first[b + 1], o_out0, {p.buffers['out0']}, o_g_scalar{k}, "
             f"{centre('gV0')})")
        now, then = "gV0", "gV1"
        for s in range(k):
            line(f"    clear(w, {centre(then)}, {p.products[s].dim_out * p.channels})")
            line(f"    operate_back(w, data, {entries(s)}, {centre(f'A{s}')}, {centre(f'V{k}_{s + 1}')}, {centre(now)}, "
                 f"{centre(f'gA{s}')}, {centre(then)})")
            now, then = then, now
        line(f"    project_back(w, data, {entries(k)}, {centre(now)}, {centre(f'gA{k}')})")
        _, ld, gradient = env(k)
        line(f"    gather_sum_back(w, te, o_Y, first[b], first[b + 1], {centre(f'gA{k}')}, {gradient}, {ld})")
    arguments = "".join(f", {env(k)[0]}, {env(k)[1]}, o_g_scalar{k}, {centre(f'V{k}_0')}, {centre(f'gA{k}')}"
                        for k in range(d.layers))
    line("for b in range(atoms):")
    line(f"    edge_gradient(w, te, o_Y, o_J, o_n, first[b], first[b + 1], o_out0, {p.buffers['out0']}, o_g_out0, "
         f"{p.buffers['out0']}{arguments})", *([response.BACKWARD] if responds else []))
    if p.folded[0]:
        product("two_out_T", b("g_out0"), p.buffers["out0"], b("g_source0"), embed, add=True)
        back = b("g_source0")
    else:
        product("two_out_T", b("g_out0"), p.buffers["out0"], b("scratch1"), embed)
        back = b("scratch1")
    for m in range(d.embedding_depth - 1, -1, -1):
        line(f"multiply(w, {back}, o_two_d{m}, o_scratch0, n * {embed})")
        if m:
            product(f"two{m}_T", "o_scratch0", embed, "o_scratch1", embed)
        back = "o_scratch1" if m else "o_scratch0"
    line(f"radial_mix_back(w, te, data, n, o_D, o_pair, {back}, o_r, {d.bessel}, {embed})")
    line("combine(w, n, o_x, o_ir, o_n, o_r, te)")

    run = ["", "@compiled",
           "def run(start, stop, positions, species, system, offsets, indices, cutoffs, scales, data, table, w, te, target,",
           f"        forces, atom_energy, virial, atom_virial, want_virial, want_atoms{response.ARGUMENTS if responds else ''}):",
           '    """Centres start … stop; adds to forces (n_all, 3), atom_energy (n,), virial (S, 3, 3) and atom_virial."""']
    run += [f"    o_{name} = {column} * te" for name, column in layout.columns.items()]
    run += [f"    o_{name} = {layout.start} * te + {offset}" for name, offset in layout.centre.items()]
    run += ["    neighbor = np.empty(te, np.int64)", f"    first = np.empty({CENTRES + 1}, np.int64)", "    i = start"]
    run += [FILL.format(centres=CENTRES, species=len(d.species), radial=p.vectors["radial"],
                        pair_size=d.bessel * embed, lanes=lanes, columns=p.columns)]
    return "\n".join(text + run + body) + "\n" + SCATTER
