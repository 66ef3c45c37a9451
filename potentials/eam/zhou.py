"""The analytic embedded-atom potentials of sixteen metals and their alloys.

X. W. Zhou, R. A. Johnson and H. N. G. Wadley, Phys. Rev. B 69, 144113 (2004):

    φ(r) = A e^{−α(x−1)} / (1 + (x−κ)^20) − B e^{−β(x−1)} / (1 + (x−λ)^20),   x = r/re        (eq. 1)
    f(r) = fe e^{−β(x−1)} / (1 + (x−λ)^20)                                                   (eq. 4)
    F(ρ) = Σ Fn_k (ρ/ρn − 1)^k  for ρ < ρn,  Σ F_k (ρ/ρe − 1)^k  for ρn ≤ ρ < ρ0,
           Fe (1 − η ln(ρ/ρs)) (ρ/ρs)^η  for ρ ≥ ρ0                                          (eqs. 6–8)
    φ_ab = ½ (f_b/f_a φ_aa + f_a/f_b φ_bb)                                                   (eq. 5)

| equation | name here | | equation | name here |
|---|---|---|---|---|
| re, fe | ``re``, ``fe`` | | Fn_k | ``Fn`` |
| ρe, ρs | ``rho_e``, ``rho_s`` | | F_k | ``F`` |
| α, β, A, B | ``alpha``, ``beta``, ``A``, ``B`` | | η, Fe | ``eta``, ``Fe`` |
| κ, λ | ``kappa``, ``lam`` | | ρn/ρe, ρ0/ρe | ``low``, ``high`` (0.85, 1.15) |

The functions are put on a grid and interpolated as files of this kind are; the analytic functions are here too, and
the tests show that the tables converge to them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.config.quantities import Length
from engine.errors import InputError, nearest
from potentials.eam.eam import EmbeddedAtom
from potentials.eam.tables import Tables


class Metal(NamedTuple):
    re: float
    fe: float
    rho_e: float
    rho_s: float
    alpha: float
    beta: float
    A: float
    B: float
    kappa: float
    lam: float
    Fn: tuple[float, float, float, float]
    F: tuple[float, float, float, float]
    eta: float
    Fe: float
    low: float = 0.85
    high: float = 1.15


METALS = {
    "Cu": Metal(
        2.556162, 1.554485, 21.175871, 21.175395, 8.12762, 4.334731, 0.39662, 0.548085, 0.308782, 0.756515,
        (-2.170269, -0.263788, 1.088878, -0.817603), (-2.19, 0.0, 0.56183, -2.100595), 0.31049, -2.186568,
    ),
    "Ag": Metal(
        2.891814, 1.106232, 14.6041, 14.604144, 9.13201, 4.870405, 0.277758, 0.419611, 0.33971, 0.750758,
        (-1.729364, -0.255882, 0.91205, -0.561432), (-1.75, 0.0, 0.744561, -1.15065), 0.783924, -1.748423,
    ),
    "Au": Metal(
        2.885034, 1.529021, 19.991632, 19.991509, 9.516052, 5.075228, 0.229762, 0.356666, 0.35657, 0.748798,
        (-2.937772, -0.500288, 1.601954, -0.83553), (-2.98, 0.0, 1.706587, -1.134778), 1.021095, -2.978815,
    ),
    "Ni": Metal(
        2.488746, 2.007018, 27.562015, 27.562031, 8.383453, 4.471175, 0.429046, 0.633531, 0.443599, 0.820658,
        (-2.693513, -0.076445, 0.241442, -2.375626), (-2.7, 0.0, 0.26539, -0.152856), 0.44547, -2.7,
    ),
    "Pd": Metal(
        2.750897, 1.595417, 21.335246, 21.940073, 8.697397, 4.638612, 0.406763, 0.59888, 0.397263, 0.754799,
        (-2.321006, -0.473983, 1.615343, -0.231681), (-2.36, 0.0, 1.481742, -1.675615), 1.13, -2.352753,
    ),
    "Pt": Metal(
        2.771916, 2.336509, 33.367564, 35.205357, 7.105782, 3.78975, 0.556398, 0.696037, 0.385255, 0.77051,
        (-1.455568, -2.149952, 0.528491, 1.222875), (-4.17, 0.0, 3.010561, -2.420128), 1.45, -4.145597, 0.25, 1.15,
    ),
    "Al": Metal(
        2.863924, 1.403115, 20.418205, 23.19574, 6.613165, 3.527021, 0.314873, 0.365551, 0.379846, 0.759692,
        (-2.807602, -0.301435, 1.258562, -1.247604), (-2.83, 0.0, 0.622245, -2.488244), 0.785902, -2.824528,
    ),
    "Pb": Metal(
        3.499723, 0.647872, 8.450154, 8.450063, 9.121799, 5.212457, 0.161219, 0.236884, 0.250805, 0.764955,
        (-1.42237, -0.210107, 0.682886, -0.529378), (-1.44, 0.0, 0.702726, -0.538766), 0.93538, -1.439436,
    ),
    "Fe": Metal(
        2.481987, 1.885957, 20.041463, 20.041463, 9.81827, 5.236411, 0.392811, 0.646243, 0.170306, 0.340613,
        (-2.534992, -0.059605, 0.193065, -2.282322), (-2.54, 0.0, 0.200269, -0.14877), 0.39175, -2.539945,
    ),
    "Mo": Metal(
        2.7281, 2.72371, 29.354065, 29.354065, 8.393531, 4.47655, 0.708787, 1.120373, 0.13764, 0.27528,
        (-3.692913, -0.178812, 0.38045, -3.13365), (-3.71, 0.0, 0.875874, 0.776222), 0.790879, -3.712093,
    ),
    "Ta": Metal(
        2.860082, 3.086341, 33.787168, 33.787168, 8.489528, 4.527748, 0.611679, 1.032101, 0.176977, 0.353954,
        (-5.103845, -0.405524, 1.112997, -3.585325), (-5.14, 0.0, 1.640098, 0.221375), 0.848843, -5.141526,
    ),
    "W": Metal(
        2.74084, 3.48734, 37.234847, 37.234847, 8.900114, 4.746728, 0.882435, 1.394592, 0.139209, 0.278417,
        (-4.946281, -0.148818, 0.365057, -4.432406), (-4.96, 0.0, 0.661935, 0.348147), 0.582714, -4.961306,
    ),
    "Mg": Metal(
        3.196291, 0.544323, 7.1326, 7.1326, 10.228708, 5.455311, 0.137518, 0.22593, 0.5, 1.0,
        (-0.896473, -0.044291, 0.162232, -0.68995), (-0.9, 0.0, 0.122838, -0.22601), 0.431425, -0.899702,
    ),
    "Co": Metal(
        2.505979, 1.975299, 27.206789, 27.206789, 8.679625, 4.629134, 0.421378, 0.640107, 0.5, 1.0,
        (-2.541799, -0.219415, 0.733381, -1.589003), (-2.56, 0.0, 0.705845, -0.68714), 0.694608, -2.559307,
    ),
    "Ti": Metal(
        2.933872, 1.8632, 25.565138, 25.565138, 8.775431, 4.68023, 0.373601, 0.570968, 0.5, 1.0,
        (-3.203773, -0.198262, 0.683779, -2.321732), (-3.22, 0.0, 0.608587, -0.75071), 0.558572, -3.219176,
    ),
    "Zr": Metal(
        3.199978, 2.230909, 30.879991, 30.879991, 8.55919, 4.564902, 0.424667, 0.640054, 0.5, 1.0,
        (-4.485793, -0.293129, 0.990148, -3.202516), (-4.51, 0.0, 0.928602, -0.98187), 0.597133, -4.509025,
    ),
}


def density(metal: Metal, r):
    """f(r), eq. 4."""
    x = r / metal.re
    return metal.fe * np.exp(-metal.beta * (x - 1)) / (1 + (x - metal.lam) ** 20)


def pair(metal: Metal, r):
    """φ(r) in eV, eq. 1."""
    x = r / metal.re
    repulsion = metal.A * np.exp(-metal.alpha * (x - 1)) / (1 + (x - metal.kappa) ** 20)
    return repulsion - metal.B * np.exp(-metal.beta * (x - 1)) / (1 + (x - metal.lam) ** 20)


def pair_alloy(a: Metal, b: Metal, r):
    """φ_ab(r) in eV, eq. 5."""
    if a is b:
        return pair(a, r)
    fa, fb = density(a, r), density(b, r)
    return 0.5 * (fb / fa * pair(a, r) + fa / fb * pair(b, r))


def embedding(metal: Metal, rho):
    """F(ρ) in eV, eqs. 6–8."""
    rho = np.asarray(rho, float)
    rho_n, rho_0 = metal.low * metal.rho_e, metal.high * metal.rho_e
    low = np.polynomial.polynomial.polyval(rho / rho_n - 1, metal.Fn)
    middle = np.polynomial.polynomial.polyval(rho / metal.rho_e - 1, metal.F)
    ratio = np.maximum(rho, rho_n) / metal.rho_s
    high = metal.Fe * (1 - metal.eta * np.log(ratio)) * ratio**metal.eta
    return np.where(rho < rho_n, low, np.where(rho < rho_0, middle, high))


@dataclass
class ZhouEAM(EmbeddedAtom):
    """Copper, silver, gold, nickel, palladium, platinum, aluminium, lead, iron, molybdenum, tantalum, tungsten,
    magnesium, cobalt, titanium, zirconium, and any mixture of them.

    cutoff : Å; by default √10/2 times the largest fcc lattice constant √2·re, as in the published tables
    points : grid points of each table
    """

    cutoff: Length | None = None
    points: int = 4000

    @property
    def label(self):
        return "potential 'eam/zhou'"

    def tables(self, species_names):
        for name in species_names:
            if name not in METALS:
                raise InputError(
                    f"{self.label}: no parameters for '{name}'{nearest(name, METALS)}; it has {', '.join(METALS)}"
                )
        metals = [METALS[name] for name in species_names]
        cutoff = self.cutoff or np.sqrt(10) / 2 * np.sqrt(2) * max(m.re for m in metals)
        d_r = cutoff / (self.points - 1)
        r = np.arange(self.points) * d_r
        r_safe = np.maximum(r, 0.5)  # nothing is ever closer; φ of the mixtures overflows at zero
        rho_max = 2.0 * max(m.rho_e for m in metals)
        rho_max = max(rho_max, 2.0 * max(12 * density(m, m.re) for m in metals))
        d_rho = rho_max / (self.points - 1)
        return Tables(
            list(species_names), d_rho, d_r, float(cutoff),
            np.array([embedding(m, np.arange(self.points) * d_rho) for m in metals]),
            np.array([[density(b, r_safe) for b in metals] for _ in metals]),
            np.array([[r * pair_alloy(a, b, r_safe) for b in metals] for a in metals]),
        )
