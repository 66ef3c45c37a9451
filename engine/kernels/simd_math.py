"""Mathematical functions that serve one number and a SIMD vector alike, so that physics is written once.

Each is an ordinary Python function on floats; compiled code uses libm for numbers and the code below for vectors.
Accuracy of the vector forms (double): exp, log, sqrt, reciprocal, rsqrt to 2 units in the last place, sin and cos for
arguments up to some hundreds, erfc to 1e-14 relative to exp(-x²) (Cody-type rational functions as in Cephes' ndtr.c).
In single precision they are good to 4e-7.
"""
import math
import operator

from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic, overload

from engine.kernels.simd_types import (
    FLAGS,
    Vector,
    call,
    has_feature,
    like,
    reinterpret,
    select_lanes,
    to_float32,
    to_float64,
    to_int32,
    to_int64,
)

LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.6931471803691238, 1.9082149292705877e-10
PI_HIGH, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
SQRT_HALF_BITS = {64: 0x3FE6A09E667F3BCD, 32: 0x3F3504F3}
inlined = njit(forceinline=True, error_model="numpy")


def _unary(name):
    @intrinsic
    def function(typing, a):
        def emit(context, builder, sig, args):
            return call(builder, f"llvm.{name}.v{a.width}f{a.element.bitwidth}", a.llvm, args, FLAGS)
        return a(a), emit
    return function


_sqrt, _rint, _fabs, _floor = (_unary(name) for name in ("sqrt", "rint", "fabs", "floor"))


@intrinsic
def fused(typing, a, b, c):
    """a·b + c for vectors, in one rounding where the processor can, and never reassociated."""
    def emit(context, builder, sig, args):
        return call(builder, f"llvm.fmuladd.v{a.width}f{a.element.bitwidth}", a.llvm, args)
    return a(a, a, a), emit


def _approximate(name):
    """AVX-512's 14-bit approximations `rcp14` and `rsqrt14` of a whole vector."""
    @intrinsic
    def function(typing, a):
        def emit(context, builder, sig, args):
            bits = a.width * a.element.bitwidth
            suffix = "ps" if a.element == types.float32 else "pd"
            mask = ir.IntType(max(8, a.width))
            arguments = [args[0], ir.Constant(a.llvm, None), ir.Constant(mask, -1)]
            return call(builder, f"llvm.x86.avx512.{name}.{suffix}.{bits}", a.llvm, arguments)
        return a(a), emit
    return function


_rcp14, _rsqrt14 = _approximate("rcp14"), _approximate("rsqrt14")


def has_approximate(vector):
    """Whether rcp14 and rsqrt14 exist for this vector on the processor compiled for."""
    bits = vector.width * vector.element.bitwidth
    return has_feature("avx512f") and (bits == 512 or bits in (128, 256) and has_feature("avx512vl"))


def select(mask, a, b):
    """a where the mask holds, b elsewhere; both are always evaluated."""
    return a if mask else b


def sqrt(x):
    return math.sqrt(x)


def exp(x):
    return math.exp(x)


def log(x):
    return math.log(x)


def sin(x):
    return math.sin(x)


def cos(x):
    return math.cos(x)


def erfc(x):
    return math.erfc(x)


def absolute(x):
    return abs(x)


def floor(x):
    return float(math.floor(x))


def rint(x):
    """The nearest whole number, halves to even."""
    return float(round(x))


def minimum(a, b):
    return a if a < b else b


def maximum(a, b):
    return a if a > b else b


def reciprocal(x):
    """1/x; for vectors by approximation and Newton steps where that is faster than dividing."""
    return 1.0 / x


def rsqrt(x):
    """1/√x for x > 0."""
    return 1.0 / math.sqrt(x)


def power(x, y):
    """x**y for x > 0."""
    return math.pow(x, y)


@overload(select, inline="never")
def _select(mask, a, b):
    if not isinstance(mask, Vector):
        return lambda mask, a, b: a if mask else b
    if isinstance(a, Vector) and isinstance(b, Vector):
        return lambda mask, a, b: select_lanes(mask, a, b)
    if isinstance(a, Vector):
        return lambda mask, a, b: select_lanes(mask, a, like(b, a))
    return lambda mask, a, b: select_lanes(mask, like(a, b), b)


def _vector_form(function, scalar, vector):
    """Overload one-argument `function`: `scalar` for numbers, `vector(type)` gives the form for vectors."""
    @overload(function, jit_options={"forceinline": True})
    def choose(x):
        return vector(x) if isinstance(x, Vector) else scalar if isinstance(x, (types.Number, types.Boolean)) else None


_vector_form(sqrt, lambda x: math.sqrt(x), lambda kind: lambda x: _sqrt(x))
_vector_form(absolute, lambda x: abs(x), lambda kind: lambda x: _fabs(x))
_vector_form(floor, lambda x: float(math.floor(x)), lambda kind: lambda x: _floor(x))
_vector_form(rint, lambda x: float(round(x)), lambda kind: lambda x: _rint(x))


@overload(minimum)
def _minimum(a, b):
    if isinstance(a, Vector) or isinstance(b, Vector):
        return lambda a, b: select(a < b, a, b)
    return lambda a, b: a if a < b else b


@overload(maximum)
def _maximum(a, b):
    if isinstance(a, Vector) or isinstance(b, Vector):
        return lambda a, b: select(a > b, a, b)
    return lambda a, b: a if a > b else b


def _reciprocal(kind):
    if not has_approximate(kind):
        return lambda x: 1.0 / x
    if kind.element == types.float32:
        def newton_once(x):
            y = _rcp14(x)
            return y * (2.0 - x * y)
        return newton_once

    def newton_twice(x):
        y = _rcp14(x)
        y = y * (2.0 - x * y)
        return y * (2.0 - x * y)
    return newton_twice


def _rsqrt(kind):
    if not has_approximate(kind):
        return lambda x: 1.0 / _sqrt(x)
    if kind.element == types.float32:
        def newton_once(x):
            y = _rsqrt14(x)
            return y * (1.5 - 0.5 * x * y * y)
        return newton_once

    def newton_twice(x):
        y = _rsqrt14(x)
        half = 0.5 * x
        y = y * (1.5 - half * y * y)
        return y * (1.5 - half * y * y)
    return newton_twice


_vector_form(reciprocal, lambda x: 1.0 / x, _reciprocal)
_vector_form(rsqrt, lambda x: 1.0 / math.sqrt(x), _rsqrt)


@inlined
def _power_of_two64(n):
    return reinterpret((to_int64(n) + 1023) << 52)


@inlined
def _power_of_two32(n):
    return reinterpret((to_int32(n) + 127) << 23)


EXP_SERIES = tuple(1.0 / math.factorial(k) for k in range(13, -1, -1))


@inlined
def _exp64(x):
    y = minimum(maximum(x, -708.0), 709.0)
    n = _rint(y * LOG2_E)
    r = fused(n, like(-LN2_LOW, x), fused(n, like(-LN2_HIGH, x), y))
    p = like(EXP_SERIES[0], x)
    p = p * r + EXP_SERIES[1]
    p = p * r + EXP_SERIES[2]
    p = p * r + EXP_SERIES[3]
    p = p * r + EXP_SERIES[4]
    p = p * r + EXP_SERIES[5]
    p = p * r + EXP_SERIES[6]
    p = p * r + EXP_SERIES[7]
    p = p * r + EXP_SERIES[8]
    p = p * r + EXP_SERIES[9]
    p = p * r + EXP_SERIES[10]
    p = p * r + EXP_SERIES[11]
    p = p * r + 1.0
    p = p * r + 1.0
    return select(x < -708.0, 0.0, p * _power_of_two64(n))


@inlined
def _exp32(x):
    y = minimum(maximum(x, -87.0), 88.0)
    n = _rint(y * LOG2_E)
    r = fused(n, like(-1.428606765330187e-06, x), fused(n, like(-0.693145751953125, x), y))
    p = like(EXP_SERIES[6], x)
    p = p * r + EXP_SERIES[7]
    p = p * r + EXP_SERIES[8]
    p = p * r + EXP_SERIES[9]
    p = p * r + EXP_SERIES[10]
    p = p * r + EXP_SERIES[11]
    p = p * r + 1.0
    p = p * r + 1.0
    return select(x < -87.0, 0.0, p * _power_of_two32(n))


def _log_form(kind):
    """x = m·2ᵉ with m in [√½, √2): log x = e ln 2 + 2 artanh((m−1)/(m+1))."""
    double = kind.element == types.float64
    offset, shift = SQRT_HALF_BITS[kind.element.bitwidth], 52 if double else 23

    def log_vector(x):
        exponent = (reinterpret(x) - offset) >> shift
        m = reinterpret(reinterpret(x) - (exponent << shift))
        e = to_float64(exponent) if double else to_float32(exponent)
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        p = like(1.0 / 21.0, x)
        p = p * z + 1.0 / 19.0
        p = p * z + 1.0 / 17.0
        p = p * z + 1.0 / 15.0
        p = p * z + 1.0 / 13.0
        p = p * z + 1.0 / 11.0
        p = p * z + 1.0 / 9.0
        p = p * z + 1.0 / 7.0
        p = p * z + 1.0 / 5.0
        p = p * z + 1.0 / 3.0
        p = p * z * s * 2.0 + 2.0 * s
        return fused(e, like(LN2_HIGH, x), fused(e, like(LN2_LOW, x), p))
    return log_vector


_vector_form(exp, lambda x: math.exp(x),
             lambda kind: (lambda x: _exp64(x)) if kind.element == types.float64 else (lambda x: _exp32(x)))
_vector_form(log, lambda x: math.log(x), _log_form)


@overload(power)
def _power(x, y):
    if isinstance(x, Vector) or isinstance(y, Vector):
        return lambda x, y: exp(y * log(x))
    return lambda x, y: math.pow(x, y)


@overload(operator.pow)
def _operator_power(x, n):
    """`x ** 3` by multiplications, `x ** 1.5` by `power`, as plugin authors write them."""
    if not isinstance(x, Vector):
        return None
    if isinstance(n, types.Float):
        return lambda x, n: power(x, n)
    if not isinstance(n, types.IntegerLiteral):
        return None
    exponent = n.literal_value
    half, opposite = abs(exponent) // 2, -exponent
    if exponent == 0:
        return lambda x, n: x * 0.0 + 1.0
    if exponent < 0:
        return lambda x, n: 1.0 / x ** opposite
    if exponent == 1:
        return lambda x, n: x

    def by_halves(x, n):
        root = x ** half
        return root * root

    def by_halves_and_one(x, n):
        root = x ** half
        return root * root * x
    return by_halves_and_one if exponent % 2 else by_halves


@inlined
def _sin_reduced(r):
    """sin r for |r| ≤ π/2 by its series to r¹⁹."""
    z = r * r
    p = z * (-1.0 / 121645100408832000.0) + 1.0 / 355687428096000.0
    p = p * z - 1.0 / 1307674368000.0
    p = p * z + 1.0 / 6227020800.0
    p = p * z - 1.0 / 39916800.0
    p = p * z + 1.0 / 362880.0
    p = p * z - 1.0 / 5040.0
    p = p * z + 1.0 / 120.0
    p = p * z - 1.0 / 6.0
    return r + r * z * p


@inlined
def _sin_vector(x, phase):
    """sin(x + phase·π/2) with x reduced to multiples of π: n whole for a sine, half-odd for a cosine."""
    n = _rint(x * (1.0 / PI_HIGH) + 0.5 * phase) - 0.5 * phase
    r = fused(n, like(-PI_LOW, x), fused(n, like(-PI_HIGH, x), x))
    k = n + 0.5 * phase
    odd = k - 2.0 * _floor(0.5 * k)
    return _sin_reduced(r) * (1.0 - 2.0 * odd)


_vector_form(sin, lambda x: math.sin(x), lambda kind: lambda x: _sin_vector(x, 0.0))
_vector_form(cos, lambda x: math.cos(x), lambda kind: lambda x: _sin_vector(x, 1.0))


@inlined
def _erfc_vector(x):
    a = _fabs(x)
    z = x * x
    # |x| < 1: 1 - x T(x²)/U(x²)
    t = z * 9.60497373987051638749e0 + 9.00260197203842689217e1
    t = t * z + 2.23200534594684319226e3
    t = t * z + 7.00332514112805075473e3
    t = t * z + 5.55923013010394962768e4
    u = z + 3.35617141647503099647e1
    u = u * z + 5.21357949780152679795e2
    u = u * z + 4.59432382970980127987e3
    u = u * z + 2.26290000613890934246e4
    u = u * z + 4.92673942608635921086e4
    # 1 ≤ |x| < 8: exp(-x²) P(x)/Q(x); beyond it exp(-x²) is below 1e-28 and the same form stays good to a percent
    p = a * 2.46196981473530512524e-10 + 5.64189564831068821977e-1
    p = p * a + 7.46321056442269912687e0
    p = p * a + 4.86371970985681366614e1
    p = p * a + 1.96520832956077098242e2
    p = p * a + 5.26445194995477358631e2
    p = p * a + 9.34528527171957607540e2
    p = p * a + 1.02755188689515710272e3
    p = p * a + 5.57535335369399327526e2
    q = a + 1.32281951154744992508e1
    q = q * a + 8.67072140885989742329e1
    q = q * a + 3.54937778887819891062e2
    q = q * a + 9.75708501743205489753e2
    q = q * a + 1.82390916687909736289e3
    q = q * a + 2.24633760818710981792e3
    q = q * a + 1.65666309194161350182e3
    q = q * a + 5.57535340817727675546e2
    near = a < 1.0
    ratio = select(near, t, p) / select(near, u, q)   # one division for both
    far = exp(-z) * ratio
    return select(near, 1.0 - x * ratio, select(x < 0.0, 2.0 - far, far))


_vector_form(erfc, lambda x: math.erfc(x), lambda kind: lambda x: _erfc_vector(x))
