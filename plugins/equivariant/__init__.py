"""Equivariant learned potentials: data, training, compilation to kernels, running."""
