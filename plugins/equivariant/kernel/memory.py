"""One memory operation that the engine's SIMD module does not have: a plain scalar load without index checks."""

from numba.extending import intrinsic

from engine.kernels.simd_types import IR_TYPES, data_pointer


@intrinsic
def item(typing, array, offset):
    """`array[offset]` of a flat contiguous array; the offset must not be negative and nothing is checked."""
    from numba.core import types

    def emit(context, builder, sig, args):
        kind = IR_TYPES[array.dtype]
        return builder.load(data_pointer(context, builder, sig.args[0], args[0], args[1], kind))
    return array.dtype(array, types.int64), emit
