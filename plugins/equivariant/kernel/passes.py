"""A tile's way through the model and back, as calls of the kernel's functions.

Forward: two-body embedding, then layer by layer the environment, its operator, scalars and latents, then the readout.
Backward: the same in reverse, gradients (``g_``) beside what they belong to, until the edge vectors.
"""

from __future__ import annotations

from plugins.equivariant.kernel import latent, matrices, mixing, response
from plugins.equivariant.kernel.plan import Plan

MORE = {2: latent, 4: response}  # what more than an energy is read out, by the number of columns


class Passes:
    """`lines` of a tile's loop; `size` is that of a centre's buffers."""

    def __init__(self, p: Plan, size: int):
        self.plan, self.description, self.size = p, p.description, size
        self.embed, self.out0 = p.buffers["two_h0"], p.buffers["out0"]
        self.more = MORE.get(p.columns)
        self.lines: list[str] = []

    # -- words ------------------------------------------------------------------------------------------------------
    def say(self, *lines):
        self.lines.extend("        " + s for s in lines)

    def product(self, name, source, source_width, target, target_width, add=False):
        matrix = self.plan.matrices[name]
        self.say(*matrices.call(matrix, self.plan.lanes, source, source_width, target, target_width, add))

    def centre(self, name):
        return f"(o_{name} + b * {self.size})"

    def entries(self, k):
        """The coefficient list of layer k."""
        products = self.plan.products
        start = sum(len(x.values) for x in products[:k])
        return f"table, {start}, {start + len(products[k].values)}, {self.plan.vectors[f'track{k}']}"

    def source(self, j):
        """(offset expression, row width) of source j and of its gradient."""
        p, d = self.plan, self.description
        if p.folded[j]:
            name = f"two_h{max(d.embedding_depth, 1) - 1}" if j == 0 else f"lat{j - 1}_h{d.latent_depth - 1}"
            return f"o_{name}", p.buffers[name], f"o_g_source{j}", p.sources[j]
        width = p.buffers[f"out{j}"]
        return f"o_out{j} + {width - p.features}", width, f"o_g_out{j} + {width - p.features}", width

    def environment(self, k):
        """(weights of environment k, their row width, their gradient): inside the output that made them."""
        column = self.plan.width if k == 0 else None
        offset = "" if column is None else f" + {column}"
        return f"o_out{k}{offset}", self.plan.buffers[f"out{k}"], f"o_g_out{k}{offset}"

    def readouts(self):
        """[(values, row width, where the vectors start, their width)]: what the last linear map reads."""
        p, d = self.plan, self.description
        if d.readout_depth:
            width = p.buffers["read_h0"]
            return [(f"o_read_h{d.readout_depth - 1}", width, p.vectors["readout_last"], width)]
        return [(*self.source(j)[:2], p.vectors[f"readout_from{j}"], p.sources[j]) for j in range(d.layers + 1)]

    # -- forward ------------------------------------------------------------------------------------------------------
    def forward(self):
        self.embedding()
        for k in range(self.description.layers):
            self.layer(k)
            self.latent(k)
        self.readout()

    def embedding(self):
        d, embed = self.description, self.embed
        self.say(f"geometry(w, te, n, {', '.join('o_' + s for s in ('x', 'y', 'z', 'q', 'ir', 'Y', 'J', 'B', 'D'))})")
        self.say(f"radial_mix(w, te, data, n, o_B, o_pair, o_two_h0, {d.bessel}, {embed})")
        for m in range(d.embedding_depth):
            if m:
                self.product(f"two{m}", f"o_two_h{m - 1}", embed, f"o_two_h{m}", embed)
            self.say(f"activate(w, o_two_h{m}, o_two_d{m}, n * {embed})")
        self.product("two_out", f"o_two_h{max(d.embedding_depth, 1) - 1}", embed, "o_out0", self.out0)

    def layer(self, k):
        p, centre = self.plan, self.centre
        weight, ld, _ = self.environment(k)
        self.say("for b in range(atoms):")
        self.say(f"    gather_sum(w, te, o_Y, first[b], first[b + 1], {weight}, {ld}, {centre(f'A{k}')})")
        if mixing.has_field(p):
            self.say(mixing.forward(p, k, centre(f"A{k}")))
        self.say(f"    clear(w, {centre(f'V{k}_{k}')}, {p.products[k].dim_in * p.channels})")
        self.say(f"    project(w, data, {self.entries(k)}, {centre(f'A{k}')}, {centre(f'V{k}_{k}')})")
        for s in range(k - 1, -1, -1):
            self.say(f"    clear(w, {centre(f'V{k}_{s}')}, {p.products[s].dim_in * p.channels})")
            self.say(f"    operate(w, data, {self.entries(s)}, {centre(f'A{s}')}, {centre(f'V{k}_{s + 1}')}, "
                     f"{centre(f'V{k}_{s}')})")
        self.say(f"    edge_dot(w, te, o_Y, first[b], first[b + 1], o_out0, {self.out0}, {centre(f'V{k}_0')}, o_scalar{k})")

    def latent(self, k):
        p, d = self.plan, self.description
        first = f"lat{k}_h0" if d.latent_depth else f"out{k + 1}"
        width = p.buffers[first]
        for j in range(k + 1):
            self.product(f"latent{k}_from{j}", *self.source(j)[:2], f"o_{first}", width, add=j > 0)
        self.product(f"latent{k}_scalar", f"o_scalar{k}", p.channels, f"o_{first}", width, add=True)
        for m in range(d.latent_depth):
            if m:
                self.product(f"latent{k}_{m}", f"o_lat{k}_h{m - 1}", width, f"o_lat{k}_h{m}", width)
            self.say(f"activate(w, o_lat{k}_h{m}, o_lat{k}_d{m}, n * {width})")
        if d.latent_depth and f"out{k + 1}" in p.buffers:
            self.product(f"latent{k}_out", f"o_lat{k}_h{d.latent_depth - 1}", width, f"o_out{k + 1}", p.buffers[f"out{k + 1}"])

    def readout(self):
        p, d = self.plan, self.description
        if d.readout_depth:
            width = p.buffers["read_h0"]
            for j in range(d.layers + 1):
                self.product(f"readout_from{j}", *self.source(j)[:2], "o_read_h0", width, add=j > 0)
            for m in range(d.readout_depth):
                if m:
                    self.product(f"readout{m}", f"o_read_h{m - 1}", width, f"o_read_h{m}", width)
                self.say(f"activate(w, o_read_h{m}, o_read_d{m}, n * {width})")
        for values, ld, vector, width in self.readouts():
            for c in range(p.columns):
                self.say(f"add_energy(w, data, n, {values}, {ld}, {vector + c * width}, {width}, o_E + {c} * te)")
        if self.more:
            self.say(*self.more.FORWARD)

    # -- backward -----------------------------------------------------------------------------------------------------
    def backward(self):
        p, layers = self.plan, range(self.description.layers)
        self.readout_back()
        self.say("for b in range(atoms):", *(f"    clear(w, {self.centre(f'gA{k}')}, {p.dim * p.channels})" for k in layers))
        for k in reversed(layers):
            self.latent_back(k)
            self.layer_back(k)
        self.edges_back()

    def readout_back(self):
        d = self.description
        if not d.readout_depth:
            for j, (_, _, vector, width) in enumerate(self.readouts()):
                target, ld = self.source(j)[2:]
                self.say(f"seeded_rows(w, data, te, n, {vector}, {width}, o_seed, {target}, {ld})" if self.more else
                         f"spread_rows(w, data, n, {vector}, {width}, {target}, {ld})")
            return
        ((_, _, vector, width),), factor = self.readouts(), f"o_read_d{d.readout_depth - 1}"
        if self.more:
            self.say(f"seeded_rows(w, data, te, n, {vector}, {width}, o_seed, o_scratch1, {width})",
                     f"multiply(w, o_scratch1, {factor}, o_scratch0, n * {width})")
        else:
            self.say(f"scaled_rows(w, data, n, {vector}, {factor}, {width}, o_scratch0)")
        for m in range(d.readout_depth - 1, 0, -1):
            self.product(f"readout{m}_T", "o_scratch0", width, "o_scratch1", width)
            self.say(f"multiply(w, o_scratch1, o_read_d{m - 1}, o_scratch0, n * {width})")
        for j in range(d.layers + 1):
            self.product(f"readout_from{j}_T", "o_scratch0", width, *self.source(j)[2:])

    def latent_back(self, k):
        """From the gradient of what latent k gave to those of the sources and of scalar k."""
        p, d, out = self.plan, self.description, f"out{k + 1}"
        gradient, width = f"o_g_{out}", p.buffers.get(out)
        if d.latent_depth:
            gradient, above, width = "o_scratch0", width, p.buffers[f"lat{k}_h0"]
            hidden = f"o_g_source{k + 1}" if p.folded[k + 1] else "o_scratch1"
            if above:  # a folded source's gradient is there already, that of its last hidden layer: weights add to it
                self.product(f"latent{k}_out_T", f"o_g_{out}", above, hidden, width, add=p.folded[k + 1])
            self.say(f"multiply(w, {hidden}, o_lat{k}_d{d.latent_depth - 1}, o_scratch0, n * {width})")
            for m in range(d.latent_depth - 1, 0, -1):
                self.product(f"latent{k}_{m}_T", "o_scratch0", width, "o_scratch1", width)
                self.say(f"multiply(w, o_scratch1, o_lat{k}_d{m - 1}, o_scratch0, n * {width})")
        for j in range(k + 1):
            self.product(f"latent{k}_from{j}_T", gradient, width, *self.source(j)[2:], add=True)
        self.product(f"latent{k}_scalar_T", gradient, width, f"o_g_scalar{k}", p.channels)

    def layer_back(self, k):
        p, centre = self.plan, self.centre
        self.say("for b in range(atoms):")
        self.say(f"    edge_dot_back(w, te, o_Y, first[b], first[b + 1], o_out0, {self.out0}, o_g_scalar{k}, {centre('gV0')})")
        now, then = "gV0", "gV1"
        for s in range(k):
            self.say(f"    clear(w, {centre(then)}, {p.products[s].dim_out * p.channels})")
            self.say(f"    operate_back(w, data, {self.entries(s)}, {centre(f'A{s}')}, {centre(f'V{k}_{s + 1}')}, "
                     f"{centre(now)}, {centre(f'gA{s}')}, {centre(then)})")
            now, then = then, now
        self.say(f"    project_back(w, data, {self.entries(k)}, {centre(now)}, {centre(f'gA{k}')})")
        _, ld, gradient = self.environment(k)
        self.say(f"    gather_sum_back(w, te, o_Y, first[b], first[b + 1], {centre(f'gA{k}')}, {gradient}, {ld})")

    def edges_back(self):
        """From the gradients of weights, operators and environments to those of the edge vectors."""
        p, d = self.plan, self.description
        dots = "".join(f", o_g_scalar{k}, {self.centre(f'V{k}_0')}" for k in range(d.layers))
        environments = "".join(f", {self.environment(k)[0]}, {self.environment(k)[1]}, {self.centre(f'gA{k}')}"
                               for k in range(d.layers))
        self.say("for b in range(atoms):")
        if mixing.has_field(p):
            self.say(*(mixing.backward(p, k, self.centre(f"gA{k}")) for k in range(d.layers)))
        self.say(f"    edge_gradient(w, te, o_Y, o_J, o_n, first[b], first[b + 1], o_out0, {self.out0}, o_g_out0, "
                 f"{self.out0}{dots}{environments})", *(self.more.BACKWARD if self.more else []))
        back = "o_g_source0" if p.folded[0] else "o_scratch1"
        self.product("two_out_T", "o_g_out0", self.out0, back, self.embed, add=p.folded[0])
        for m in range(d.embedding_depth - 1, -1, -1):
            self.say(f"multiply(w, {back}, o_two_d{m}, o_scratch0, n * {self.embed})")
            if m:
                self.product(f"two{m}_T", "o_scratch0", self.embed, "o_scratch1", self.embed)
            back = "o_scratch1" if m else "o_scratch0"
        self.say(f"radial_mix_back(w, te, data, n, o_D, o_pair, {back}, o_r, {d.bessel}, {self.embed})")
        self.say("combine(w, n, o_x, o_ir, o_n, o_r, te)")
