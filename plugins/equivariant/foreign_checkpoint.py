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
    from safetensors.torch import save_file

    set_global_state(allow_tf32=False)
    hyper = torch.load(checkpoint, weights_only=False, map_location="cpu")["hyper_parameters"]["model"]
    model = load_saved_model(checkpoint)
    arrays = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        arrays[name.split("func.", 1)[-1]] = tensor.detach().clone().contiguous()
    save_file(arrays, output, metadata={"hyper_parameters": json.dumps(hyper, default=str)})


if __name__ == "__main__":
    main(*sys.argv[1:])
