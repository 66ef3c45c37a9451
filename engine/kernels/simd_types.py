"""SIMD vectors as a Numba type: `Vector(element, width)` is one LLVM vector value.

A vector behaves in compiled code as the number it stands for: `+ - * /`, comparisons (giving masks), `& | ~` on masks,
and mixing with scalars, which are spread over the lanes. So one function written for floats serves one atom, four or
sixteen. Any power-of-two width compiles on any processor: LLVM splits what is wider than the machine's registers. What
only some processors have (compress, approximate reciprocals) sits behind `has_feature` with a generic alternative.

Floating-point operations may be contracted and reassociated by the compiler, as the same compiled code always runs the
same operations, results are repeatable bit for bit on one machine.
"""
import operator

from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, overload, register_model

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
FLAGS = ("contract", "reassoc", "nsz", "arcp")
IR_TYPES = {types.float64: ir.DoubleType(), types.float32: ir.FloatType(), types.int64: I64, types.int32: I32,
            types.boolean: I1}


class Vector(types.Type):
    """Numba type of a SIMD value: `width` lanes of the scalar type `element`; `boolean` lanes make a mask."""

    def __init__(self, element, width):
        self.element, self.width = element, width
        super().__init__(name=f"Vector({element}, {width})")

    @property
    def key(self):
        return self.element, self.width

    @property
    def is_float(self):
        return self.element in (types.float64, types.float32)

    @property
    def llvm(self):
        return ir.VectorType(IR_TYPES[self.element], self.width)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


def has_feature(name):
    """Whether the processor that Numba compiles for has this LLVM feature, such as `avx512f`, `avx2` or `neon`."""
    return f"+{name}" in cpu_target.target_context.codegen()._tm_features.split(",")


def register_bits():
    """Width in bits of the vector registers that Numba compiles for; 128 where nothing better is known (SSE, NEON)."""
    return 512 if has_feature("avx512vl") and has_feature("avx512dq") else 256 if has_feature("avx2") else 128


# Building blocks for code generation ---------------------------------------------------------------------------------

def constant(vector_type, value):
    """The same constant in all lanes of an LLVM vector type."""
    return ir.Constant(vector_type, [value] * vector_type.count)


def shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def spread(builder, scalar, width):
    """A scalar in all lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, width), ir.Undefined)
    return shuffle(builder, builder.insert_element(undefined, scalar, ir.Constant(I32, 0)), undefined, [0] * width)


def call(builder, name, result, arguments, flags=()):
    """A call of the LLVM intrinsic `name`."""
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name)
    return builder.call(function, arguments, fastmath=flags)


def data_pointer(context, builder, array_type, array, offset, pointee):
    """Pointer to element `offset` of a flat, contiguous array, as a pointer to `pointee`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), pointee.as_pointer())


def aligned(instruction, array_type):
    instruction.align = IR_TYPES[array_type.dtype].get_abi_size(cpu_target.target_context.target_data)
    return instruction


def add(builder, vector, a, b):
    return builder.fadd(a, b, flags=FLAGS) if vector.is_float else builder.add(a, b)


# Operators -----------------------------------------------------------------------------------------------------------

def _binary(python_operator, emit, comparison=False, only=None):
    """Register a binary operator on vectors and on mixtures of vectors and scalars (cast to the lanes' type)."""

    @infer_global(python_operator)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [a for a in args if isinstance(a, Vector)]
            if len(args) != 2 or not vectors:
                return None
            vector = vectors[0]
            if only and not only(vector) or any(isinstance(a, Vector) and a != vector for a in args):
                return None
            if not all(isinstance(a, (Vector, types.Number, types.Boolean)) for a in args):
                return None
            operands = [a if isinstance(a, Vector) else vector.element for a in args]
            return signature(Vector(types.boolean, vector.width) if comparison else vector, *operands)

    def lower(context, builder, sig, args):
        vector = next(a for a in sig.args if isinstance(a, Vector))
        operands = [value if isinstance(kind, Vector) else spread(builder, value, vector.width)
                    for value, kind in zip(args, sig.args)]
        return emit(builder, vector, *operands)

    for pair in ((Vector, Vector), (Vector, types.Any), (types.Any, Vector)):
        lower_builtin(python_operator, *pair)(lower)


def _arithmetic(name, python_operator, *in_place):
    def emit(builder, vector, a, b):
        return getattr(builder, "f" + name)(a, b, flags=FLAGS) if vector.is_float else getattr(builder, name)(a, b)
    for each in (python_operator, *in_place):
        _binary(each, emit, only=lambda v: v.element != types.boolean)


def _comparison(symbol, python_operator):
    def emit(builder, vector, a, b):
        if vector.is_float:
            return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, a, b)
        return builder.icmp_signed(symbol, a, b)
    _binary(python_operator, emit, comparison=True)


_arithmetic("add", operator.add, operator.iadd)
_arithmetic("sub", operator.sub, operator.isub)
_arithmetic("mul", operator.mul, operator.imul)
for _each in (operator.truediv, operator.itruediv):
    _binary(_each, lambda builder, vector, a, b: builder.fdiv(a, b, flags=FLAGS), only=lambda v: v.is_float)
for _symbol in ("lt", "gt", "le", "ge", "eq", "ne"):
    _comparison({"lt": "<", "gt": ">", "le": "<=", "ge": ">=", "eq": "==", "ne": "!="}[_symbol],
                getattr(operator, _symbol))
for _name in ("and_", "or_", "xor"):
    for _each in (getattr(operator, _name), getattr(operator, "i" + _name.rstrip("_"))):
        _binary(_each, lambda builder, vector, a, b, _name=_name: getattr(builder, _name)(a, b),
                only=lambda v: not v.is_float)
for _name, _each in (("shl", operator.lshift), ("ashr", operator.rshift)):
    _binary(_each, lambda builder, vector, a, b, _name=_name: getattr(builder, _name)(a, b),
            only=lambda v: not v.is_float)


@intrinsic
def _negative(typing, a):
    def emit(context, builder, sig, args):
        return builder.fneg(args[0]) if a.is_float else builder.neg(args[0])
    return a(a), emit


@intrinsic
def _invert(typing, a):
    def emit(context, builder, sig, args):
        return builder.not_(args[0])
    return a(a), emit


@overload(operator.neg)
def _neg(a):
    return (lambda a: _negative(a)) if isinstance(a, Vector) else None


@overload(operator.invert)
def _inv(a):
    return (lambda a: _invert(a)) if isinstance(a, Vector) else None


# Making, loading and storing -----------------------------------------------------------------------------------------

@intrinsic(prefer_literal=True)
def splat(typing, scalar, width):
    """The scalar in all of `width` lanes; of the scalar's type."""
    element = types.unliteral(scalar)
    vector = Vector(element, width.literal_value)

    def emit(context, builder, sig, args):
        return spread(builder, args[0], vector.width)
    return vector(element, width), emit


@intrinsic(prefer_literal=True)
def lanes(typing, width):
    """0, 1, 2, ... as int32 lanes."""
    vector = Vector(types.int32, width.literal_value)

    def emit(context, builder, sig, args):
        return ir.Constant(vector.llvm, list(range(vector.width)))
    return vector(width), emit


@intrinsic(prefer_literal=True)
def load(typing, array, offset, width):
    """`array[offset : offset + width]` of a flat contiguous array; nothing is checked."""
    vector = Vector(array.dtype, width.literal_value)

    def emit(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0], args[1], vector.llvm)
        return aligned(builder.load(pointer), array)
    return vector(array, types.int64, width), emit


@intrinsic
def store(typing, array, offset, value):
    """`array[offset : offset + width] = value`."""
    def emit(context, builder, sig, args):
        pointer = data_pointer(context, builder, sig.args[0], args[0], args[1], value.llvm)
        aligned(builder.store(args[2], pointer), array)
        return context.get_dummy_value()
    return types.void(array, types.int64, value), emit


@intrinsic
def gather(typing, array, indices):
    """`array[indices]` lane by lane, by scalar loads: on today's processors as fast as a gather instruction."""
    vector = Vector(array.dtype, indices.width)

    def emit(context, builder, sig, args):
        result = ir.Constant(vector.llvm, ir.Undefined)
        for k in range(vector.width):
            lane = ir.Constant(I32, k)
            index = builder.extract_element(args[1], lane)
            index = index if index.type == I64 else builder.sext(index, I64)
            pointer = data_pointer(context, builder, sig.args[0], args[0], index, vector.llvm.element)
            result = builder.insert_element(result, builder.load(pointer), lane)
        return result
    return vector(array, indices), emit


@intrinsic(prefer_literal=True)
def extract(typing, a, lane):
    """One lane, its number a literal."""
    def emit(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(I32, lane.literal_value))
    return a.element(a, lane), emit


# Choosing, summing, masks --------------------------------------------------------------------------------------------

@intrinsic
def select_lanes(typing, mask, a, b):
    def emit(context, builder, sig, args):
        return builder.select(*args)
    return a(mask, a, a), emit


@intrinsic
def hsum(typing, a):
    """Sum over the lanes."""
    def emit(context, builder, sig, args):
        if not a.is_float:
            return call(builder, f"llvm.vector.reduce.add.v{a.width}i{a.element.bitwidth}", a.llvm.element, [args[0]])
        zero = ir.Constant(a.llvm.element, -0.0)
        return call(builder, f"llvm.vector.reduce.fadd.v{a.width}f{a.element.bitwidth}", a.llvm.element,
                    [zero, args[0]], FLAGS)
    return a.element(a), emit


@intrinsic
def hmax(typing, a):
    """Largest lane of floats."""
    def emit(context, builder, sig, args):
        return call(builder, f"llvm.vector.reduce.fmax.v{a.width}f{a.element.bitwidth}", a.llvm.element, [args[0]])
    return a.element(a), emit


@intrinsic
def mask_bits(typing, mask):
    """The mask as an integer, lane 0 in the lowest bit."""
    def emit(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(mask.width)), I64)
    return types.int64(mask), emit


@intrinsic(prefer_literal=True)
def mask_from_bits(typing, bits, width):
    """The inverse of `mask_bits`."""
    vector = Vector(types.boolean, width.literal_value)

    def emit(context, builder, sig, args):
        return builder.bitcast(builder.trunc(args[0], ir.IntType(vector.width)), vector.llvm)
    return vector(types.int64, width), emit


@intrinsic
def count(typing, mask):
    """How many lanes of a mask are set."""
    def emit(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.width))
        return builder.zext(call(builder, f"llvm.ctpop.i{mask.width}", bits.type, [bits]), I64)
    return types.int64(mask), emit


# Conversions ---------------------------------------------------------------------------------------------------------

def _convert(builder, source, target, value):
    if source.element == target.element:
        return value
    if source.is_float and target.is_float:
        wider = target.element == types.float64
        return builder.fpext(value, target.llvm) if wider else builder.fptrunc(value, target.llvm)
    if source.is_float:
        return builder.fptosi(value, target.llvm)
    if target.is_float:
        return builder.sitofp(value, target.llvm)
    wider = target.element.bitwidth > source.element.bitwidth
    return builder.sext(value, target.llvm) if wider else builder.trunc(value, target.llvm)


def _conversion(element, doc):
    @intrinsic
    def convert(typing, a):
        target = Vector(element, a.width)

        def emit(context, builder, sig, args):
            return _convert(builder, a, target, args[0])
        return target(a), emit
    convert.__doc__ = doc
    return convert


to_float64 = _conversion(types.float64, "Lanes as double precision.")
to_float32 = _conversion(types.float32, "Lanes as single precision.")
to_int32 = _conversion(types.int32, "Lanes as 32-bit integers, truncated towards zero.")
to_int64 = _conversion(types.int64, "Lanes as 64-bit integers, truncated towards zero.")


@intrinsic
def like(typing, scalar, vector):
    """The scalar, cast to the lanes' type, in all lanes of a vector like the one given; a number for a number."""
    if not isinstance(vector, Vector):
        def emit_scalar(context, builder, sig, args):
            return args[0]
        return vector(vector, vector), emit_scalar

    def emit(context, builder, sig, args):
        return spread(builder, args[0], vector.width)
    return vector(vector.element, vector), emit


@intrinsic
def reinterpret(typing, a):
    """The bits of floats as integers of the same size, and the other way round."""
    other = {types.float64: types.int64, types.float32: types.int32, types.int64: types.float64,
             types.int32: types.float32}[a.element]
    target = Vector(other, a.width)

    def emit(context, builder, sig, args):
        return builder.bitcast(args[0], target.llvm)
    return target(a), emit
