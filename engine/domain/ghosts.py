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


@njit(cache=True, inline="always")
def _place(x, i, inverse, origin, s):
    """Where atom i is in fractions of its cell s."""
    u, v, w = x[i, 0] - origin[s, 0], x[i, 1] - origin[s, 1], x[i, 2] - origin[s, 2]
    return (u * inverse[s, 0, 0] + v * inverse[s, 1, 0] + w * inverse[s, 2, 0],
            u * inverse[s, 0, 1] + v * inverse[s, 1, 1] + w * inverse[s, 2, 1],
            u * inverse[s, 0, 2] + v * inverse[s, 1, 2] + w * inverse[s, 2, 2])


@njit(cache=True)
def near_surface(x, system, inverse, origin, low, high, margin, atoms):
    """Atoms that are not further inside a brick than the margin in each direction, into `atoms`; returns how many. Of those
    that are, neither another brick nor an image of this one sees anything."""
    count = 0
    for i in range(system.shape[0]):
        s = system[i]
        f, g, h = _place(x, i, inverse, origin, s)
        m = margin[s]
        inside = (low[0] + m[0] < f) & (f < high[0] - m[0]) & (low[1] + m[1] < g) & (g < high[1] - m[1])
        atoms[count] = i
        count += not (inside & (low[2] + m[2] < h) & (h < high[2] - m[2]))
    return count


@njit(cache=True)
def find(x, system, inverse, origin, atoms, low, high, first, last, margin, periodic, skip_zero, half, index, shift, count):
    """Of `atoms` those (`index`) and shifts with ``place + shift`` inside [low − margin, high + margin] in each direction.

    x (n, 3) Å, their places being fractions of the cells; margin (S, 3), in such fractions; low, high (3,), infinite along open
    directions; first, last: systems of the brick, first ≤ s < last. `skip_zero` leaves out the zero shift: a brick's
    own atoms are not its ghosts; `half` leaves out negative ones (the first of z, y, x that is not zero). Fills `index` and
    `shift` from `count` on as far as they reach and returns up to where that is, or would be.
    """
    for a in range(atoms.shape[0]):
        i = atoms[a]
        if not first <= system[i] < last:
            continue
        m = margin[system[i]]
        f, g, h = _place(x, i, inverse, origin, system[i])
        x0, x1 = _range(f, low[0], high[0], m[0], periodic[0])
        if x1 < x0:
            continue
        y0, y1 = _range(g, low[1], high[1], m[1], periodic[1])
        if y1 < y0:
            continue
        z0, z1 = _range(h, low[2], high[2], m[2], periodic[2])
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
def _find_all(x, system, inverse, origin, ranks, low, high, first, last, margin, periodic, half, index, shift, ends):
    me, count = ranks[0], 0
    atoms = np.empty(system.shape[0], np.int32)
    atoms = atoms[: near_surface(x, system, inverse, origin, low[me], high[me], margin, atoms)]
    for k in range(ranks.shape[0]):
        r = ranks[k]
        count = find(x, system, inverse, origin, atoms, low[r], high[r], first[r], last[r], margin, periodic,
                     k == 0 or (half and r > me), half, index, shift, count)
        ends[k] = count


def ghosts_for(x, system, inverse, origin, bricks, ranks, margin, periodic, half=False, guess=1024):
    """What the ranks see of the atoms that the first of them owns, as `find` says: index (g,) int64 and shift (g, 3) int32, one
    rank's after the other's up to ends (ranks,). x (≥ n, 3) Å, system (n,); inverse (S, 3, 3), origin (S, 3) of the cells."""
    ranks, ends = np.asarray(ranks, np.int64), np.empty(len(ranks), np.int64)
    while True:
        index, shift = np.empty(guess, np.int64), np.empty((guess, 3), np.int32)
        _find_all(x, system, inverse, origin, ranks, bricks.low, bricks.high, bricks.first, bricks.last, margin, periodic, half,
                  index, shift, ends)
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
