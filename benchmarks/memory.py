"""Bytes per atom of a Lennard-Jones melt: the slope of peak resident memory between two sizes."""
import tempfile
from pathlib import Path

from benchmarks import matter
from benchmarks.race import Row, start_lammps, start_ours


def run(quick, say):
    thing, cores = matter.lennard_jones(), [0]
    peaks = {"lammps": [], "ours": []}
    sizes = (20, 40) if quick else (40, 63)
    with tempfile.TemporaryDirectory() as folder:
        for cells in sizes:
            path = Path(folder) / f"{cells}.npz"
            theirs, version = start_lammps(thing, cells, cores, thing.styles[0], thing.skin, True)
            theirs("run", steps=60)
            peaks["lammps"].append(theirs("memory")["peak_kB"])
            theirs("save", path=str(path))
            theirs.close()
            ours = start_ours(thing, path, cores, "double", thing.skin, True)
            ours("run", steps=60)
            peaks["ours"].append(ours("memory")["peak_kB"])
            ours.close()
    atoms = [4 * cells**3 for cells in sizes]
    slope = {name: 1024 * (b - a) / (atoms[1] - atoms[0]) for name, (a, b) in peaks.items()}
    ratio = slope["lammps"] / slope["ours"]
    row = Row("memory per atom, Lennard-Jones", atoms[1], 1, "double", "forced", f"LAMMPS {version} {thing.styles[0]}",
              slope["ours"], slope["lammps"], "B", ratio, (ratio, ratio), 0.0, 1.0, f"slope from {atoms[0]} atoms")
    say(row)
    return [row]
