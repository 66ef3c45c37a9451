"""The product of messages for GPUs, without one: its numbers in Triton's interpreter, its shapes as torch traces them, and native
code from Triton's compiler."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_local_model import description

from plugins.equivariant import ahead, fused
from plugins.equivariant.irreps import irreps_of_layers
from plugins.equivariant.message_passing import Interaction
from plugins.equivariant.models import build

triton = pytest.importorskip("triton", reason="Triton is not here: what a GPU would run is not tested")


def test_numbers_are_those_of_plain_torch(tmp_path):
    """Products, their derivatives of first and second order, and whole models."""
    env = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([os.getcwd(), str(Path(__file__).parent)])}
    subprocess.run([sys.executable, str(Path(__file__).with_name("fused_cases.py")), str(tmp_path / "found.json")], env=env,
                   check=True, timeout=300)
    found = json.loads((tmp_path / "found.json").read_text())
    assert 1e-9 < found.pop("single precision") < 1e-5
    assert len(found) == 7 and max(found.values()) < 1e-11, found


def test_torch_traces_and_exports_it_with_free_sizes(monkeypatch):
    """As before a compilation for a GPU: one operator forward, all in the product with a vector."""
    from torch.fx.experimental.proxy_tensor import make_fx

    monkeypatch.setattr(Interaction, "on_gpu", staticmethod(lambda x: True))
    model = build(description(architecture="message-passing", layers=2, l_max=1)).requires_grad_(False)
    examples = ahead.examples(model)
    for name, function in ahead.functions(model).items():
        arguments, axes = examples[name]
        with torch.no_grad():
            graph = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*arguments)
            program = torch.export.export(graph, arguments, dynamic_shapes=axes)
        of = sorted(node.args[0] for node in program.graph.nodes if "product_of_messages" in str(node.target))
        assert of == {"forward": ["g"], "product": ["g", "h", "w", "y"], "finish": []}[name.rstrip("0123456789")]


@pytest.mark.parametrize("capability", [80, 90])
def test_it_compiles_for_gpus(tmp_path, monkeypatch, capability):
    """A100 and H100: everything in registers, for the usual l_max and channels."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    irreps = irreps_of_layers(2, True, 3)
    plan, module = fused._kernels(fused.Plan(tuple(irreps[1]), tuple(irreps[2]), 2).text)
    of_type = {"rows": "*i64", "order": "*i64", "starts": "*i64", "neighbours": "i32", "size": "i32", "channels": "i32",
               "BLOCK": "constexpr"}
    for of in fused.ARGUMENTS:
        kernel = getattr(module, f"of_{of}")
        source = ASTSource(fn=kernel, signature={name: of_type.get(name, "*fp32") for name in kernel.arg_names},
                           constexprs={"BLOCK": 32})
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 1})
        (tmp_path / "code").write_bytes(made.asm["cubin"])
        tool = Path(triton.backends.nvidia.__file__).parent / "bin/cuobjdump"
        used = subprocess.run([tool, "--dump-resource-usage", tmp_path / "code"], capture_output=True, text=True,
                              timeout=60).stdout
        assert "STACK:0 " in used and "LOCAL:0 " in used, f"of_{of} keeps numbers outside of registers: {used}"
        assert made.asm["ptx"].count("fma.rn.f32") > 100
