"""The kernels of ``fused`` in Triton's interpreter, beside plain torch: ``TRITON_INTERPRET=1 python fused_cases.py FILE``
writes the largest differences, relative to the largest number, by name."""

import json
import sys
from pathlib import Path

import torch
from test_local_model import cluster, description

from plugins.equivariant import ahead, derivatives, fused, graphs
from plugins.equivariant.irreps import irreps_of_layers
from plugins.equivariant.message_passing import Interaction
from plugins.equivariant.models import build


def form(plan, rows, g, h, w, y):
    """T of ``fused``, coefficient by coefficient."""
    seen, total = torch.cat([h, h.new_zeros(1, *h.shape[1:])])[rows], 0.0
    for p in range(len(plan.paths)):
        for (m, k), terms in plan.terms(p).items():
            for j, value in terms:
                total = total + (value * g[:, None, k] * seen[:, :, m] * w[:, :, p] * y[:, :, j, None]).sum()
    return total


def difference(found, expected):
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


def products(l_max, channels, dtype):
    """All four derivatives, with missing neighbours, a row that nobody sees, and channels that do not fill a block."""
    torch.manual_seed(l_max)
    irreps, (atoms, neighbours, size) = irreps_of_layers(l_max, True, 3), (4, 3, 6)
    plan = fused.Plan(tuple(irreps[1]), tuple(irreps[2]), l_max)
    n_g, n_h, n_w, n_y = plan.dims
    rows = torch.randint(1, size + 1, (atoms, neighbours))
    rows[2], rows[0, :2] = size, torch.tensor([5, 1])
    shapes = (atoms, n_g, channels), (size, n_h, channels), (atoms, neighbours, n_w, channels), (atoms, neighbours, n_y)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    expected = torch.autograd.grad(form(plan, rows, *given), given)
    held = dict(zip(fused.ARGUMENTS, (x.detach().to(dtype) for x in given)))
    found = [fused.product(of, plan.text, rows, size, *(x for name, x in held.items() if name != of)) for of in held]
    return difference([x.double() for x in found], expected)


def answers(model, batch):
    """Energy, forces, virial, and what a loss of them says of the weights: second derivatives of every product."""
    parameters = dict(model.named_parameters())

    def loss(values):
        energy, forces, virial, _ = derivatives.evaluate(model, dict(zip(parameters, values)), *batch.tensors()[:5], 1)
        return energy.sum() + forces.square().sum() + virial.square().sum(), (energy, forces, virial)
    gradient, (_, plain) = torch.func.grad_and_value(loss, has_aux=True)(list(parameters.values()))
    return [x.detach() for x in (*plain, *gradient) if x.abs().max() > 0]


def models(**settings):
    """A whole model, and the functions that are compiled ahead of time."""
    torch.manual_seed(2)
    model = build(description(architecture="message-passing", **settings))
    positions, species = cluster(6)
    graph = graphs.build(positions, torch.eye(3).numpy() * 50, (False,) * 3, species, model.description.cutoff)
    batch = graphs.join([graph], model.description.cutoff, torch.float64)
    arguments = {name: given for name, (given, _) in ahead.examples(model).items()}
    kept, found = Interaction.on_gpu, []
    for on_gpu in (kept, lambda x: True):
        Interaction.on_gpu = staticmethod(on_gpu)
        with torch.no_grad():
            parts = [function(*arguments[name]) for name, function in ahead.functions(model).items()]
        found.append((answers(model, batch), [x for part in parts for x in (part if isinstance(part, tuple) else (part,))]))
        for layer in model.interactions:
            layer.unrolled = False
    Interaction.on_gpu = staticmethod(kept)
    return {"whole": difference(found[1][0], found[0][0]), "segments": difference(found[1][1], found[0][1])}


if __name__ == "__main__":
    out = {"small": products(1, 3, torch.float64), "l_max 2": products(2, 5, torch.float64),
           "two blocks": products(1, 130, torch.float64), "single precision": products(1, 4, torch.float32)}
    for name, settings in {"parity": dict(l_max=1, layers=3), "one parity": dict(l_max=2, layers=2, parity=False)}.items():
        out |= {f"{name}, {key}": value for key, value in models(**settings).items()}
    Path(sys.argv[1]).write_text(json.dumps(out))
