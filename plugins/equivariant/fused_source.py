"""The text of the four Triton kernels of ``fused``, one for each argument of T that is left out.

A program belongs to an atom a (``of_h``: to a row, and goes through the edges e that end there) and to a block of channels
c; what it adds up stays in registers. Neighbours are a loop of the kernel, paths and components are written out.
"""

from __future__ import annotations

import re

CHANNELS = """
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels"""

OF_G = """

@triton.jit
def of_g(h, w, y, rows, out, neighbours, size, channels, BLOCK: tl.constexpr):
    a = tl.program_id(0).to(tl.int64)""" + CHANNELS + """
    {no g}
    for n in range(neighbours):
        e = a * neighbours + n
        row = tl.load(rows + e)
        if row < size:
            {load y of e}
            {load h of row}
            {load w of e}
            {add}
    {store g of a}
"""

OF_H = """

@triton.jit
def of_h(g, w, y, order, starts, out, neighbours, channels, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)""" + CHANNELS + """
    {no h}
    for s in range(tl.load(starts + row), tl.load(starts + row + 1)):
        e = tl.load(order + s)
        a = e // neighbours
        {load y of e}
        {load w of e}
        {load g of a}
        {add}
    {store h of row}
"""

OF_W = """

@triton.jit
def of_w(g, h, y, rows, out, neighbours, size, channels, BLOCK: tl.constexpr):
    a = tl.program_id(0).to(tl.int64)""" + CHANNELS + """
    {load g of a}
    for n in range(neighbours):
        e = a * neighbours + n
        row = tl.load(rows + e)
        {no w}
        if row < size:
            {load y of e}
            {load h of row}
            {add}
        {store w of e}
"""

OF_Y = """

@triton.jit
def of_y(g, h, w, rows, out, neighbours, size, channels, BLOCK: tl.constexpr):
    a = tl.program_id(0).to(tl.int64)
    for n in range(neighbours):
        e = a * neighbours + n
        row = tl.load(rows + e)
        {no y}
        if row < size:
            for start in range(0, channels, BLOCK):
                c = start + tl.arange(0, BLOCK)
                inside = c < channels
                {load h of row}
                {load w of e}
                {load g of a}
                {add}
        {store y of e}
"""


def source(plan):
    """A module with ``of_g``, ``of_h``, ``of_w``, ``of_y`` for a ``fused.Plan``."""
    sizes = dict(zip("ghwy", plan.dims))
    parts = [_filled(template, sizes, add(plan)) for template, add in zip((OF_G, OF_H, OF_W, OF_Y), (_to_g, _to_h, _to_w, _to_y))]
    return "import triton\nimport triton.language as tl\n" + "".join(parts)


def _filled(template, sizes, add):
    def lines(match):
        indent, verb, _, name, _, of = match.groups()
        return "".join(f"{indent}{line}\n" for line in (add if verb == "add" else _moved(verb, name, of, sizes[name])))
    return re.sub(r"( *)\{(\w+)( (\w))?( of (\w+))?\}\n", lines, template)


def _moved(verb, name, of, size):
    """A line for each of the numbers `name`0, `name`1, ..., which an atom, a row or an edge `of` has."""
    for i in range(size):
        if verb == "no":
            yield f"{name}{i} = tl.zeros([BLOCK], dtype=out.dtype.element_ty)"
        elif name == "y":
            at = f"{of} * {size} + {i}"
            yield f"y{i} = tl.load(y + {at})" if verb == "load" else f"tl.store(out + {at}, tl.sum(y{i}, 0))"
        else:
            at = f"({of} * {size} + {i}) * channels + c, "
            yield f"{name}{i} = tl.load({name} + {at}mask=inside, other=0.0)" if verb == "load" else \
                f"tl.store(out + {at}{name}{i}, mask=inside)"


def _terms(plan):
    """For each path p and component m of h there: (p, m, {k: Σ_j C_mjk y_j as text})"""
    for p in range(len(plan.paths)):
        by_row = {}
        for (m, k), terms in plan.terms(p).items():
            by_row.setdefault(m, {})[k] = " + ".join(f"y{j} * {value!r}" for j, value in terms)
        yield from ((p, m, sums) for m, sums in by_row.items())


def _to_g(plan):
    for p, m, sums in _terms(plan):
        yield f"hw = h{m} * w{p}"
        yield from (f"g{k} += hw * ({text})" for k, text in sums.items())


def _to_h(plan):
    for p, m, sums in _terms(plan):
        yield f"h{m} += w{p} * ({' + '.join(f'g{k} * ({text})' for k, text in sums.items())})"


def _to_w(plan):
    for p, m, sums in _terms(plan):
        yield f"w{p} += h{m} * ({' + '.join(f'g{k} * ({text})' for k, text in sums.items())})"


def _to_y(plan):
    for p in range(len(plan.paths)):
        of_y = {}
        for (m, k), terms in plan.terms(p).items():
            yield f"hg_{m}_{k} = h{m} * g{k}"
            for j, value in terms:
                of_y.setdefault(j, []).append(f"hg_{m}_{k} * {value!r}")
        yield from (f"y{j} += w{p} * ({' + '.join(products)})" for j, products in of_y.items())
