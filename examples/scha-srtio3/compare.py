"""SCHA frequencies beside the published auxiliary ones:   python compare.py equilibrium.h5 [start.h5]"""

import sys

import numpy as np

from integrators.gaussian.lattice import Lattice

found, published = Lattice.load(sys.argv[1]), Lattice.load(sys.argv[2] if len(sys.argv) > 2 else "start.h5").sum_rule()
ours, theirs = found.frequencies(), published.frequencies()
print("ours, published, 1/cm:")
for row in np.array_split(np.arange(len(ours)), 10):
    print("  " + "   ".join(f"{ours[k]:6.1f} {theirs[k]:6.1f}" for k in row))
hard = theirs >= 80
print(f"largest difference: {100 * np.abs(ours / theirs - 1)[hard].max():.2f} % from 80 1/cm on,"
      f" {np.abs(ours - theirs)[~hard].max():.2f} 1/cm below")
print(f"centroids differ by up to {np.abs(found.positions - published.positions).max():.4f} Å")
