"""A device that is not there: tensors that say they are on "meta" and are computed on the host, so that what would happen on a
GPU can be seen without one. A tensor of the host among them is refused, as a GPU would, and none becomes an array without
``cpu()``."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
FROM_BOTH = "aten::copy_", "aten::_to_copy"


class There(torch.Tensor):
    """`held` : the numbers, on the host."""

    @staticmethod
    def __new__(cls, held):
        out = torch.Tensor._make_wrapper_subclass(cls, held.size(), strides=held.stride(), dtype=held.dtype, device=DEVICE,
                                                  storage_offset=held.storage_offset())
        out.held = held
        return out

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _call(operation, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Inside, "meta" is that device; `count` : operations there."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += 1
        return _call(operation, args, kwargs or {})


def _call(operation, args, kwargs):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there, name = [x for x in tensors if isinstance(x, There)], operation._schema.name
    target = kwargs.get("device", there[0].device if there else None)
    if not there and target != DEVICE:
        return operation(*args, **kwargs)
    if len(there) < len(tensors) and name not in FROM_BOTH and any(x.dim() for x in tensors if not isinstance(x, There)):
        raise RuntimeError(f"{name}: tensors of the host among those of a device")
    wrappers = {}

    def held(x):
        if isinstance(x, There):
            wrappers[id(x.held)] = x
            return x.held
        return torch.device("cpu") if isinstance(x, torch.device) else x
    args, kwargs = tree_map(held, (args, kwargs))
    out = operation(*args, **kwargs)
    if name == "aten::_to_copy" and target != DEVICE or name == "aten::_local_scalar_dense":
        return out
    return tree_map(lambda x: (wrappers[id(x)] if id(x) in wrappers else There(x)) if isinstance(x, torch.Tensor) else x, out)
