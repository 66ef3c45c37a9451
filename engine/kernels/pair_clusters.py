"""The fast driver of pair potentials: cluster pairs, a register of atoms at a time, around any scalar pair function.

One template gives all variants: cluster width, double or mixed precision, one species or several, with or without
energies. In mixed precision pairs are evaluated in single precision from positions relative to their cluster's centre
(the centres' differences are exact), and everything is summed over clusters in double precision.
The virial needs no kernel of its own: ghosts carry their own forces, so W_ab = Σ_k r_k,a F_k,b over owned and ghost
atoms, taken where forces are handed back.
"""
import inspect
import math
import weakref

import numpy as np
from numba import njit

from engine.kernels import clusters_exclude, clusters_prune, compiled
from engine.kernels.clusters import ClusterBuilder
from engine.kernels.clusters_search import BLOCK
from engine.kernels.list_search import ghost_roles
from engine.kernels.simd import register_bits
from engine.kernels.specialize import specialize
from engine.kernels.team import ALONE, team_for

REACH = 0.4     # of the skin, by which the pruned list reaches beyond the cutoff
ZERO, ONE, TWO, THREE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
RECORDS = "records"     # a pair function's argument of this name is the array that its driver was given to look things up in
SNAP = 0.25     # Å; cluster centres of mixed precision are multiples of it, so that their differences are exact

TEMPLATE = '''
import numpy as np
from numba import njit

from engine.kernels.simd import (
    high_half, hsum, join, load, load_rows, low_half, mask_from_bits, select, splat, store, to_float32, to_float64)

f = njit(forceinline=True, error_model="numpy")(pair)


@njit(cache=True, nogil=True, error_model="numpy")
def compute(from_block, to_block, X, C, start, stop, neighbors, mask_start, mask_stop, mask_neighbors, masks, kinds,
            row_length, stride, table, {inputs}F, E, reach):
    zero = splat(np.{real}(0.0), {lanes})
    for part in range(0, 4, 2):
        F[reach[part] * {width3}:reach[part + 1] * {width3}] = 0.0
        E[reach[part] * {width}:reach[part + 1] * {width}] = 0.0
    {constants}
    for block in range(from_block, to_block):
        own, row = block * 4 // {width}, block * 4 % {width}
        base, lane0 = own * {width3} + row, own * {width} + row
        {centre_i}
        {load_i}
        {loops}
        {store_i}
'''

LOOPS = '''
for p in range(mask_start[block], mask_stop[block]):
    cluster, bits = mask_neighbors[p], masks[p]
    {masked_body}
for p in range(start[block], stop[block]):
    cluster = neighbors[p]
    {body}
'''

ONE_LOOP = '''
masked = mask_stop[block] - mask_start[block]
for p in range(masked + stop[block] - start[block]):
    cluster, bits = np.int32(0), np.int64(-1)
    if p < masked:
        cluster, bits = mask_neighbors[mask_start[block] + p], masks[mask_start[block] + p]
    else:
        cluster = neighbors[start[block] + p - masked]
    {masked_body}
'''     # rarer variants: half the code to compile


def _indent(lines, spaces):
    return ("\n" + " " * spaces).join(lines) or "pass"


def _scalars(names):
    """Those that are one number for each pair of species."""
    return [name for name in names if not name.endswith(("_i", "_j")) and name != f"p_{RECORDS}"]


def _body(names, width, pair, mixed, species, energy, masked):
    """The text for one cluster against the block's four atoms, `pair` (one or two) of them in a register."""
    scalars = _scalars(names)
    atoms = sorted({name[:-2] for name in names if name.endswith(("_i", "_j"))})
    lines = [f"o = cluster * {3 * width}"]
    shift = ["", "", ""]
    if mixed:
        lines.append("tx, ty, tz = C[cluster, 0] - cx, C[cluster, 1] - cy, C[cluster, 2] - cz")
        shift = [" + tx", " + ty", " + tz"]
    for k, d in enumerate("xyz"):
        place = f"o + {k * width}"
        lines.append(f"{d}j = load(X, {place}, {width}){shift[k]}")
        lines.append(f"g{d} = zero" if mixed else f"g{d} = load(F, {place}, {width})")
    lines += [f"{a}_j = load(in_{a}, cluster * {width}, {width})" for a in atoms]
    if pair == 2:
        lines += [f"{v} = join({v}, {v})" for v in ["xj", "yj", "zj", *(f"{a}_j" for a in atoms)]]
    if energy:
        lines.append("ej = zero")
    for m in range(0, BLOCK, pair):
        if species:
            for group in range(0, len(scalars) + 1, 4):
                row = ["cut2", *scalars][group:group + 4]
                parts = [[f"t{q}_{k}" for k in range(4)] for q in range(pair)]
                lines += [f"{', '.join(part)} = load_rows(table, kinds, cluster * {width}, {width}, stride, "
                          f"row{m + q} + {group})" for q, part in enumerate(parts)]
                lines += [f"{name} = {_joined([part[k] for part in parts])}" for k, name in enumerate(row)]
        lines.append(f"dx, dy, dz = x{m} - xj, y{m} - yj, z{m} - zj")
        lines.append("r2 = dx * dx + dy * dy + dz * dz")
        lines.append("inside = r2 < cut2")
        if masked:
            lines.append(f"inside &= mask_from_bits(bits >> {m * width}, {pair * width})")
        arguments = "".join(f", {n[:-2]}_{m}" if n.endswith("_i") else f", {n}" for n in names)
        lines.append(f"e, w = f(select(inside, r2, cut2){arguments})")
        lines.append("w = select(inside, w, zero)")
        lines.append("dx, dy, dz = w * dx, w * dy, w * dz")
        for d in "xyz":
            lines += [f"f{d}{m} += d{d}", f"g{d} -= d{d}"]
        if energy:
            lines += ["e = select(inside, e, zero)", f"e{m} += e", "ej += e"]
    if pair == 2:
        lines += [f"{v} = low_half({v}) + high_half({v})" for v in ["gx", "gy", "gz"] + ["ej"] * energy]
    for k, d in enumerate("xyz"):
        place = f"o + {k * width}"
        lines.append(f"store(F, {place}, load(F, {place}, {width}) + to_float64(g{d}))" if mixed
                     else f"store(F, {place}, g{d})")
    if energy:
        place = f"cluster * {width}"
        lines.append(f"store(E, {place}, load(E, {place}, {width}) + 0.5 * to_float64(ej))")
    return lines


def _joined(parts):
    return f"join({parts[0]}, {parts[1]})" if len(parts) == 2 else parts[0]


def generate(names, width, mixed, species, energy, pair=1):
    """Source of the driver for a pair function with these argument names after r2, and its per-atom inputs.

    pair : atoms of a block in one register; two of them where it holds twice a cluster's atoms
    """
    names = [f"p_{name}" for name in names]  # so that no parameter's name is one of the driver's own
    real = "float32" if mixed else "float64"
    scalars = _scalars(names)
    atoms = sorted({name[:-2] for name in names if name.endswith(("_i", "_j"))})
    constants, load_i, store_i = [], [], []
    if not species:
        constants.append(f"cut2 = splat(table[0], {pair * width})")
        constants += [f"{name} = splat(table[{k + 1}], {pair * width})" for k, name in enumerate(scalars)]
    if f"p_{RECORDS}" in names:
        constants.append(f"p_{RECORDS} = table[stride * (stride // row_length):]")
    for m in range(0, BLOCK, pair):
        block = range(m, m + pair)
        part = ["{}"] if pair == 1 else ["low_half({})", "high_half({})"]
        for k, d in enumerate("xyz"):
            load_i.append(f"{d}{m} = " + _joined([f"splat(X[base + {k * width + q}], {width})" for q in block]))
            load_i.append(f"f{d}{m} = zero")
            store_i += [f"F[base + {k * width + q}] += hsum({p.format(f'f{d}{m}')})" for q, p in zip(block, part, strict=True)]
        load_i += [f"{a}_{m} = " + _joined([f"splat(in_{a}[lane0 + {q}], {width})" for q in block]) for a in atoms]
        if species:
            load_i += [f"row{q} = kinds[lane0 + {q}] * row_length" for q in block]
        if energy:
            load_i.append(f"e{m} = zero")
            store_i += [f"E[lane0 + {q}] += 0.5 * hsum({p.format(f'e{m}')})" for q, p in zip(block, part, strict=True)]
    loops = (ONE_LOOP if energy else LOOPS).strip().format(
        masked_body=_indent(_body(names, width, pair, mixed, species, energy, True), 4),
        body=_indent(_body(names, width, pair, mixed, species, energy, False), 4))
    text = TEMPLATE.format(
        width=width, width3=3 * width, lanes=pair * width, real=real, inputs="".join(f"in_{a}, " for a in atoms),
        constants=_indent(constants, 4), load_i=_indent(load_i, 8), store_i=_indent(store_i, 8),
        centre_i="cx, cy, cz = C[own, 0], C[own, 1], C[own, 2]" if mixed else "pass",
        loops=_indent(loops.split("\n"), 8))
    return text, atoms


@njit(cache=True, nogil=True, error_model="numpy")
def _pack(begin, end, x, rows, width, centres, packed, ghosts, farthest):
    """Positions into lanes, those of clusters ghosts[0] … ghosts[1] − 1 too, relative to the clusters' centres (clusters, 3)
    if there are any; in farthest[0] how far, squared, an atom is at most from where it was."""
    relative = centres.shape[0] > 0
    flat, w, most = x.ravel(), np.uint64(width), 0.0
    cx = cy = cz = 0.0
    for a, b in ((begin, end), (ghosts[0], ghosts[1])):
        for cluster in range(np.uint64(a), np.uint64(b)):     # unsigned, so that no index is looked at for its sign
            if relative:
                cx, cy, cz = np.float64(centres[cluster, 0]), np.float64(centres[cluster, 1]), np.float64(centres[cluster, 2])
            for lane in range(w):
                row = rows[cluster * w + lane]
                if row >= 0:
                    i, o = THREE * np.uint64(row), cluster * THREE * w + lane
                    px, py, pz = flat[i] - cx, flat[i + ONE] - cy, flat[i + TWO] - cz
                    dx, dy, dz = px - packed[o], py - packed[o + w], pz - packed[o + TWO * w]
                    packed[o], packed[o + w], packed[o + TWO * w] = px, py, pz
                    d2 = dx * dx + dy * dy + dz * dz
                    if d2 > most:
                        most = d2
    farthest[0] = most


@njit(cache=True, nogil=True, error_model="numpy")
def _centre(begin, end, packed, width, snap, centres, relative):
    """Centres (clusters, 3), snapped to a grid, and all lanes relative to them."""
    for cluster in range(begin, end):
        for d in range(3):
            o = (cluster * 3 + d) * width
            centres[cluster, d] = np.rint(packed[o] / snap) * snap
            for lane in range(width):
                relative[o + lane] = packed[o + lane] - centres[cluster, d]


@njit(cache=True, nogil=True, error_model="numpy")
def _find_reach(begin, end, start, stop, neighbors, mask_start, mask_stop, mask_neighbors, width, owned, every, reach):
    """Which clusters do blocks begin … end − 1 add forces to? Owned ones reach[0] … reach[1] − 1 and ghosts reach[2] …
    reach[3] − 1 are all of them, and others in between. `owned` and `every`: how many clusters there are."""
    reach[0], reach[1], reach[2], reach[3] = begin * BLOCK // width, -(-end * BLOCK // width), every, 0
    for block in range(begin, end):
        for p in range(start[block], stop[block]):
            _stretch(reach, neighbors[p], owned)
        for p in range(mask_start[block], mask_stop[block]):
            _stretch(reach, mask_neighbors[p], owned)


@njit(forceinline=True, error_model="numpy")
def _stretch(reach, cluster, owned):
    if cluster < owned:
        reach[1] = max(reach[1], cluster + 1)
    else:
        reach[2], reach[3] = min(reach[2], cluster), max(reach[3], cluster + 1)


@njit(forceinline=True, error_model="numpy")
def _adders(reach, cluster, first=0, end=0):
    """The first of the threads that may have added to a cluster, by reach (threads, 4) of all, and one beyond the last;
    `first` and `end` as they were for an earlier cluster of the same kind make it quicker."""
    part = 0 if cluster < reach[-1, 1] else 2
    while first < reach.shape[0] and reach[first, part + 1] <= cluster:
        first += 1
    while end < reach.shape[0] and reach[end, part] <= cluster:
        end += 1
    return first, end


@njit(cache=True, nogil=True, error_model="numpy")
def _unpack(begin, end, F, reach, rows, width, forces, ghosts):
    """Add forces F (threads, lanes) of clusters, those of `ghosts` too, to those of atoms."""
    flat, parts, lanes, w = forces.ravel(), F.ravel(), np.uint64(F.shape[1]), np.uint64(width)
    for a, b in ((begin, end), (ghosts[0], ghosts[1])):
        first = last = 0
        for cluster in range(np.uint64(a), np.uint64(b)):
            first, last = _adders(reach, np.int64(cluster), first, last)
            for t in range(np.uint64(first), np.uint64(last)):
                for lane in range(w):
                    row = rows[cluster * w + lane]
                    if row >= 0:
                        i, o = THREE * np.uint64(row), t * lanes + cluster * THREE * w + lane
                        flat[i] += parts[o]
                        flat[i + ONE] += parts[o + w]
                        flat[i + TWO] += parts[o + TWO * w]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_virial(begin, end, F, reach, x, rows, width, system_of, virial):
    """W_ab += Σ r_a F_b over all lanes; symmetric to rounding, made exactly so."""
    w = np.zeros((3, 3))
    for cluster in range(begin, end):
        w[:] = 0.0
        first, last = _adders(reach, cluster)
        for t in range(first, last):
            for lane in range(width):
                i = rows[cluster * width + lane]
                if i >= 0:
                    o = cluster * 3 * width + lane
                    for b in range(3):
                        f = F[t, o + b * width]
                        for a in range(3):
                            w[a, b] += x[i, a] * f
        s = system_of[cluster]
        for a in range(3):
            for b in range(3):
                virial[s, a, b] += 0.5 * (w[a, b] + w[b, a])


@njit(cache=True, nogil=True, error_model="numpy")
def _add_energy(begin, end, E, reach, rows, width, system_of, energy):
    for cluster in range(begin, end):
        total = 0.0
        first, last = _adders(reach, cluster)
        for t in range(first, last):
            for lane in range(width):
                total += E[t, cluster * width + lane]
        energy[system_of[cluster]] += total


@njit(cache=True, nogil=True, error_model="numpy")
def _add_atom_energy(begin, end, E, reach, rows, width, atom_energy):
    for cluster in range(begin, end):
        first, last = _adders(reach, cluster)
        for t in range(first, last):
            for k in range(cluster * width, (cluster + 1) * width):
                if rows[k] >= 0:
                    atom_energy[rows[k]] += E[t, k]


def default_width(precision):
    """Atoms of a cluster: in double precision as many as a register holds; in mixed precision half of that, since wider
    clusters waste lanes. At least four."""
    return max(4, register_bits() // 64)


class ClusterDriver:
    """Evaluates one pair function over cluster pairs.

    function : the scalar pair function;  cutoffs (T, T) Å and table (T, T, parameters) over pairs of species
    records : numbers for the function's argument `records`, if it has one
    """

    def __init__(self, function, cutoffs, table, precision="double", width=None, records=()):
        self.function = function
        self.names = list(inspect.signature(function).parameters)[1:]
        self.mixed = precision == "mixed"
        self.real = np.float32 if self.mixed else np.float64
        self.width = width or default_width(precision)
        self.types = len(cutoffs)
        self.cutoff = float(cutoffs.max())
        parameters = table.shape[-1]
        self.row_length = -(-(parameters + 1) // 4) * 4
        rows = np.zeros((self.types, self.types, self.row_length), self.real)   # [species of j, species of i, value]
        rows[..., 0] = cutoffs**2
        rows[..., 1:parameters + 1] = table
        self.table = np.concatenate([rows.ravel(), np.asarray(records, self.real).ravel()])
        self._builder = ClusterBuilder(self.width)
        self.pair = 2 if self.mixed and 2 * self.width <= register_bits() // 32 else 1
        self._prune = specialize(clusters_prune, WIDTH=self.width, MIXED=self.mixed, PAIR=self.pair).prune
        self._kept = np.zeros(0, np.int32)
        self._made, self._made_for = None, lambda: None
        self._looks, self._way, self._pruned = 0, 0.0, None     # evaluations since the rebuild, Å in them; when last pruned
        self._compiled = {}
        self._forces = self._relative = np.zeros(0)
        self._centres = np.zeros((0, 3), np.float32)

    def driver(self, energy):
        if energy not in self._compiled:
            source, self._inputs = generate(self.names, self.width, self.mixed, self.types > 1, energy, self.pair)
            name = f"clusters_{self.function.__name__}"
            self._compiled[energy] = compiled.load(source, {"pair": self.function}, name).compute
        return self._compiled[energy]

    def clusters(self, atoms, neighbors, halo, team=ALONE):
        """The cluster pairs of this rebuild, with the species of each lane if there are several and, in mixed precision, the
        centres.

        Buffers are the driver's: a potential that serves two simulations in turns makes its clusters anew each time.
        """
        if self._made_for() is not neighbors:
            self._forces, self._kept = np.zeros(0), np.zeros(0, np.int32)  # room for the search
            clusters = self._builder.build(neighbors.reference, atoms.n, atoms.system, atoms.n_systems, atoms.tags,
                                           ghost_roles(halo), self.cutoff + neighbors.skin, team)
            if len(atoms.exclusions):
                clusters_exclude.clear(clusters, neighbors.excluded(), atoms.n_all)
            self._together = self._agree(halo, REACH * neighbors.skin)
            self._looks, self._way, self._pruned, self._division = 0, 0.0, None, None
            if self.mixed:
                self._centres = np.empty((clusters.n_clusters, 3), np.float32)
                self._relative = np.empty(len(clusters.packed), np.float32)
                team(_centre, team.cuts(clusters.n_clusters), clusters.packed, self.width, SNAP, self._centres, self._relative)
            kinds = clusters.lanes_of(atoms.species) if self.types > 1 else np.zeros(0, np.int32)
            self._made, self._made_for = (clusters, kinds), weakref.ref(neighbors)  # its arrays go when it goes
        return self._made

    def compute(self, atoms, neighbors, halo, needs, out, inputs=()):
        """Add energy, forces and virial; `inputs` are the per-atom arrays that the function names, in sorted order."""
        team = team_for(atoms.n)
        clusters, kinds = self.clusters(atoms, neighbors, halo, team)
        width, rows, x = self.width, clusters.rows, atoms.positions
        packed = self._relative if self.mixed else clusters.packed
        block_cuts, owned_cuts, ghosts, reach = self._divide(team, clusters)
        self._follow(team, clusters, packed, x, neighbors.skin)
        if self._forces.size < team.size * len(packed):
            self._forces = np.empty(team.size * len(packed))
        forces = self._forces[:team.size * len(packed)].reshape(team.size, len(packed))
        energy = bool(needs & {"energy", "atom_energy"})
        energies = np.empty((team.size, len(rows) if energy else 0))
        team(self.driver(energy), block_cuts, packed, self._centres, clusters.start, self._kept_stop, self._kept,
             clusters.mask_start, clusters.mask_stop, clusters.mask_neighbors, clusters.masks, kinds,
             self.row_length, self.row_length * self.types, self.table,
             *(clusters.lanes_of(values.astype(self.real)) for values in inputs), private=(forces, energies, reach))
        if "forces" in needs:
            team(_unpack, owned_cuts, forces, reach, rows, width, out.forces, private=(ghosts,))
        every = team.cuts(clusters.n_clusters)
        if "virial" in needs:
            team.add_up(_add_virial, every, forces, reach, x, rows, width, clusters.system_of, into=out.virial)
        if "energy" in needs:
            team.add_up(_add_energy, every, energies, reach, rows, width, clusters.system_of, into=out.energy)
        if "atom_energy" in needs:
            team(_add_atom_energy, every, energies, reach, rows, width, out.atom_energy)

    def _divide(self, team, clusters):
        """How threads share the work until the next rebuild, each in the same part of space in all that it does, so that
        what it touches is in its own cache: cuts of blocks and of owned clusters, each thread's clusters of ghosts (threads, 2),
        and where its forces go (threads, 4), see `_find_reach`, with bounds that rise from thread to thread."""
        if self._division is None or self._division[0] is not team:
            owned, every = clusters.n_owned, clusters.n_clusters
            blocks = team.balanced(clusters.start, clusters.stop, max(1, self.width // BLOCK))
            reach = np.array([[0, owned, owned, every]])
            if team.size > 1:
                reach = np.empty((team.size, 4), np.int64)
                team(_find_reach, blocks, clusters.start, clusters.stop, clusters.neighbors, clusters.mask_start,
                     clusters.mask_stop, clusters.mask_neighbors, self.width, owned, every, private=(reach,))
                reach[:, 1::2] = np.maximum.accumulate(reach[:, 1::2])
                reach[:, 2] = np.minimum.accumulate(reach[::-1, 2])[::-1]
            ghosts = owned + team.cuts(every - owned)
            self._division = team, blocks, blocks * BLOCK // self.width, np.column_stack([ghosts[:-1], ghosts[1:]]), reach
        return self._division[1:]

    def _agree(self, halo, ahead):
        """After how many evaluations ranks prune together, by the pace since the rebuild before: left to themselves they would
        take turns at it and wait for each other twice."""
        if halo.comm is None:
            return math.inf
        pace = halo.comm.max(self._way / max(self._looks, 1))
        return max(1, round(ahead / (2.0 * pace))) if pace > 0.0 else math.inf

    def _follow(self, team, clusters, packed, x, skin):
        """Pack the present positions, and prune the list again if that is due."""
        moved2 = np.zeros((team.size, 1))
        block_cuts, owned_cuts, ghosts, _ = self._divide(team, clusters)
        team(_pack, owned_cuts, x, clusters.rows, self.width, self._centres, packed, private=(ghosts, moved2))
        ahead, margin = REACH * skin, 1e-4 if self.mixed else 1e-9      # for the rounding of distances
        step = max(moved2.ravel().tolist()) ** 0.5 + 0.01 * margin      # NumPy takes longer for one number
        self._looks, self._way = self._looks + 1, self._way + step
        if self._pruned is not None:
            looks, way = self._pruned
            if 2.0 * (self._way - way) <= ahead and self._looks - looks < self._together:
                return
        if not len(self._kept):
            self._kept = np.empty(clusters.stop.max(initial=0), np.int32)
        self._kept_stop = np.empty(clusters.n_blocks, clusters.stop.dtype)
        team(self._prune, block_cuts, packed, self._centres, clusters.start, clusters.stop,
             clusters.neighbors, self.cutoff + ahead + margin, self._kept, self._kept_stop)
        self._pruned = self._looks, self._way
