"""Numba kernels for strictly local models, generated from a description: no torch is needed to run them.

``weights`` folds and packs a model's numbers, ``plan`` lays out matrices and buffers, ``matrices`` writes the small
matrix products, ``harmonics`` the geometry, ``source`` the whole kernel, ``run`` compiles and calls it.
"""
