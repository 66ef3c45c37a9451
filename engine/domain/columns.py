"""Rows of atoms as bytes: what several per-atom arrays, of any types, hold for an atom stands side by side.

Kernels take the arrays as a table of addresses, so that one call serves all attributes, a plugin's included, and is compiled
once. Whoever makes a table holds the arrays while it is used.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

ADDRESS, WIDTH, OFFSET = range(3)  # columns of a table: where an array begins, bytes of its rows, where they stand in a row


def _mover(bits):
    """An intrinsic that copies so many bits from one address to another, aligned or not."""

    @intrinsic
    def move(typing, to, source):
        def emit(context, builder, sig, args):
            there, here = (builder.inttoptr(a, ir.IntType(bits).as_pointer()) for a in args)
            builder.store(builder.load(here, align=1), there, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), emit

    return move


_move8, _move1 = _mover(64), _mover(8)


@njit(inline="always")
def _copy(to, source, width):
    """`width` bytes."""
    k = 0
    while k + 8 <= width:
        _move8(to + k, source + k)
        k += 8
    while k < width:
        _move1(to + k, source + k)
        k += 1


def table_of(arrays):
    """(table (arrays, 3), bytes of a row) for contiguous arrays (n, ...)."""
    table, offset = np.empty((len(arrays), 3), np.int64), 0
    for k, array in enumerate(arrays):
        if not array.flags.c_contiguous:
            raise ValueError("an array that is exchanged must be contiguous")
        width = array.strides[0] if array.ndim == 1 else array.itemsize * int(np.prod(array.shape[1:]))
        table[k] = array.__array_interface__["data"][0], width, offset
        offset += width
    return table, offset


@njit(cache=True, nogil=True)
def pack(table, row, atoms, to):
    """The rows of `atoms` from address `to` on, `row` bytes each."""
    for c in range(table.shape[0]):
        base, width, at = table[c, ADDRESS], table[c, WIDTH], to + table[c, OFFSET]
        if width == 8:
            for k in range(atoms.shape[0]):
                _move8(at + k * row, base + atoms[k] * 8)
        else:
            for k in range(atoms.shape[0]):
                _copy(at + k * row, base + atoms[k] * width, width)


@njit(cache=True, nogil=True)
def unpack(table, row, source, count, first):
    """`count` rows from address `source` on become rows first, first + 1, ... of the arrays."""
    for c in range(table.shape[0]):
        base, width, at = table[c, ADDRESS], table[c, WIDTH], source + table[c, OFFSET]
        to = base + first * width
        if width == 8:
            for k in range(count):
                _move8(to + k * 8, at + k * row)
        else:
            for k in range(count):
                _copy(to + k * width, at + k * row, width)


@njit(cache=True, nogil=True)
def repeat(table, atoms, first):
    """Copies of the rows of `atoms` as rows first, first + 1, ..."""
    for c in range(table.shape[0]):
        base, width = table[c, ADDRESS], table[c, WIDTH]
        to = base + first * width
        if width == 8:
            for k in range(atoms.shape[0]):
                _move8(to + k * 8, base + atoms[k] * 8)
        else:
            for k in range(atoms.shape[0]):
                _copy(to + k * width, base + atoms[k] * width, width)


@njit(cache=True, nogil=True)
def settle(table, row, gone, n, source, count, taken):
    """Of n rows those in `gone` (ascending) have left, and `count` arrive at address `source`, of which `taken` have been
    taken in by earlier calls. They take the places of those that left, then places at the end. Returns how many are taken."""
    for k in range(count):
        place = gone[taken] if taken < gone.shape[0] else n + taken - gone.shape[0]
        for c in range(table.shape[0]):
            width = table[c, WIDTH]
            _copy(table[c, ADDRESS] + place * width, source + k * row + table[c, OFFSET], width)
        taken += 1
    return taken


@njit(cache=True, nogil=True)
def close(table, gone, n, taken):
    """The last of n rows move to the places in gone[taken:] that nobody has taken; returns how many rows there are now."""
    low, high = taken, gone.shape[0] - 1
    while low <= high:
        n -= 1
        if gone[high] == n:
            high -= 1
            continue
        for c in range(table.shape[0]):
            base, width = table[c, ADDRESS], table[c, WIDTH]
            _copy(base + gone[low] * width, base + n * width, width)
        low += 1
    return n
