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
def find(fractional, system, low, high, first, last, margin, periodic, skip_zero, half, index, shift):
    """Atoms (`index`) and shifts with ``fractional + shift`` inside [low − margin, high + margin] in each direction.

    fractional (n, 3); margin (S, 3), in fractions of each system's cell; low, high (3,), infinite along open
    directions; first, last: systems of the brick, first ≤ s < last. `skip_zero` leaves out the zero shift: a brick's
    own atoms are not its ghosts; `half` leaves out negative ones (the first of z, y, x that is not zero). Fills `index` and
    `shift` as far as they reach and returns how many there are.
    """
    count = 0
    for i in range(fractional.shape[0]):
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


def ghosts_for(fractional, system, low, high, first, last, margin, periodic, skip_zero, guess=1024, half=False):
    """As `find`, with arrays as long as they need be: index (g,) int64, shift (g, 3) int32."""
    while True:
        index = np.empty(guess, np.int64)
        shift = np.empty((guess, 3), np.int32)
        count = find(fractional, system, low, high, first, last, margin, periodic, skip_zero, half, index, shift)
        if count <= guess:
            return index[:count].copy(), shift[:count].copy()
        guess = count


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
