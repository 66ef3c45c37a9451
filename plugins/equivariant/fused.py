"""The product of messages in one pass on a GPU: Triton kernels written out for the paths of a layer.

    T(g, h, w, y) = Σ_{a n} Σ_{p m j k} C^p_{mjk} Σ_c g_{a,pk,c} h_{r(a,n),m,c} w_{a,n,p,c} y_{a,n,j}

| symbol | code | shape |
|---|---|---|
| g, what is made of messages' derivatives, or the place of messages | ``g`` | (A, out, channels), see ``Plan.place`` |
| h, features of all rows | ``h`` | (R, Σ(2l+1), channels) |
| w, radial weights | ``w`` | (A, N, paths, channels) |
| y, harmonics | ``y`` | (A, N, (l_max+1)²) |
| r, rows of neighbours, R for none | ``rows`` | (A, N) |

Messages are ∂T/∂g. T is linear in each of the four, so every derivative of a derivative of it, of any order, is the same T with
one of its arguments left out: one operator, ``product``, that says which, and is its own derivative. Nothing of the size edges ×
features exists, and no sum is atomic: those for h go over a list of who sees a row, so that a run gives the same bits twice.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from engine.kernels import compiled
from plugins.equivariant.angular import wigner_3j
from plugins.equivariant.irreps import paths

ARGUMENTS = "ghwy"


@dataclass(frozen=True)
class Plan:
    """The paths of a layer; `text` names it for the operator, which takes plain arguments."""

    irreps_in: tuple
    irreps_out: tuple
    l_max: int

    @property
    def text(self):
        return json.dumps([self.irreps_in, self.irreps_out, self.l_max])

    @property
    def paths(self):
        return paths(self.irreps_in, self.irreps_out, self.l_max)

    @property
    def counts(self):
        """Paths that end in each irrep."""
        return [sum(path[2] == c for path in self.paths) for c in range(len(self.irreps_out))]

    @property
    def sizes(self):
        """Rows of g that belong to each irrep."""
        return [(2 * l + 1) * n for (l, _), n in zip(self.irreps_out, self.counts)]

    @property
    def dims(self):
        """Rows of g, h, w, y."""
        return sum(self.sizes), sum(2 * l + 1 for l, _ in self.irreps_in), len(self.paths), (self.l_max + 1) ** 2

    def place(self, p, k):
        """Row of g of component k of path p: those of an irrep are (2l+1, paths), so that they can be viewed as (2l+1,
        paths · channels)."""
        c = self.paths[p][2]
        return sum(self.sizes[:c]) + k * self.counts[c] + p - sum(self.counts[:c])

    def terms(self, p):
        """Of path p, {(row of h, row of g): [(row of y, coefficient), ...]}."""
        a, l2, c = self.paths[p]
        table = wigner_3j(self.irreps_in[a][0], l2, self.irreps_out[c][0]) * math.sqrt(2 * self.irreps_out[c][0] + 1)
        start, out = sum(2 * l + 1 for l, _ in self.irreps_in[:a]), {}
        for m, j, k in zip(*table.nonzero()):
            out.setdefault((start + int(m), self.place(p, int(k))), []).append((l2 * l2 + int(j), float(table[m, j, k])))
        return out


@lru_cache
def _kernels(text):
    """(plan, module of its four kernels)."""
    from plugins.equivariant.fused_source import source

    irreps_in, irreps_out, l_max = json.loads(text)
    plan = Plan(tuple(map(tuple, irreps_in)), tuple(map(tuple, irreps_out)), l_max)
    return plan, compiled.load(source(plan), name="fused")


def seen_by(rows, size):
    """Places in `rows`, flat, in the order of what they hold, and where those of 0, 1, ..., size begin (size + 1,)."""
    held, order = torch.sort(rows.flatten(), stable=True)
    return order, torch.searchsorted(held, torch.arange(size + 1, device=rows.device))


def _launch(of: str, plan: str, first: Tensor, second: Tensor, third: Tensor, rows: Tensor, size: int) -> Tensor:
    import triton

    of_plan, module = _kernels(plan)
    n_g, n_h, n_w, n_y = of_plan.dims
    (atoms, neighbours), channels = rows.shape, first.shape[-1]
    out = first.new_empty({"g": (atoms, n_g, channels), "h": (size, n_h, channels), "w": (atoms, neighbours, n_w, channels),
                           "y": (atoms, neighbours, n_y)}[of])
    block = min(triton.next_power_of_2(channels), 128)
    grid = size if of == "h" else atoms, 1 if of == "y" else triton.cdiv(channels, block)
    edges = (*seen_by(rows, size), out, neighbours) if of == "h" else (rows.contiguous(), out, neighbours, size)
    kernel = getattr(module, f"of_{of}")
    if isinstance(kernel, triton.JITFunction):  # else Triton's interpreter, which torch does not know
        kernel = torch.library.wrap_triton(kernel)
    kernel[grid](*(x.contiguous() for x in (first, second, third)), *edges, channels, BLOCK=block, num_warps=max(block // 32, 1))
    return out


@lru_cache
def _operator():
    """Registered with torch, so that its compilers see the kernels inside."""
    return torch.library.triton_op("engine::product_of_messages", _launch, mutates_args=())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(of, plan, rows, size, *given):
        return _operator()(of, plan, *given, rows, size)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.of, ctx.plan, rows, ctx.size, *given = inputs
        ctx.save_for_backward(rows, *given)

    @staticmethod
    def backward(ctx, back):
        rows, *given = ctx.saved_tensors
        others = [x for x in ARGUMENTS if x != ctx.of]
        held = dict(zip(others, given)) | {ctx.of: back}
        found = [product(x, ctx.plan, rows, ctx.size, *(held[o] for o in ARGUMENTS if o != x)) if needed else None
                 for x, needed in zip(others, ctx.needs_input_grad[4:])]
        return None, None, None, None, *found


def product(of, plan: str, rows, size, *given):
    """∂T/∂`of` ("g", "h", "w" or "y") of the three others, in the order g, h, w, y. size : R"""
    return _Product.apply(of, plan, rows, size, *given)
