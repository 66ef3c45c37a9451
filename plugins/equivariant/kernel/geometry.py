"""Source text of what depends on an edge's vector alone: harmonics, their gradients, radial functions.

Everything is stored by component (structure of arrays) and computed for a register of edges at a time.
"""

from __future__ import annotations

import math

import numpy as np

from plugins.equivariant.angular import lowering, raising


def gradient_entries(l_max: int):
    """[(harmonic, axis, constant or None)]: where ∂Y/∂n is not zero; order one has constants."""
    out = []
    for l in range(1, l_max + 1):
        table = lowering(l)
        for k, axis in zip(*np.abs(table).sum(1).nonzero()):
            out.append((l * l + int(k), int(axis), float(table[k, 0, axis]) if l == 1 else None))
    return out


def stored(l_max: int):
    """The gradient entries that are kept for each edge."""
    return [(k, axis) for k, axis, constant in gradient_entries(l_max) if constant is None]


def _sum(terms):
    return " + ".join(f"{c!r} * {t}" if t else repr(c) for c, t in terms)


def function(l_max: int, bessel: int, power: int, lanes: int) -> str:
    """geometry(w, te, n, ...): from x, y, z, 1/cutoff to unit vectors, 1/r, harmonics, gradients, radial functions."""
    t = ["@compiled", "def geometry(w, te, n, o_x, o_y, o_z, o_q, o_ir, o_Y, o_J, o_B, o_D):",
         f"    for e in range(0, n, {lanes}):"]

    def line(s):
        t.append("        " + s)

    def put(target, row, value):
        line(f"store(w, {target} + {row} * te + e, {value})")

    for c in "xyz":
        line(f"{c} = load(w, o_{c} + e, {lanes})")
    line(f"q = load(w, o_q + e, {lanes})")
    line("r2 = x * x + y * y + z * z")
    line("r = sqrt(r2)")
    line("ir = 1.0 / r")
    line("u = r * q")
    for c in "xyz":
        line(f"{c} = {c} * ir")
        line(f"store(w, o_{c} + e, {c})")
    line("store(w, o_ir + e, ir)")
    names, axes = ["ONE"], "xyz"
    for l in range(l_max):
        table, new = raising(l), []
        for k in range(2 * l + 3):
            terms = [(float(table[k, i, j]), axes[j] if l == 0 else f"{names[i]} * {axes[j]}")
                     for i, j in zip(*table[k].nonzero())]
            new.append(f"y{(l + 1) ** 2 + k}")
            line(f"{new[-1]} = {_sum(terms)}")
            put("o_Y", (l + 1) ** 2 + k, new[-1])
        if l >= 1:  # gradients of order l + 1 from order l
            lower = lowering(l + 1)
            for k in range(2 * l + 3):
                for axis in range(3):
                    terms = [(float(lower[k, i, axis]), names[i]) for i in np.flatnonzero(lower[k, :, axis])]
                    if terms:
                        put("o_J", stored(l_max).index(((l + 1) ** 2 + k, axis)), _sum(terms))
        names = new
    # envelope f(u) and its derivative, Bessel functions by the recurrence of sin k·a, a = π u
    p = power
    line("a = PI * u")
    line("s1 = sin(a)")
    line("c1 = cos(a)")
    line("up = u" + "".join(" * u" for _ in range(p - 2)))  # u^(p−1)
    line(f"f = 1.0 + up * u * ({-(p + 1) * (p + 2) / 2} + u * ({float(p * (p + 2))} - {p * (p + 1) / 2} * u))")
    line(f"df = up * ({-p * (p + 1) * (p + 2) / 2} + u * ({float(p * (p + 1) * (p + 2))}"
         f" - {p * (p + 1) * (p + 2) / 2} * u))")
    line("inside = u < 1.0")
    line("f = select(inside, f, 0.0 * u)")
    line("df = select(inside, df, 0.0 * u)")
    line("ia = 1.0 / a")
    line("fa = f * ia")
    line("ga = (df - f * ia * PI) * ia")
    line("two = c1 + c1")
    line("sp, sk, cp, ck = 0.0 * u, s1, 0.0 * u + 1.0, c1")
    for k in range(1, bessel + 1):
        put("o_B", k - 1, "sk * fa")
        put("o_D", k - 1, f"q * (sk * ga + {k * math.pi!r} * ck * fa)")
        if k < bessel:
            line("sp, sk = sk, two * sk - sp")
            line("cp, ck = ck, two * ck - cp")
    return "\n".join(t) + "\n"
