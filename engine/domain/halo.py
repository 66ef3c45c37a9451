"""The halo: ghosts filled from their owners, and contributions to ghosts added back to them.

`forward` and `reverse` are linear and each other's transpose, for any per-atom array, so that derivatives of any
order through an exchange are the same two calls.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _positions(positions, n, owner, shift, system, cells):
    for g in range(owner.shape[0]):
        i = owner[g]
        h = cells[system[i]]
        for d in range(3):
            positions[n + g, d] = (
                positions[i, d] + shift[g, 0] * h[0, d] + shift[g, 1] * h[1, d] + shift[g, 2] * h[2, d]
            )


@njit(cache=True)
def _forward(array, n, owner):
    for g in range(owner.shape[0]):
        array[n + g] = array[owner[g]]


@njit(cache=True)
def _reverse(array, n, owner):
    for g in range(owner.shape[0]):
        array[owner[g]] += array[n + g]


class Halo:
    """A fixed exchange plan between two rebuilds.

    owner (g,): row of each ghost's owner; shift (g, 3): its image, so that x_ghost = x_owner + shift @ cell.
    """

    def __init__(self, n, owner, shift):
        self.n = n
        self.owner = owner
        self.shift = shift

    @property
    def local(self):
        """Are all ghosts images of this rank's own atoms?"""
        return True

    def forward_positions(self, state):
        """Bring ghost positions up to date with their owners and the present cells."""
        _positions(state.positions, self.n, self.owner, self.shift, state.system, state.cells)

    def forward(self, array):
        """Fill the ghost rows of `array` (n_all, ...) with their owners' rows."""
        _forward(array.reshape(len(array), -1), self.n, self.owner)

    def reverse(self, array):
        """Add the ghost rows of `array` (n_all, ...) to their owners' rows."""
        _reverse(array.reshape(len(array), -1), self.n, self.owner)


def positive(shift):
    """Is an integer shift (…, 3) lexicographically positive, z first? Of a pair's two images exactly one is."""
    x, y, z = shift[..., 0], shift[..., 1], shift[..., 2]
    return (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))


def counted(shift, tags_centre, tags_ghost):
    """Does the half list keep the pair (owned centre, ghost)? Rule in ``engine.neighbors``."""
    same = ~shift.any(-1)
    parity = (tags_centre + tags_ghost) % 2 == 0
    return np.where(same, parity == (tags_centre < tags_ghost), positive(shift))
