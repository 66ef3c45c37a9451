"""Neighbor lists over owned and ghost atoms: no periodic boundary, no minimum image, any number of systems.

A full list holds every neighbor of every owned atom. A half list holds every pair once over all ranks and images: two
owned atoms under the earlier one; an owned atom and a ghost only if the ghost's integer shift is lexicographically
positive (the same pair seen from the other end has the opposite shift), or, for an atom of another rank at zero
shift, by the parity of the two tags. All of this is decided on integers, so rounding cannot count a pair twice.

A domain of half lists only (``half``) has no ghosts whose pairs are counted at the other end, and of two ranks that see each
other at zero shift the first one has the ghosts.
"""

from engine.neighbors.lists import CSR, Edges, Neighbors

__all__ = ["CSR", "Edges", "Neighbors"]
