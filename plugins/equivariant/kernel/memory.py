"""What generated kernels need beside the engine's SIMD module: a plain scalar load, and one signature for a function."""

import inspect

from numba import njit, types
from numba.extending import intrinsic

from engine.kernels.simd_types import IR_TYPES, data_pointer

REALS = {"float32": types.float32, "float64": types.float64}


@intrinsic
def item(typing, array, offset):
    """`array[offset]` of a flat contiguous array; the offset must not be negative and nothing is checked."""
    def emit(context, builder, sig, args):
        kind = IR_TYPES[array.dtype]
        return builder.load(data_pointer(context, builder, sig.args[0], args[0], args[1], kind))
    return array.dtype(array, types.int64), emit


def compiler(dtype: str):
    """A decorator that compiles a function once, for types that follow from the names of its arguments.

    Whatever is not named here is an integer: without a signature Numba would compile one version for every
    combination of literals that a function is called with.
    """
    f8, i4, i8, real = types.float64, types.int32, types.int64, REALS[dtype]
    named = {
        **dict.fromkeys(("w", "data", "harmonics", "slopes"), real[::1]), "table": i8[:, ::1],
        **dict.fromkeys(("positions", "forces", "field", "polarization"), f8[:, ::1]),
        **dict.fromkeys(("virial", "atom_virial", "polarizability", "born_charges"), f8[:, :, ::1]),
        **dict.fromkeys(("along", "bend"), real[:, ::1]),
        **dict.fromkeys(("cutoffs", "scales", "atom_energy", "potential", "charges"), f8[::1]), "offsets": i8[::1],
        **dict.fromkeys(("species", "system", "indices"), i4[::1]),
        **dict.fromkeys(("add", "want_virial", "want_atoms", "only"), types.boolean),
    }

    def compiled(function):
        arguments = [named.get(name, i8) for name in inspect.signature(function).parameters]
        return njit(types.void(*arguments), cache=True, nogil=True, error_model="numpy",
                    fastmath={"contract", "reassoc", "nsz", "arcp"})(function)
    return compiled
