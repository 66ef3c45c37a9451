"""Numba kernels for strictly local models, generated from a description: no torch is needed to run them.

``weights`` folds and packs a model's numbers, ``plan`` lays out matrices and buffers, ``matrices`` writes the small
matrix products, ``geometry`` and ``tensors`` what is made of directions, ``passes`` the order of calls, ``response`` a
field, ``latent`` latent charges, ``source`` the whole text, ``run`` compiles and calls it.
"""
