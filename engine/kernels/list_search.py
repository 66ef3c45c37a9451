"""The search behind Verlet lists: eight atoms of a column of bins are tested at once and the close ones compacted.

Bins have z fastest, so what a column offers to an atom is one stretch of memory. Whether a pair belongs to a half list
is decided on integers: every row carries a key, and atom i lists rows whose key is larger than i. Owned atoms have
their own number, ghosts that are counted here a number beyond all atoms, others −1; where tags decide (atoms of other
ranks) they are looked at one by one. In a full list every key counts but the atom's own.
"""
import numpy as np
from numba import njit

from engine.domain.halo import positive
from engine.kernels.simd import compress, count, lanes, load, store
from engine.kernels.team import team_for

WIDTH, PADDING = 8, 16
LEFT_OUT, COUNTED, BY_TAG_ROLE = 0, 1, 2    # roles of a ghost: its pairs belong to the other end, here, or tags decide
ALWAYS, NEVER, BY_TAG = 2**31 - 1, -1, 2**31 - 2


def ghost_roles(halo):
    """What each ghost of a halo is to a half list, by the rule of ``engine.neighbors``."""
    if halo.half:
        return np.full(len(halo.shift), COUNTED, np.int8)
    roles = np.where(positive(halo.shift), COUNTED, LEFT_OUT).astype(np.int8)
    roles[~halo.shift.any(1)] = BY_TAG_ROLE
    return roles


@njit(cache=True, error_model="numpy")
def arrange(x, order, key, sorted_x, sorted_row, sorted_key):
    """Copies in bin order: positions (3, n_all + WIDTH), rows and keys."""
    for k in range(order.shape[0]):
        i = order[k]
        for d in range(3):
            sorted_x[d, k] = x[i, d]
        sorted_row[k] = i
        sorted_key[k] = key[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _drop_by_tag(indices, begin, end, tag, tags, key):
    """Of an atom's neighbors on other ranks, keep those that ``engine.neighbors``' parity rule counts here."""
    kept = begin
    for k in range(begin, end):
        j = indices[k]
        if key[j] != BY_TAG or ((tag + tags[j]) % 2 == 0) == (tag < tags[j]):
            indices[kept] = j
            kept += 1
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def search(x, system, tags, key, by_tag, sorted_x, sorted_row, sorted_key, low, counts, width, first, start, half, radius,
           from_atom, to_atom, offsets, indices, total):
    """List the rows within `radius` of owned atoms from_atom … to_atom − 1 from indices[total] on, as far as there is
    room; returns where the list ends or would end. offsets (n + 1,) gets where each atom's list begins and ends."""
    r2max = radius * radius
    room = indices.shape[0] - PADDING
    xs, ys, zs = sorted_x[0], sorted_x[1], sorted_x[2]
    offsets[from_atom] = total
    for i in range(from_atom, to_atom):
        s = system[i]
        xi, yi, zi = x[i, 0], x[i, 1], x[i, 2]
        wx, wy, per_z = width[s, 0], width[s, 1], 1.0 / width[s, 2]
        bx0 = max(0, int((xi - radius - low[s, 0]) / wx - 1e-9))
        bx1 = min(counts[s, 0] - 1, int((xi + radius - low[s, 0]) / wx + 1e-9))
        by0 = max(0, int((yi - radius - low[s, 1]) / wy - 1e-9))
        by1 = min(counts[s, 1] - 1, int((yi + radius - low[s, 1]) / wy + 1e-9))
        nz = counts[s, 2]
        barrier = np.int32(i if half else -2)
        for bx in range(bx0, bx1 + 1):
            left = low[s, 0] + bx * wx
            gx = max(0.0, max(left - xi, xi - left - wx) - 1e-9)
            for by in range(by0, by1 + 1):
                left = low[s, 1] + by * wy
                gy = max(0.0, max(left - yi, yi - left - wy) - 1e-9)
                rest = r2max - gx * gx - gy * gy
                if rest <= 0.0:
                    continue
                reach = np.sqrt(rest) + 1e-9
                low_bin, high_bin = (zi - reach - low[s, 2]) * per_z - 1e-9, (zi + reach - low[s, 2]) * per_z + 1e-9
                if high_bin < 0.0 or low_bin > nz:
                    continue
                column = first[s] + (bx * counts[s, 1] + by) * nz
                q = start[column + max(0, min(int(low_bin), nz - 1))]
                end = start[column + min(int(high_bin), nz - 1) + 1]
                while q < end:
                    dx, dy, dz = load(xs, q, WIDTH) - xi, load(ys, q, WIDTH) - yi, load(zs, q, WIDTH) - zi
                    rows = load(sorted_row, q, WIDTH)
                    close = dx * dx + dy * dy + dz * dz < r2max
                    close &= (rows != np.int32(i)) & (lanes(WIDTH) < np.int32(end - q))
                    close &= load(sorted_key, q, WIDTH) > barrier
                    store(indices, min(total, room), compress(rows, close))
                    total += count(close)
                    q += WIDTH
        if by_tag and half and total <= room:
            total = _drop_by_tag(indices, offsets[i], total, tags[i], tags, key)
        offsets[i + 1] = total
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _search_part(begin, end, x, system, tags, key, by_tag, sorted_x, sorted_row, sorted_key, low, counts, width, first, start,
                 half, radius, offsets, indices, total):
    total[0] = search(x, system, tags, key, by_tag, sorted_x, sorted_row, sorted_key, low, counts, width, first, start, half,
                      radius, begin, end, offsets, indices, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _join(begin, end, offsets, indices, own_offsets, own_indices, before):
    """Put what a thread has found for atoms begin … end − 1 behind the entries of the atoms before them."""
    for i in range(begin, end):
        offsets[i + 1] = before[0] + own_offsets[i + 1]
    for k in range(own_offsets[end]):
        indices[before[0] + k] = own_indices[k]


class ListBuilder:
    """Makes Verlet lists; remembers how long they were, so that they are rarely made twice."""

    def __init__(self):
        self._room = {}

    def build(self, x, n, system, tags, role, bins, half, radius):
        """The fields of a ``engine.neighbors.CSR``: within `radius` of the first n rows of x (n_all, 3); in a half list
        role (n_all − n,) of each ghost (`ghost_roles`); bins of all rows."""
        key = np.arange(len(x), dtype=np.int32)
        key[n:] = np.array([NEVER, ALWAYS, BY_TAG], np.int32)[role] if half else ALWAYS
        sorted_x = np.empty((3, len(x) + WIDTH))
        sorted_row, sorted_key = np.empty(len(x) + WIDTH, np.int32), np.empty(len(x) + WIDTH, np.int32)
        arrange(x, bins.order, key, sorted_x, sorted_row, sorted_key)
        by_tag = bool(half and (role == BY_TAG_ROLE).any())
        team = team_for(n)
        cuts = team.cuts(n)
        offsets, totals = np.empty((team.size, n + 1), np.int64), np.zeros((team.size, 1), np.int64)
        room = self._room.get((half, radius, n, team.size), 1024 + n * (24 if half else 48) // team.size)
        while True:
            indices = np.empty((team.size, room + WIDTH + PADDING), np.int32)
            team(_search_part, cuts, x, system, tags, key, by_tag, sorted_x, sorted_row, sorted_key, bins.low, bins.counts,
                 bins.width, bins.first, bins.start, half, radius, private=(offsets, indices, totals))
            longest = int(totals.max())
            if longest <= room:
                break
            room = longest + WIDTH
        self._room[half, radius, n, team.size] = longest + longest // 16 + 1024
        return self._joined(team, cuts, offsets, indices, totals[:, 0])

    def _joined(self, team, cuts, offsets, indices, totals):
        """What the threads have found, as one list."""
        total = int(totals.sum())
        if team.size == 1:
            offsets, indices = offsets[0], indices[0]
        else:
            own_offsets, own_indices = offsets, indices
            offsets, indices = np.zeros(len(offsets[0]), np.int64), np.empty(total + PADDING, np.int32)
            before = (np.cumsum(totals) - totals)[:, None]
            team(_join, cuts, offsets, indices, private=(own_offsets, own_indices, before))
        indices[total:total + PADDING] = 0
        return offsets, indices[:total], indices[:total + PADDING]
