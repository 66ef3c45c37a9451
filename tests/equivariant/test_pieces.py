"""Cutting and joining against slices and torch.cat; products by oneDNN against BLAS."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from plugins.equivariant.pieces import cut, join
from plugins.equivariant.training import products


def test_three_derivatives_of_pieces():
    sizes = [2, 1, 4]
    x = torch.randn(5, 3, 7, dtype=torch.float64, requires_grad=True)

    def ours(x):
        a, b, c = cut(x, sizes)
        return join(c.sin(), a * b, a)  # c's and a's places changed, a twice, b in a product

    def plain(x):
        a, b, c = x[..., :2], x[..., 2:3], x[..., 3:]
        return torch.cat([c.sin(), a * b, a], -1)

    v = torch.randn(5, 3, 8, dtype=torch.float64)
    mine, other = (f(x) for f in (ours, plain))
    assert torch.equal(mine, other)
    for _ in range(3):
        mine, other = (torch.autograd.grad((y * v).sum(), x, create_graph=True)[0] for y in (mine, other))
        assert torch.allclose(mine, other, rtol=1e-14)
        v = torch.randn(5, 3, 7, dtype=torch.float64)
        mine, other = mine * x, other * x
    assert torch.allclose(torch.func.vmap(ours)(x), plain(x)) and torch.autograd.gradgradcheck(ours, x)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_tall_products_go_to_onednn():
    tall, small, wide = torch.randn(2048, 24), torch.randn(24, 40), torch.randn(7, 2048)
    graph = make_fx(lambda a, b, c: (a @ b, c @ a, a @ b.T.contiguous().T, b.T @ b))(tall, small, wide)
    before = graph(tall, small, wide)
    products.by_onednn(graph)
    assert [n.target for n in graph.graph.nodes].count(torch.ops.engine.product.default) == 2
    for a, b in zip(before, graph(tall, small, wide)):
        assert torch.allclose(a, b, atol=1e-4 * float(a.abs().max()))
    double = make_fx(lambda a, b: a @ b)(tall.double(), small.double())
    products.by_onednn(double)
    assert torch.ops.engine.product.default not in [n.target for n in double.graph.nodes]
