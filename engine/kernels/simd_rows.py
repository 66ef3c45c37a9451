"""Gathers of short rows by load-and-transpose, their scatter, and compaction of lanes under a mask.

Records of four numbers (a position and a filler, the coefficients of a cubic) are loaded whole, one row for each lane,
and transposed by shuffles into four vectors; that takes half the time of four hardware gathers. Scatters add row by
row, so lanes that point at the same row are right. Compaction packs the lanes under a mask to the front: AVX-512 does it
in a register, other processors by one store a lane.
"""
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from engine.kernels.simd_types import I32, I64, IR_TYPES, Vector, add, aligned, call, data_pointer, has_feature, shuffle


def transpose4(builder, rows):
    """Rows of four elements, their number w a multiple of four, to four vectors of w lanes."""
    groups = len(rows) // 4
    parts = [_join(builder, [rows[4 * g + k] for g in range(groups)]) for k in range(4)]
    width = 4 * groups

    def pick(a, b, pattern):   # the pattern names lanes 0-3 of a and 4-7 of b, in every group of four lanes
        return shuffle(builder, a, b, [4 * g + p if p < 4 else width + 4 * g + p - 4
                                       for g in range(groups) for p in pattern])
    even01, odd01 = pick(parts[0], parts[1], (0, 4, 2, 6)), pick(parts[0], parts[1], (1, 5, 3, 7))
    even23, odd23 = pick(parts[2], parts[3], (0, 4, 2, 6)), pick(parts[2], parts[3], (1, 5, 3, 7))
    return [pick(even01, even23, (0, 1, 4, 5)), pick(odd01, odd23, (0, 1, 4, 5)),
            pick(even01, even23, (2, 3, 6, 7)), pick(odd01, odd23, (2, 3, 6, 7))]


def _join(builder, vectors):
    while len(vectors) > 1:
        n = vectors[0].type.count
        vectors = [shuffle(builder, a, b, range(2 * n)) for a, b in zip(vectors[::2], vectors[1::2])]
    return vectors[0]


def _split4(builder, vector):
    return [shuffle(builder, vector, vector, range(k, k + 4)) for k in range(0, vector.type.count, 4)]


def _row_index(context, builder, kind, indices, offset, k):
    pointer = data_pointer(context, builder, kind, indices, builder.add(offset, ir.Constant(I64, k)), IR_TYPES[kind.dtype])
    index = builder.load(pointer)
    return index if kind.dtype == types.int64 else builder.zext(index, I64)


@intrinsic(prefer_literal=True)
def load_rows(typing, array, indices, offset, width, stride, start):
    """Four vectors with lane k of vector c = array[indices[offset + k]·stride + start + c], k < width."""
    vector = Vector(array.dtype, width.literal_value)
    result = types.UniTuple(vector, 4)

    def emit(context, builder, sig, args):
        row = ir.VectorType(IR_TYPES[array.dtype], 4)
        rows = []
        for k in range(vector.width):
            index = _row_index(context, builder, sig.args[1], args[1], args[2], k)
            position = builder.add(builder.mul(index, args[4]), args[5])
            pointer = data_pointer(context, builder, sig.args[0], args[0], position, row)
            rows.append(aligned(builder.load(pointer), array))
        return context.make_tuple(builder, result, transpose4(builder, rows))
    return result(array, indices, types.int64, width, types.int64, types.int64), emit


@intrinsic
def gather_rows(typing, array, positions):
    """Four vectors with lane k of vector c = array[positions[k] + c]; positions are a vector."""
    vector = Vector(array.dtype, positions.width)
    result = types.UniTuple(vector, 4)

    def emit(context, builder, sig, args):
        row = ir.VectorType(IR_TYPES[array.dtype], 4)
        rows = []
        for k in range(vector.width):
            index = builder.extract_element(args[1], ir.Constant(I32, k))
            index = index if index.type == I64 else builder.sext(index, I64)
            rows.append(aligned(builder.load(data_pointer(context, builder, sig.args[0], args[0], index, row)), array))
        return context.make_tuple(builder, result, transpose4(builder, rows))
    return result(array, positions), emit


@intrinsic
def add_rows(typing, array, indices, offset, x, y, z, w):
    """array[4·indices[offset + k] + (0, 1, 2, 3)] += (x, y, z, w)[lane k], lane after lane."""
    def emit(context, builder, sig, args):
        row = ir.VectorType(IR_TYPES[array.dtype], 4)
        quads = [_split4(builder, v) for v in args[3:]]
        for k in range(x.width):
            if k % 4 == 0:
                rows = transpose4(builder, [q[k // 4] for q in quads])
            index = builder.shl(_row_index(context, builder, sig.args[1], args[1], args[2], k), ir.Constant(I64, 2))
            pointer = data_pointer(context, builder, sig.args[0], args[0], index, row)
            old = aligned(builder.load(pointer), array)
            aligned(builder.store(add(builder, x, old, rows[k % 4]), pointer), array)
        return context.get_dummy_value()
    return types.void(array, indices, types.int64, x, y, z, w), emit


@intrinsic
def store_interleaved(typing, array, offset, x, y, z):
    """array[offset + 3k + (0, 1, 2)] = (x, y, z)[lane k]: three vectors as rows of three numbers."""
    def emit(context, builder, sig, args):
        width = x.width
        xy = shuffle(builder, args[2], args[3], range(2 * width))
        z_twice = shuffle(builder, args[4], args[4], range(2 * width))
        order = [place for k in range(width) for place in (k, width + k, 2 * width + k)]
        for part in range(3):
            piece = shuffle(builder, xy, z_twice, order[part * width:(part + 1) * width])
            position = builder.add(args[1], ir.Constant(I64, part * width))
            aligned(builder.store(piece, data_pointer(context, builder, sig.args[0], args[0], position, piece.type)), array)
        return context.get_dummy_value()
    return types.void(array, types.int64, x, y, z), emit


@intrinsic
def join(typing, a, b):
    """A vector of twice the lanes: those of a, then those of b."""
    if not isinstance(a, Vector) or a != b:
        return None

    def emit(context, builder, sig, args):
        return shuffle(builder, *args, range(2 * a.width))
    return Vector(a.element, 2 * a.width)(a, b), emit


def _half(begin, doc):
    @intrinsic
    def half(typing, a):
        def emit(context, builder, sig, args):
            first = begin * a.width // 2
            return shuffle(builder, args[0], args[0], range(first, first + a.width // 2))
        return Vector(a.element, a.width // 2)(a), emit
    half.__doc__ = doc
    return half


low_half = _half(0, "The first half of the lanes.")
high_half = _half(1, "The second half of the lanes.")


def _compresses(vector):
    bits = vector.width * vector.element.bitwidth
    return has_feature("avx512f") and (bits == 512 or bits in (128, 256) and has_feature("avx512vl"))


@intrinsic
def compress(typing, a, mask):
    """The lanes under the mask, packed to the front in their order; what follows them is not defined."""
    def emit(context, builder, sig, args):
        value, chosen = args
        if _compresses(a):
            letter = "f" if a.is_float else "i"
            name = f"llvm.x86.avx512.mask.compress.v{a.width}{letter}{a.element.bitwidth}"
            return call(builder, name, a.llvm, [value, ir.Constant(a.llvm, None), chosen])
        room = builder.alloca(a.llvm)
        base = builder.bitcast(room, IR_TYPES[a.element].as_pointer())
        place = ir.Constant(I32, 0)
        for k in range(a.width):   # each lane is stored; the next overwrites it unless it was chosen
            lane = ir.Constant(I32, k)
            builder.store(builder.extract_element(value, lane), builder.gep(base, [place]))
            place = builder.add(place, builder.zext(builder.extract_element(chosen, lane), I32))
        return builder.load(room)
    return a(a, mask), emit
