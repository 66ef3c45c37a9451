"""Fourier transforms of a mesh, on one rank or over several by pencils: one-dimensional transforms by the library between
transposes (the layout of P3DFFT: D. Pekurovsky, SIAM J. Sci. Comput. 34, C192 (2012)).

A rank holds columns along z, then along y, then along x: each transform is whole where it is made. Ranks stand in a grid
P1 × P2; with a prime number of them P1 = 1 and the columns are slabs. Ranks beyond a mesh's number of columns hold nothing.
What atoms spread on (bricks, which overlap and reach around the mesh) is brought to columns along z and back.
"""

import numpy as np
import scipy.fft

from engine.kernels import team
from potentials.mesh.boxes import Redistribution, shape

EMPTY = [[0, 0]] * 3


def workers():
    """Threads that the library may use: as many as the kernels."""
    return team.threads()


class Alone:
    """Stands for the communicator where a mesh is on one rank only."""

    rank, size = 0, 1


class Whole:
    """One rank holds all of the mesh and all wave numbers (m0, m1, m2), m2 ≥ 0. points (3,) of the mesh."""

    _placed = None

    def __init__(self, points):
        self.points = tuple(int(k) for k in points)
        self._mesh = np.empty(self.points)
        self.waves = [np.arange(self.points[0]), np.arange(self.points[1]), np.arange(self.points[2] // 2 + 1)]

    def place(self, bricks):
        """Where atoms spread: {rank: [[low, high)] × 3} of all ranks that have atoms."""
        (brick,) = bricks.values()
        if brick == self._placed:
            return
        self._placed = brick
        self._fold = Redistribution([brick], [[[0, k] for k in self.points]], self.points, Alone)

    def to_waves(self, brick):
        """Σ_points e^{−2πi m·p/K} brick, at this rank's wave numbers."""
        self._fold.forward(brick, self._mesh)
        return scipy.fft.rfftn(self._mesh, workers=workers())

    def to_brick(self, waves, brick):
        """Fill the brick with Σ_m e^{2πi m·p/K} of all wave numbers; overwrites `waves`."""
        mesh = scipy.fft.irfftn(waves, s=self.points, norm="forward", overwrite_x=True, workers=workers())
        self._fold.back(mesh, brick)


class Pencils:
    """`ranks` of `comm` share the mesh; the others take part in the exchanges with nothing."""

    _placed = None

    def __init__(self, points, ranks, comm):
        self.points, self.comm = tuple(int(k) for k in points), comm
        k0, k1, k2 = self.points
        half = k2 // 2 + 1
        rows, columns = _grid(len(ranks))
        z, y, x = ([EMPTY] * comm.size for _ in range(3))
        for position, rank in enumerate(ranks):
            i, j = divmod(position, columns)
            z[rank] = [_part(k0, rows, i), _part(k1, columns, j), [0, k2]]
            y[rank] = [_part(k0, rows, i), [0, k1], _part(half, columns, j)]
            x[rank] = [[0, k0], _part(k1, rows, i), _part(half, columns, j)]
        spectrum = (k0, k1, half)
        z_waves = [[*box[:2], [0, half] if box[2][1] else [0, 0]] for box in z]
        self._columns = z
        self._zy = Redistribution(z_waves, y, spectrum, comm)
        self._yx = Redistribution(y, x, spectrum, comm)
        mine = comm.rank
        self._z = np.empty(shape(z[mine]))
        self._y = np.empty(shape(y[mine]), complex)
        self._x = np.empty(shape(x[mine]), complex)
        self._zw = np.empty(shape(z_waves[mine]), complex)
        self.waves = [np.arange(low, high) for low, high in x[mine]]

    def place(self, bricks):
        if bricks == self._placed:
            return
        self._placed = bricks
        sources = [bricks.get(rank, EMPTY) for rank in range(self.comm.size)]
        self._gather = Redistribution(sources, self._columns, self.points, self.comm)

    def to_waves(self, brick):
        self._gather.forward(brick, self._z)
        self._zy.forward(_along(scipy.fft.rfft, self._z, 2, self._zw), self._y)
        self._yx.forward(_along(scipy.fft.fft, self._y, 1, self._y), self._x)
        return _along(scipy.fft.fft, self._x, 0, self._x)

    def to_brick(self, waves, brick):
        self._yx.back(_along(scipy.fft.ifft, waves, 0, waves, norm="forward"), self._y)
        self._zy.back(_along(scipy.fft.ifft, self._y, 1, self._y, norm="forward"), self._zw)
        self._gather.back(_along(scipy.fft.irfft, self._zw, 2, self._z, n=self.points[2], norm="forward"), brick)


def _along(function, array, axis, empty, **options):
    """A one-dimensional transform, or `empty` where this rank holds nothing, which the library refuses."""
    return function(array, axis=axis, workers=workers(), **options) if array.size else empty


def _part(points, parts, k):
    """[low, high) of the k-th of `parts` nearly equal parts."""
    return [points * k // parts, points * (k + 1) // parts]


def _grid(ranks):
    """P1 ≤ P2 with P1 · P2 = ranks, as square as possible."""
    rows = next(r for r in range(int(ranks**0.5), 0, -1) if ranks % r == 0)
    return rows, ranks // rows
