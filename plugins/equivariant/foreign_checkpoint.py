"""Runs in another interpreter, where nequip and allegro live: unpickles their checkpoint, writes plain arrays.

    python foreign_checkpoint.py CHECKPOINT OUTPUT.safetensors

Only ``convert`` starts this, and only when told to trust the file: unpickling runs whatever the file says.
"""

import json
import sys
import warnings


def main(checkpoint, output):
    warnings.filterwarnings("ignore")
    import torch
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    hyper = torch.load(checkpoint, weights_only=False, map_location="cpu")["hyper_parameters"]["model"]
    write(load_saved_model(checkpoint), hyper, output)


def write(model, hyper, output):
    """All arrays under their names; their hyper-parameters and what layers there are, as JSON."""
    from safetensors.torch import save_file

    arrays = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        arrays[name.split("func.", 1)[-1]] = tensor.detach().clone().contiguous()
    save_file(arrays, output, metadata={"hyper_parameters": json.dumps(hyper, default=str), "layers": json.dumps(layers(model))})


def irreps(given):
    """[[multiplicity, l, parity]]"""
    return [[int(mul), int(ir.l), int(ir.p)] for mul, ir in given]


def paths(module):
    """[[blocks of the inputs and the output, ..., weight of the path]] of an e3nn module."""
    names = [name for name in ("i_in", "i_in1", "i_in2", "i_out") if name in module.instructions[0]._fields]
    return [[*(int(getattr(i, name)) for name in names), float(i.path_weight)] for i in module.instructions]


def layers(model):
    """What the layers of a message-passing model multiply with what, in which order their weights are."""
    found = []
    for layer in model.modules():
        if type(layer).__name__ != "ConvNetLayer":
            continue
        conv, gate = layer.conv, layer.equivariant_nonlin
        if type(gate).__name__ != "Gate" or layer.resnet:
            found.append({"unknown": "resnet" if layer.resnet else type(gate).__name__})
            continue
        tp, blocks = conv.tp_scatter.tp, {}
        for part in ("scalars", "gates", "gated"):
            blocks[part] = irreps(getattr(gate, f"irreps_{part}"))
        gains = {part: [[act_name(act), float(act.cst)] for act in getattr(gate, f"act_{part}").acts]
                 for part in ("scalars", "gates")}
        found.append({
            "in": irreps(tp.irreps_in1), "edge": irreps(tp.irreps_in2), "mid": irreps(tp.irreps_out),
            "out": irreps(conv.linear_2.irreps_out), **blocks,
            "gains": gains, "products": paths(tp), "linear_1": paths(conv.linear_1), "linear_2": paths(conv.linear_2),
            "self": paths(conv.sc) if conv.sc is not None else None})
    return found


def act_name(act):
    """Name of the function inside e3nn's normalisation."""
    return getattr(act.f, "__name__", type(act.f).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
