"""Infrared-active modes of a crystal at Γ, with a trained model: relax, displace, list.

    python phonons.py quartz.extxyz --model model
"""

import argparse

import numpy as np
from ase.io import read
from static import relaxed

from plugins.dielectric.modes import modes
from plugins.dielectric.potential import Dielectric

#: cm⁻¹ and (D/Å)²/u where known, of density-functional perturbation theory (arXiv 2403.17207)
PUBLISHED = {348.5: 4.81, 375.0: 2.79, 421.2: 8.57, 462.8: 9.25, 751.5: None, 767.1: 3.48, 1041.5: 42.2, 1048.3: 44.5}


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("structure")
    p.add_argument("--model", default="model")
    p.add_argument("--force", type=float, default=1e-3)
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--weakest", type=float, default=0.02, help="intensity, as a fraction of the largest, that is listed")
    p.add_argument("--save", help="file for the modes (.npz), which kind = \"mode-spectrum\" reads")
    given = p.parse_args(arguments)
    atoms, potential = read(given.structure), Dielectric(given.model)
    found = modes(relaxed(atoms, potential, np.zeros(3), given.force, given.steps).atoms(), potential)
    if given.save:
        found.save(given.save)
    intensity = found.intensities()
    lines, k = [], 0
    while k < len(intensity):  # degenerate modes are one line
        same = np.flatnonzero(np.abs(found.frequencies - found.frequencies[k]) < 2.0)
        same = same[same >= k]
        lines.append((found.frequencies[same].mean(), intensity[same].sum()))
        k = same[-1] + 1
    strongest = max(i for _, i in lines)
    for frequency, i in lines:
        if i > given.weakest * strongest:
            near = min(PUBLISHED, key=lambda f: abs(f - frequency))
            print(f"{frequency:8.1f} 1/cm  {i / strongest:6.3f}   nearest published {near} ({PUBLISHED[near]})")
    print("ε(0), harmonic:", np.round(np.diag(found.static()), 3))
    return lines, found


if __name__ == "__main__":
    main()
