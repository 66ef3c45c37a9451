"""Which atoms, under which integer shifts, does a brick see within a margin?"""

import numpy as np
from numba import njit


@njit(cache=True)
def _range(f, low, high, margin, periodic):
    """Integers s with low − margin ≤ f + s ≤ high + margin (only 0 along an open direction)."""
    least, most = low - margin - f, high + margin - f
    if not periodic or (least > -1.0 and most < 1.0):  # most atoms; rounding up and down takes longer
        return (0, 0) if least <= 0.0 <= most else (1, 0)
    return int(np.ceil(least)), int(np.floor(most))


@njit(cache=True)
def near_surface(fractional, system, low, high, margin, atoms):
    """Atoms that are not further inside a brick than the margin in each direction, into `atoms`; returns how many. Of those
    that are, neither another brick nor an image of this one sees anything."""
    count = 0
    for i in range(fractional.shape[0]):
        m = margin[system[i]]
        inside = True
        for d in range(3):
            f = fractional[i, d]
            inside &= (low[d] + m[d] < f) & (f < high[d] - m[d])
        atoms[count] = i
        count += not inside
    return count


@njit(cache=True)
def find(fractional, system, atoms, low, high, first, last, margin, periodic, skip_zero, half, index, shift, count):
    """Of `atoms` those (`index`) and shifts with ``fractional + shift`` inside [low − margin, high + margin] in each direction.

    fractional (n, 3); margin (S, 3), in fractions of each system's cell; low, high (3,), infinite along open
    directions; first, last: systems of the brick, first ≤ s < last. `skip_zero` leaves out the zero shift: a brick's
    own atoms are not its ghosts; `half` leaves out negative ones (the first of z, y, x that is not zero). Fills `index` and
    `shift` from `count` on as far as they reach and returns up to where that is, or would be.
    """
    for a in range(atoms.shape[0]):
        i = atoms[a]
        if not first <= system[i] < last:
            continue
        m = margin[system[i]]
        x0, x1 = _range(fractional[i, 0], low[0], high[0], m[0], periodic[0])
        if x1 < x0:
            continue
        y0, y1 = _range(fractional[i, 1], low[1], high[1], m[1], periodic[1])
        if y1 < y0:
            continue
        z0, z1 = _range(fractional[i, 2], low[2], high[2], m[2], periodic[2])
        for sx in range(x0, x1 + 1):
            for sy in range(y0, y1 + 1):
                for sz in range(z0, z1 + 1):
                    if skip_zero and sx == 0 and sy == 0 and sz == 0:
                        continue
                    if half and (sz < 0 or (sz == 0 and (sy < 0 or (sy == 0 and sx < 0)))):
                        continue
                    if count < index.shape[0]:
                        index[count] = i
                        shift[count, 0] = sx
                        shift[count, 1] = sy
                        shift[count, 2] = sz
                    count += 1
    return count


@njit(cache=True)
def _find_all(fractional, system, ranks, low, high, first, last, margin, periodic, half, index, shift, ends):
    me, count = ranks[0], 0
    atoms = np.empty(fractional.shape[0], np.int64)
    atoms = atoms[: near_surface(fractional, system, low[me], high[me], margin, atoms)]
    for k in range(ranks.shape[0]):
        r = ranks[k]
        count = find(fractional, system, atoms, low[r], high[r], first[r], last[r], margin, periodic, k == 0 or (half and r > me),
                     half, index, shift, count)
        ends[k] = count


def ghosts_for(fractional, system, bricks, ranks, margin, periodic, half=False, guess=1024):
    """What the ranks see of the atoms that the first of them owns, as `find` says: index (g,) int64 and shift (g, 3) int32, one
    rank's after the other's up to ends (ranks,)."""
    ranks, ends = np.asarray(ranks, np.int64), np.empty(len(ranks), np.int64)
    while True:
        index, shift = np.empty(guess, np.int64), np.empty((guess, 3), np.int32)
        _find_all(fractional, system, ranks, bricks.low, bricks.high, bricks.first, bricks.last, margin, periodic, half, index,
                  shift, ends)
        if ends[-1] <= guess:
            return index[: ends[-1]], shift[: ends[-1]], ends
        guess = int(ends[-1])


def peers(bricks, rank, margin, periodic):
    """Other ranks whose bricks, widened by the margin, touch some image of this rank's brick.

    The relation is symmetric, so both ends of every message know about it. margin (S, 3).
    """
    first = np.maximum(bricks.first, bricks.first[rank])
    last = np.minimum(bricks.last, bricks.last[rank])
    wide = margin.max(0) + 1e-9
    touching = first < last
    for d in range(3):
        if periodic[d]:
            least = np.ceil(bricks.low[:, d] - wide[d] - bricks.high[rank, d])
            most = np.floor(bricks.high[:, d] + wide[d] - bricks.low[rank, d])
            touching &= least <= most
        else:
            touching &= (bricks.low[:, d] - wide[d] <= bricks.high[rank, d]) & (
                bricks.high[:, d] + wide[d] >= bricks.low[rank, d])
    touching[rank] = False
    return np.flatnonzero(touching)
