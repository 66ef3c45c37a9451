"""Lennard-Jones: u(r) = 4ε[(σ/r)¹² − (σ/r)⁶]  (J. E. Jones, Proc. R. Soc. A 106, 463 (1924)).

At the cutoff r_c: cut; shifted, u − u(r_c); force-shifted, u − u(r_c) − (r − r_c) u'(r_c); or smoothed between `inner`
and r_c by a force that is a cubic polynomial in r, whose value and slope are those of u at `inner` and zero at r_c
(LAMMPS's ``lj/smooth``). Tail corrections take g(r) = 1 beyond the cutoff (Allen and Tildesley, Computer Simulation
of Liquids, eqs. 2.145 and 2.146).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.config.quantities import convert
from engine.errors import InputError
from engine.kernels.simd import select, sqrt
from potentials.pair.parameters import EnergyParameter, LengthParameter, SpeciesPairs


def lennard_jones(r2, epsilon, sigma, shift):
    """Energy and −dE/dr / r at squared distance `r2`."""
    inverse = 1.0 / r2
    s2 = sigma * sigma * inverse
    s6 = s2 * s2 * s2
    return 4.0 * epsilon * s6 * (s6 - 1.0) - shift, 24.0 * epsilon * s6 * (2.0 * s6 - 1.0) * inverse


def lennard_jones_force_shifted(r2, epsilon, sigma, shift, slope):
    """The same with a linear term: E = u(r) − shift − slope·r."""
    s2 = sigma * sigma / r2
    s6 = s2 * s2 * s2
    r = sqrt(r2)
    return 4.0 * epsilon * s6 * (s6 - 1.0) - shift - slope * r, 24.0 * epsilon * s6 * (2.0 * s6 - 1.0) / r2 + slope / r


def lennard_jones_smoothed(r2, epsilon, sigma, shift, inner, e0, f1, f2, f3, f4):
    """The same up to `inner`; beyond it the force is f1 + f2 t + f3 t² + f4 t³, t = r − inner."""
    s2 = sigma * sigma / r2
    s6 = s2 * s2 * s2
    r = sqrt(r2)
    t = r - inner
    skin = e0 - t * (f1 + t * (f2 / 2.0 + t * (f3 / 3.0 + t * f4 / 4.0)))
    force = (f1 + t * (f2 + t * (f3 + t * f4))) / r
    inside = t < 0.0
    return (select(inside, 4.0 * epsilon * s6 * (s6 - 1.0), skin) - shift,
            select(inside, 24.0 * epsilon * s6 * (2.0 * s6 - 1.0) / r2, force))


FUNCTIONS = {
    "cut": lennard_jones, "shifted": lennard_jones, "force-shifted": lennard_jones_force_shifted,
    "smoothed": lennard_jones_smoothed,
}


@dataclass(kw_only=True)
class LennardJones(SpeciesPairs):
    """epsilon in eV, sigma and cutoff in Å: numbers, or { species = value } to be mixed, or under `pairs`.

    truncation : ``cut``, ``shifted``, ``force-shifted`` or ``smoothed`` (from `inner`, Å, to the cutoff)
    mixing : ``lorentz-berthelot`` (σ arithmetic, ε geometric), ``geometric``, or ``sixth-power`` (Waldman and Hagler,
        J. Comput. Chem. 14, 1077 (1993): σ⁶ arithmetic, ε = 2√(ε_a ε_b) σ_a³ σ_b³ / (σ_a⁶ + σ_b⁶))
    tail : add the mean effect of everything beyond the cutoff to energy and virial (with ``cut`` only)
    """

    label = "potential 'lj'"
    UNITS = {"epsilon": "eV", "sigma": "angstrom"}

    epsilon: EnergyParameter = None
    sigma: LengthParameter = None
    truncation: Literal["cut", "shifted", "force-shifted", "smoothed"] = "cut"
    inner: LengthParameter = None
    mixing: Literal["lorentz-berthelot", "geometric", "sixth-power"] = "lorentz-berthelot"
    tail: bool = False

    @property
    def function(self):
        return FUNCTIONS[self.truncation]

    def rules(self):
        geometric = lambda a, b, *_: (a * b) ** 0.5
        arithmetic = lambda a, b, *_: 0.5 * (a + b)
        smaller = lambda a, b, *_: min(a, b)
        if self.mixing != "sixth-power":
            sigma = arithmetic if self.mixing == "lorentz-berthelot" else geometric
            return {"epsilon": geometric, "sigma": sigma, "inner": smaller}
        return {"epsilon": self._sixth_power, "sigma": lambda a, b, *_: (0.5 * (a**6 + b**6)) ** (1 / 6), "inner": smaller}

    def _sixth_power(self, a, b, first, second):
        if not isinstance(self.sigma, dict):
            return (a * b) ** 0.5
        s, t = (float(convert(self.sigma[name], "angstrom")) ** 3 for name in (first, second))
        return 2.0 * (a * b) ** 0.5 * s * t / (s * s + t * t)

    def tables(self, species_names):
        self.UNITS = {**LennardJones.UNITS, **({"inner": "angstrom"} if self.truncation == "smoothed" else {})}
        return super().tables(species_names)

    def check(self, tables, present, cutoffs):
        super().check(tables, present, cutoffs)
        if (tables["sigma"][present] <= 0).any():
            raise InputError(f"{self.label}: sigma is {tables['sigma'][present].min()} Å; it must be positive")
        if self.tail and self.truncation != "cut":
            raise InputError(f"{self.label}: tail corrections go with truncation = 'cut' only, not '{self.truncation}'")
        if self.truncation == "smoothed":
            if not ((0 < tables["inner"]) & (tables["inner"] < cutoffs))[present].all():
                raise InputError(f"{self.label}: 'inner' must lie between 0 and the cutoff")
        elif self.inner is not None:
            raise InputError(f"{self.label}: 'inner' goes with truncation = 'smoothed' only, not '{self.truncation}'")

    def derived(self, tables, present, cutoffs):
        if self.tail:
            self._tail = tail_corrections(tables["epsilon"], tables["sigma"], cutoffs, present)
        return smoothing(tables, present, cutoffs) if self.truncation == "smoothed" \
            else super().derived(tables, present, cutoffs)

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        super().compute(atoms, neighbors, halo, inputs, needs, out)
        if self.tail:
            add_tail(self._tail, atoms, needs, out)


def smoothing(tables, present, cutoffs):
    """The coefficients of the skin for each pair of species, and the shift that makes its end zero."""
    tables = {**tables, **{name: np.zeros_like(cutoffs) for name in ("e0", "f1", "f2", "f3", "f4", "shift")}}
    for a, b in np.argwhere(present):
        inner, epsilon, sigma = (tables[k][a, b] for k in ("inner", "epsilon", "sigma"))
        t = cutoffs[a, b] - inner
        e0, w = lennard_jones(inner * inner, epsilon, sigma, 0.0)
        s6 = (sigma / inner) ** 6
        f1, f2 = w * inner, -24.0 * epsilon * s6 * (26.0 * s6 - 7.0) / inner**2
        f3 = -3.0 / t**2 * (f1 + 2.0 / 3.0 * f2 * t)
        f4 = -(f2 + 2.0 * f3 * t) / (3.0 * t**2)
        shift = e0 - t * (f1 + t * (f2 / 2 + t * (f3 / 3 + t * f4 / 4)))
        for name, value in zip(("e0", "f1", "f2", "f3", "f4", "shift"), (e0, f1, f2, f3, f4, shift)):
            tables[name][a, b] = value
    return tables


def tail_corrections(epsilon, sigma, cutoff, present):
    """Coefficients (2, T, T), eV·Å³: energy = Σ_ab N_a N_b [0, a, b] / V, trace of the virial with [1]."""
    rc = np.where(present, cutoff, 1.0)
    s3 = (sigma / rc) ** 3
    scale = np.where(present, np.pi * epsilon * sigma**3, 0.0)
    return np.stack([scale * (8.0 / 9.0 * s3**3 - 8.0 / 3.0 * s3), scale * (32.0 / 3.0 * s3**3 - 16.0 * s3)])


def add_tail(tail, atoms, needs, out):
    """Each rank adds the share of its own atoms among all atoms of their system."""
    kinds = len(atoms.species_names)
    mine = np.zeros((atoms.n_systems, kinds))
    np.add.at(mine, (atoms.system[: atoms.n], atoms.species[: atoms.n]), 1.0)
    everyone = atoms.comm.sum(mine)
    per_kind = np.einsum("ksa,s->ksa", np.einsum("kab,sb->ksa", tail, everyone), 1.0 / atoms.volume)
    energy, trace = np.einsum("ksa,sa->ks", per_kind, mine)
    if "energy" in needs:
        out.energy += energy
    if "virial" in needs:
        out.virial += (trace / 3.0)[:, None, None] * np.eye(3)
    share = per_kind[:, atoms.system[: atoms.n], atoms.species[: atoms.n]]
    if "atom_energy" in needs:
        out.atom_energy[: atoms.n] += share[0]
    if "atom_virial" in needs:
        out.atom_virial[: atoms.n] += (share[1] / 3.0)[:, None, None] * np.eye(3)
