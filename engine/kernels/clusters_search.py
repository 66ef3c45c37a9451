"""The search for cluster pairs: which clusters does a block of four atoms face?

Columns of clusters in reach come from the grid, the stretch of a column from its z bins (owned clusters are numbered
along columns, so those before the block's own need no look), then bounding boxes are compared eight clusters at a time,
and what remains is decided exactly, atom by atom.
"""
import numpy as np
from numba import njit

from engine.kernels.simd import compress, count, lanes, load, mask_bits, maximum, splat, store

WIDTH = 8       # atoms of a cluster; other values by ``specialize``
BLOCK = 4       # atoms that a kernel holds in registers against a cluster
COUNTED_TAG = -2    # in place of the tag of a ghost whose pairs count whatever the tags; -1: an empty lane
PAD = 8         # clusters whose boxes are compared at once

inlined = njit(forceinline=True, error_model="numpy")


@inlined
def _gap(low, high, j, a, b):
    """Along one axis, how far eight boxes from number j on are from the interval [a, b]; 0 where they overlap."""
    return maximum(maximum(load(low, j, PAD) - b, a - load(high, j, PAD)), splat(0.0, PAD))


@inlined
def _near_boxes(box_x, box_y, box_z, j, last, extent, r2max):
    """Mask of those boxes j … j + 7, before `last`, that are closer to the block's box than the radius."""
    gx = _gap(box_x[0], box_x[1], j, extent[0], extent[1])
    gy = _gap(box_y[0], box_y[1], j, extent[2], extent[3])
    gz = _gap(box_z[0], box_z[1], j, extent[4], extent[5])
    return (gx * gx + gy * gy + gz * gz < r2max) & (lanes(PAD) < np.int32(last - j))


@inlined
def _extent(packed, base, atoms, extent):
    """Bounding box (x low, x high, y low, ...) of a block's atoms."""
    for d in range(3):
        low, high = np.inf, -np.inf
        for m in range(atoms):
            low, high = min(low, packed[base + d * WIDTH + m]), max(high, packed[base + d * WIDTH + m])
        extent[2 * d], extent[2 * d + 1] = low, high


@inlined
def _tag_mask(lane_tags, i0, j0):
    """Which pairs of a block and a cluster with ghosts of other ranks are counted here: ``engine.neighbors``' rule."""
    bits = np.int64(0)
    for m in range(BLOCK):
        ti = lane_tags[i0 + m]
        for lane in range(WIDTH):
            tj = lane_tags[j0 + lane]
            kept = tj == COUNTED_TAG or tj >= 0 and ((ti + tj) % 2 == 0) == (ti < tj)
            bits |= np.int64(kept) << np.int64(m * WIDTH + lane)
    return bits


@inlined
def _own_mask(row):
    """Pairs of a block, which starts at lane `row` of its cluster, with later atoms of that cluster."""
    bits = np.int64(0)
    for m in range(BLOCK):
        for lane in range(row + m + 1, WIDTH):
            bits |= np.int64(1) << np.int64(m * WIDTH + lane)
    return bits


@inlined
def touches(packed, o, x, y, z, r2max):
    """Mask of the lanes of the cluster at o that are closer than the radius to one atom (in all lanes)."""
    dx, dy, dz = load(packed, o, WIDTH) - x, load(packed, o + WIDTH, WIDTH) - y, load(packed, o + 2 * WIDTH, WIDTH) - z
    return dx * dx + dy * dy + dz * dz < r2max


@njit(cache=True, nogil=True, error_model="numpy")
def search(from_block, to_block, packed, filled, system_of, column_of, by_tag, lane_tags, box, radius, low, size, counts, first,
           bin_start, column_first, column_start, start, stop, neighbors, mask_start, mask_stop, mask_neighbors, masks, segment):
    """List the clusters faced by blocks `from_block` … `to_block` − 1, into neighbors[k:k_end] and
    masks[km:km_end] as far as those reach (neighbors[k_end] is scratch), where segment = (k, k_end, km, km_end); puts
    into segment[0] and segment[2] where the lists end or would end."""
    k, k_end, km, km_end = segment
    bins = first[first.shape[0] - 1]
    box_x, box_y, box_z = (box[0], box[1]), (box[2], box[3]), (box[4], box[5])
    r2max = radius * radius
    reach = radius + 1e-9
    found = np.empty(PAD, np.int32)
    extent = np.empty(6)
    for block in range(from_block, to_block):
        own, row = block * BLOCK // WIDTH, block * BLOCK % WIDTH
        start[block] = stop[block] = k
        mask_start[block] = mask_stop[block] = km
        if filled[own] <= row:
            continue
        if km < km_end:
            mask_neighbors[km], masks[km] = own, _own_mask(row)
        km += 1
        s = system_of[own]
        base = own * 3 * WIDTH + row
        _extent(packed, base, min(BLOCK, filled[own] - row), extent)
        x0, y0, z0 = splat(packed[base], WIDTH), splat(packed[base + WIDTH], WIDTH), splat(
            packed[base + 2 * WIDTH], WIDTH)
        x1, y1, z1 = splat(packed[base + 1], WIDTH), splat(packed[base + WIDTH + 1], WIDTH), splat(
            packed[base + 2 * WIDTH + 1], WIDTH)
        x2, y2, z2 = splat(packed[base + 2], WIDTH), splat(packed[base + WIDTH + 2], WIDTH), splat(
            packed[base + 2 * WIDTH + 2], WIDTH)
        x3, y3, z3 = splat(packed[base + 3], WIDTH), splat(packed[base + WIDTH + 3], WIDTH), splat(
            packed[base + 2 * WIDTH + 3], WIDTH)
        ny, nz = counts[s, 1], counts[s, 2]
        cx0 = max(0, int((extent[0] - reach - low[s, 0]) / size[s, 0]))
        cx1 = min(counts[s, 0] - 1, int((extent[1] + reach - low[s, 0]) / size[s, 0]))
        cy0 = max(0, int((extent[2] - reach - low[s, 1]) / size[s, 1]))
        cy1 = min(ny - 1, int((extent[3] + reach - low[s, 1]) / size[s, 1]))
        low_bin = max(0, int((extent[4] - reach - low[s, 2]) / size[s, 2]))
        high_bin = min(nz - 1, int((extent[5] + reach - low[s, 2]) / size[s, 2]))
        own_column = column_of[own]
        for kind in range(2):
            for cx in range(cx0 if kind else max(cx0, own_column // ny), cx1 + 1):
                left = low[s, 0] + cx * size[s, 0]
                gx = max(0.0, max(left - extent[1], extent[0] - left - size[s, 0]) - 1e-9)
                for cy in range(cy0, cy1 + 1):
                    column = cx * ny + cy
                    left = low[s, 1] + cy * size[s, 1]
                    gy = max(0.0, max(left - extent[3], extent[2] - left - size[s, 1]) - 1e-9)
                    if gx * gx + gy * gy >= r2max or kind == 0 and column < own_column:
                        continue
                    b = kind * bins + first[s] + column * nz
                    begin, end = bin_start[b + low_bin], bin_start[b + high_bin + 1]
                    if begin == end:
                        continue
                    j = column_start[column_first[kind, s] + column]
                    last = j + (end - bin_start[b] + WIDTH - 1) // WIDTH
                    j += (begin - bin_start[b]) // WIDTH
                    if kind == 0:
                        j = max(j, own + 1)
                    while j < last:
                        near = _near_boxes(box_x, box_y, box_z, j, last, extent, r2max)
                        store(found, 0, compress(lanes(PAD), near))
                        for t in range(count(near)):
                            other = j + found[t]
                            o = other * 3 * WIDTH
                            hit = (touches(packed, o, x0, y0, z0, r2max) | touches(packed, o, x1, y1, z1, r2max)
                                   | touches(packed, o, x2, y2, z2, r2max) | touches(packed, o, x3, y3, z3, r2max))
                            close = mask_bits(hit) != 0
                            if by_tag[other]:
                                bits = _tag_mask(lane_tags, own * WIDTH + row, other * WIDTH)
                                close &= bits != 0
                                if close and km < km_end:
                                    mask_neighbors[km], masks[km] = other, bits
                                km += close
                            else:       # stored in any case: no branch that cannot be foretold
                                neighbors[min(k, k_end)] = other
                                k += close
                        j += PAD
        stop[block] = k
        mask_stop[block] = km
    segment[0], segment[2] = k, km
