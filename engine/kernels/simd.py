"""Explicit SIMD in Python: everything that a kernel or a pair function imports to be compiled for vectors.

>>> from engine.kernels.simd import exp, select, sqrt
>>> def morse(r2, depth, alpha, r0):
...     r = sqrt(r2)
...     e = exp(-alpha * (r - r0))
...     return depth * (e * e - 2.0 * e), 2.0 * depth * alpha * (e * e - e) / r

The type and its memory operations are in `simd_types.py`, the mathematical functions in `simd_math.py`, gathers of rows
and compaction in `simd_rows.py`.
"""
from engine.kernels.simd_math import (
    absolute,
    cos,
    erfc,
    exp,
    floor,
    fused,
    log,
    maximum,
    minimum,
    power,
    reciprocal,
    rint,
    rsqrt,
    select,
    sin,
    sqrt,
)
from engine.kernels.simd_rows import add_rows, compress, gather_rows, high_half, join, load_rows, low_half, store_interleaved
from engine.kernels.simd_types import (
    Vector,
    count,
    extract,
    gather,
    has_feature,
    hmax,
    hsum,
    lanes,
    like,
    load,
    mask_bits,
    mask_from_bits,
    register_bits,
    reinterpret,
    splat,
    store,
    to_float32,
    to_float64,
    to_int32,
    to_int64,
)

__all__ = ["Vector", "absolute", "add_rows", "compress", "cos", "count", "erfc", "exp", "extract", "floor", "fused", "gather",
           "gather_rows", "has_feature", "high_half", "hmax", "hsum", "join", "lanes", "like", "load", "load_rows", "log",
           "low_half", "mask_bits", "mask_from_bits", "maximum", "minimum", "power", "reciprocal", "register_bits",
           "reinterpret", "rint", "rsqrt", "select", "sin", "splat", "sqrt", "store", "store_interleaved", "to_float32",
           "to_float64", "to_int32", "to_int64"]
