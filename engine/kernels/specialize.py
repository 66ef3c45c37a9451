"""A module of kernels compiled for other values of its constants, cached like everything generated.

Kernels that depend on a register width or a precision are written as ordinary module-level functions with these as
constants (``WIDTH = 8``) at the top of their file. ``specialize(module, WIDTH=16)`` gives that module with the lines of
the constants replaced. (Closures would do the same, but Numba does not find cached code of closures over functions.)
"""
import inspect
import re

from engine.kernels import compiled
from engine.kernels.simd import select


def specialize(module, **constants):
    """The module anew, each of its top-level assignments ``NAME = ...`` of these names replaced by the value."""
    text = inspect.getsource(module)
    for name, value in constants.items():
        text, found = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{module.__name__} assigns {name} {found} times at its top level")
    # `select` stands for the SIMD modules, whose text thereby counts for the cache
    return compiled.load(text, {"_from_simd": select}, module.__name__.rpartition(".")[2])
