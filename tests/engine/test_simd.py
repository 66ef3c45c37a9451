"""The SIMD vector type: every operation lane by lane against NumPy, at several widths, and on lesser processors."""
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
from numba import njit

from engine.kernels import simd

WIDTHS = (2, 4, 8, 16)


def compile_lanewise(function, width, n_inputs=1):
    """A compiled loop that loads `width` lanes of each input, applies the function and stores the lanes."""
    operation = njit(function)
    if n_inputs == 1:
        def loop(out, a):
            for k in range(0, len(a), width):
                simd.store(out, k, operation(simd.load(a, k, width)))
    else:
        def loop(out, a, b):
            for k in range(0, len(a), width):
                simd.store(out, k, operation(simd.load(a, k, width), simd.load(b, k, width)))
    return njit(loop, error_model="numpy")


def apply(function, width, *inputs):
    out = np.empty_like(inputs[0])
    compile_lanewise(function, width, len(inputs))(out, *inputs)
    return out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_operators_and_selection(width, dtype):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 64)).astype(dtype)

    def mixed(x, y):
        z = 2.0 * x - y * 3.0 + 1.0
        z += x
        z = z / (y * y + 0.5)
        return simd.select((z > 0.25) & (x <= y) | ~(y != y) & (x > 1.0), -z, simd.maximum(z, 7.0 * x))
    z = (2 * a - b * 3 + 1 + a) / (b * b + dtype(0.5))
    expected = np.where((z > 0.25) & (a <= b) | (a > 1), -z, np.maximum(z, 7 * a))
    np.testing.assert_allclose(apply(mixed, width, a, b), expected, rtol=0, atol=200 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_powers_by_the_operator(dtype):
    x = np.random.default_rng(6).uniform(0.5, 2.0, 64).astype(dtype)

    def powers(v):
        return v ** 2 + v ** 3 - v ** 7 + v ** -3 + v ** 1.5 + v ** 0
    expected = x**2 + x**3 - x**7 + 1 / x**3 + x**1.5 + 1
    np.testing.assert_allclose(apply(powers, 4, x), expected, rtol=0, atol=2000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("width", (4, 8))
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 6e-16), (np.float32, 5e-7)])
@pytest.mark.parametrize("name, low, high", [
    ("exp", -80, 80), ("log", 1e-6, 1e6), ("sqrt", 0, 1e6), ("reciprocal", 1e-6, 1e6), ("rsqrt", 1e-6, 1e6),
    ("floor", -9, 9), ("rint", -9, 9), ("absolute", -9, 9)])
def test_functions(width, dtype, rtol, name, low, high):
    x = np.random.default_rng(2).uniform(low, high, 4096).astype(dtype)
    exact = {"reciprocal": lambda v: 1 / v, "rsqrt": lambda v: 1 / np.sqrt(v)}.get(name) or getattr(np, name)
    expected = exact(x.astype(np.longdouble))
    function = getattr(simd, name)
    np.testing.assert_allclose(apply(lambda v: function(v), width, x), expected.astype(dtype), rtol=rtol)


def test_exp_underflows_to_zero():
    x = np.array([-1e300, -800.0, -745.0, -708.5, 0.0, 1.0, 709.0, -1e4])
    result = apply(lambda v: simd.exp(v), 4, x)
    assert (result[[0, 1, 2, 3, 7]] == 0).all() and np.allclose(result[4:7], np.exp(x[4:7]), rtol=1e-15)


def test_trigonometric_and_error_functions():
    x = np.random.default_rng(3).uniform(-30, 30, 4096)
    np.testing.assert_allclose(apply(lambda v: simd.sin(v), 8, x), np.sin(x), atol=2e-15)
    np.testing.assert_allclose(apply(lambda v: simd.cos(v), 8, x), np.cos(x), atol=2e-15)
    x = np.random.default_rng(3).uniform(-3, 7, 4096)
    np.testing.assert_allclose(apply(lambda v: simd.erfc(v), 4, x), scipy.special.erfc(x), rtol=1e-13)
    x = np.random.default_rng(3).uniform(0.1, 9, 64)
    np.testing.assert_allclose(apply(lambda v: simd.power(v, 0.78734), 4, x), x**0.78734, rtol=1e-14)


def test_one_function_for_numbers_and_vectors():
    def pair(r2, depth, alpha):
        r = simd.sqrt(r2)
        e = simd.exp(-alpha * (r - 1.2)) + simd.erfc(r) + simd.select(r < 1.0, r, 1.0) * simd.rsqrt(r2)
        return depth * simd.power(e, 1.5) + simd.log(r) + simd.minimum(simd.sin(r), simd.cos(r))
    x = np.random.default_rng(4).uniform(0.3, 4, 64)
    scalar = njit(pair)
    vector = apply(lambda v: scalar(v, 0.7, 1.3), 4, x)
    expected = np.array([pair(v, 0.7, 1.3) for v in x])
    np.testing.assert_allclose(vector, expected, rtol=1e-13)
    np.testing.assert_allclose([scalar(v, 0.7, 1.3) for v in x], expected, rtol=1e-13)


@pytest.mark.parametrize("width", (4, 8, 16))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_are_transposed_and_scattered(width, dtype):
    rng = np.random.default_rng(5)
    table = rng.normal(size=(40, 8)).astype(dtype)
    indices = rng.integers(0, 40, 64).astype(np.int32)
    indices[:width] = 7                                # every lane the same row

    @njit
    def read(table, indices, out):
        for k in range(0, 64, width):
            a, b, c, d = simd.load_rows(table, indices, k, width, 8, 4)
            simd.store(out, k, a + 10.0 * b + 100.0 * c + 1000.0 * d)

    @njit
    def add(target, indices, values):
        for k in range(0, 64, width):
            v = simd.load(values, k, width)
            simd.add_rows(target, indices, k, v, 2.0 * v, 3.0 * v, 4.0 * v)

    @njit
    def interleave(values, out):
        for k in range(0, 64, width):
            v = simd.load(values, k, width)
            simd.store_interleaved(out, 3 * k, v, 2.0 * v, 3.0 * v)
    out = np.empty(64, dtype)
    read(table.ravel(), indices, out)
    np.testing.assert_allclose(out, table[indices, 4:] @ np.array([1, 10, 100, 1000], dtype), rtol=1e-5, atol=1e-3)
    values = rng.integers(1, 9, 64).astype(dtype)      # whole numbers: sums are exact in any order
    target, flat = np.zeros(160, dtype), np.empty(192, dtype)
    add(target, indices, values)
    expected = np.bincount(indices, values, 40)
    assert (target.reshape(40, 4) == expected[:, None] * [1, 2, 3, 4]).all()
    interleave(values, flat)
    assert (flat.reshape(64, 3) == values[:, None] * [1, 2, 3]).all()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_masks_and_compaction(width, dtype):
    rng = np.random.default_rng(6)
    a = rng.integers(-50, 50, 64).astype(dtype)
    keep, packed = np.full(80, -1, dtype), np.zeros(8, np.int64)

    @njit
    def run(a, keep, info):
        k = 0
        for q in range(0, 64, width):
            v = simd.load(a, q, width)
            m = v > simd.splat(a[0], width)
            m2 = simd.mask_from_bits(simd.mask_bits(m), width)
            simd.store(keep, k, simd.compress(v, m2))
            k += simd.count(m)
            info[1] += simd.mask_bits(m) & 1
        info[0] = k
        info[2] = simd.hsum(simd.to_int64(simd.load(a, 0, width)))
        info[3] = simd.hsum(simd.lanes(width))
    run(a, keep, packed)
    assert (keep[:packed[0]] == a[a > a[0]]).all() and packed[0] == (a > a[0]).sum()
    assert packed[1] == (a[::width] > a[0]).sum()
    assert packed[2] == a[:width].sum() and packed[3] == width * (width - 1) // 2


def test_gather_and_extract():
    a = np.random.default_rng(7).normal(size=50)
    index = np.array([3, 3, 49, 0, 17, 2, 1, 8], np.int32)

    @njit
    def run(a, index, out):
        v = simd.gather(a, simd.load(index, 0, 8))
        simd.store(out, 0, v)
        return simd.extract(v, 2), simd.hmax(v)
    out = np.empty(8)
    assert run(a, index, out) == (a[49], a[index].max())
    assert (out == a[index]).all()


@pytest.mark.parametrize("processor", ["haswell", "generic"])
def test_lesser_processors(processor):
    """The same tests on the code made for AVX2 and for the plainest processor: no AVX-512 instruction is asked for."""
    if os.environ.get("NUMBA_CPU_NAME"):
        pytest.skip("this is the inner run")
    features = "+avx,+avx2,+fma,+sse4.1,+sse4.2,+sse3,+ssse3,+popcnt,+bmi,+bmi2" if processor == "haswell" else ""
    environment = dict(os.environ, NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES=features)
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", __file__, "-k",
                          "(functions and 4 and exp) or compaction and 4 or (rows and 8) or one_function or error"],
                         env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-2000:]
