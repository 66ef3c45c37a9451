"""Lattice sums on a mesh: smooth particle-mesh Ewald, for Coulomb's 1/r and for dispersion's 1/r⁶, over any ranks."""
