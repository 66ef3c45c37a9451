"""Forward over reverse: the kernel that gives every derivative by the field with the forces, in one pass over the tiles.

Every line of a tile's way (``passes``) that hangs on the field E is preceded by that of its derivatives along the three axes,

    y = f(u, v),  linear in each        ẏ = f(u̇, v) + f(u, v̇)
    y = SiLU(x),  d = SiLU′(x)          ẏ = d ẋ,   ḋ = SiLU″(x) ẋ

so that what comes out beside ∂F/∂R and P = −∂F/∂E are −∂²F/∂E∂R, the Born charges, and α = −∂²F/∂E∂E, exact to rounding. Lines of
what no field reaches (the two-body embedding, on the way there) have none. The derivatives of what is stored at `o` are at
`o + block`, `o + 2·block`, `o + 3·block`, where `block` is the size of all that one tile needs.
"""

from __future__ import annotations

import ast
import re

from plugins.equivariant.kernel import matrices, tensors
from plugins.equivariant.kernel.passes import Passes
from plugins.equivariant.kernel.plan import Plan

ARGUMENTS = ", along, bend{}, polarizability, born_charges"  # around those of ``mixing``

# function: positions of the arguments that it reads and is linear in each of, and of what it writes, or adds to
LINEAR = {
    "gather_sum": ((5,), 7), "gather_sum_back": ((5,), 6), "scaled_rows": ((4,), 6), "radial_mix_back": ((6,), 7),
    "edge_dot": ((7,), 8), "edge_dot_back": ((7,), 8),  # their weights are those of the two-body embedding
    "project": ((6,), 7), "project_back": ((6,), 7), "operate": ((6, 7), 8),
}
UNREACHED = {"geometry", "radial_mix", "add_energy"}

FUNCTIONS = """
@compiled
def activate_tangents(w, h, d, count, block):
    \"\"\"Of ``activate``, before it: from ẋ at h to ẏ there and ḋ.\"\"\"
    for k in range(0, count, {lanes}):
        x = load(w, h + k, {lanes})
        s = 1.0 / (1.0 + exp(-x))
        t = s * (1.0 - s)
        first, second = s + x * t, t * (2.0 + x * (1.0 - 2.0 * s))
        for twin in range(block, 4 * block, block):
            v = load(w, h + twin + k, {lanes})
            store(w, h + twin + k, first * v)
            store(w, d + twin + k, second * v)


@compiled
def multiply_tangents(w, a, b, out, count, block):
    for k in range(0, count, {lanes}):
        x, y = load(w, a + k, {lanes}), load(w, b + k, {lanes})
        for twin in range(block, 4 * block, block):
            store(w, out + twin + k, load(w, a + twin + k, {lanes}) * y + x * load(w, b + twin + k, {lanes}))


@compiled
def clear_rows(w, n, width, out, ld):
    for e in range(n):
        for c in range(0, width, {lanes}):
            store(w, out + e * ld + c, ZERO())

"""

SCATTER = """        for b in range(atoms):
            a = i + b
            scale = scales[species[a]]
            for x in range(3):
                at = o_n + (x + 1) * block
                for e in range(first[b], first[b + 1]):
                    j = neighbor[e]
                    for y in range(3):
                        g = scale * w[at + y * te + e]
                        born_charges[x, a, y] += g
                        born_charges[x, j, y] -= g
"""


def functions(p: Plan) -> str:
    l_max, layers = p.description.l_max, p.description.layers
    gradient = tensors.edge_gradient(l_max, 2 * layers, 2 * layers - 1, p.channels, p.lanes, "edge_gradient_tangent")
    return FUNCTIONS.format(lanes=p.lanes) + "\n".join(gradient)


class Tangents(Passes):
    """``Passes`` whose every line is preceded by that of its derivatives."""

    def __init__(self, p: Plan, size: int):
        super().__init__(p, size)
        self.active: set[str] = set()  # buffers whose derivatives are not zero

    def say(self, *lines):
        for line in lines:
            indent = line[: len(line) - len(line.lstrip())]
            super().say(*(indent + s for s in self.differentiated(line.strip())), line)

    def product(self, name, source, source_width, target, target_width, add=False):
        if self.reached(source):
            found = matrices.call(self.plan.matrices[name], self.plan.lanes, self.twin(source), source_width,
                                  self.twin(target), target_width, add and self.reached(target))
            super().say("for x in range(3):", *("    " + line for line in found))
            self.mark(target)
        elif not add:
            self.mark(target, False)
        super().product(name, source, source_width, target, target_width, add)

    def differentiated(self, line):
        """Lines of the derivatives of `line`, a call or the head of a loop."""
        name, _, rest = line.partition("(")
        if line.endswith(":") or name.startswith("panel") or name in UNREACHED:
            return []
        given = [ast.unparse(a) for a in ast.parse(line).body[0].value.args]
        return self.linear(name, given) if name in LINEAR else getattr(self, name)(given)

    # -- words --------------------------------------------------------------------------------------------------------
    @staticmethod
    def buffer(offset):
        return re.search(r"\bo_(\w+)", offset).group(1)

    def reached(self, offset):
        return self.buffer(offset) in self.active

    def mark(self, offset, reached=True):
        (self.active.add if reached else self.active.discard)(self.buffer(offset))

    @staticmethod
    def twin(offset):
        return f"{offset} + (x + 1) * block"

    def each(self, name, given, *twins):
        """A call for every axis x, with the derivatives in the place of the arguments at the positions `twins`."""
        given = [self.twin(a) if k in twins else a for k, a in enumerate(given)]
        return f"for x in range(3): {name}({', '.join(given)})"

    # -- rules --------------------------------------------------------------------------------------------------------
    def linear(self, name, given):
        reads, out = LINEAR[name]
        found = [k for k in reads if self.reached(given[k])]
        self.mark(given[out], bool(found) or name in ("project", "operate"))  # those add to what was cleared
        return [self.each(name, given, k, out) for k in found]

    def clear(self, given):
        self.mark(given[1])
        return [self.each("clear", given, 1)]

    def activate(self, given):
        if not self.reached(given[1]):
            return []
        self.mark(given[2])
        return [f"activate_tangents({', '.join(given)}, block)"]

    def multiply(self, given):
        found = [k for k in (1, 2) if self.reached(given[k])]
        self.mark(given[3], bool(found))
        if len(found) == 2:
            return [f"multiply_tangents({', '.join(given)}, block)"]
        return [self.each("multiply", given, k, 3) for k in found]

    def spread_rows(self, given):
        self.mark(given[5])
        return [self.each("clear_rows", ["w", "n", given[4], given[5], given[6]], 3)]

    def operate_back(self, given):
        """Adds A g to one and v g to the other: derivatives of A and v together, then those of g."""
        return [self.each("operate_back", given, 6, 7, 9, 10), self.each("operate_back", given, 8, 9, 10)]

    def mix(self, given):
        """The field's own derivative: where the whole of the environment's, it is cleared first."""
        count = self.plan.dim * self.plan.channels
        before = [] if self.reached(given[3]) else self.clear(["w", given[3], str(count)])
        given[4] = "along[x]"
        return [*before, self.each("mix", given, 3)]

    def mix_back(self, given):
        given[8] = "polarizability[x]"
        return [self.each("mix_back", given, 3), self.each("mix_back", [*given[:4], "bend[x]", *given[5:]])]

    def edge_gradient(self, given):
        """Σ_k d_k n_k u + v_k a_k: as many terms for a derivative of one factor as for one of the other."""
        layers = self.description.layers
        dots, environments = given[11: 11 + 2 * layers], given[11 + 2 * layers:]
        pairs, triples = [], []
        for d, n in zip(dots[::2], dots[1::2]):
            pairs += [self.twin(d), n, d, self.twin(n)]
        for v, ld, a in zip(*(environments[k::3] for k in range(3))):
            triples += [v, ld, self.twin(a)] + ([self.twin(v), ld, a] if self.reached(v) else [])
        self.mark(given[4])
        self.mark(given[9])
        return [self.each("edge_gradient_tangent", [*given[:11], *pairs, *triples], 4, 9)]

    def combine(self, given):
        return [self.each("combine", given, 4, 5)]
