"""Lattice dynamics files of other programs, crystal symmetry, force-constant fits, and the SCHA stage."""
