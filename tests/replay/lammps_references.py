"""LAMMPS's own force-style references: the structures of its unit tests, and what each style gave on them."""

import gzip
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import yaml

from engine.domain.domain import Domain
from engine.forces import Forces
from engine.state import State


@dataclass
class Structure:
    """types (n,) from 1; positions (n, 3); charges (n,); cell (3, 3); factors {(i, j): special-bonds factor}, i < j."""

    types: np.ndarray
    positions: np.ndarray
    charges: np.ndarray
    cell: np.ndarray
    factors: dict


def text(path):
    zipped = path.with_name(path.name + ".gz")
    return gzip.open(zipped, "rt").read() if zipped.exists() else path.read_text()


def plain_file(path, folder):
    """The path itself, or an unpacked copy in `folder`."""
    if path.exists():
        return path
    copy = folder / path.name
    copy.write_text(text(path))
    return copy


def reference(folder, name):
    """Energies, forces (n, 3) and −dE/dε (3, 3), as recorded before the first step."""
    record = yaml.safe_load((folder / "yaml" / f"{name}.yaml").read_text())
    rows = np.array([line.split() for line in record["init_forces"].strip().splitlines()], float)
    xx, yy, zz, xy, xz, yz = map(float, record["init_stress"].split())
    return SimpleNamespace(
        vdwl=record["init_vdwl"], coul=record["init_coul"], forces=rows[np.argsort(rows[:, 0]), 1:],
        virial=np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), style=record["pair_style"].split(),
        coefficients=[line.split() for line in record["pair_coeff"].strip().splitlines()],
    )


SECTIONS = ("Masses", "Atoms", "Velocities", "Bonds", "Angles", "Dihedrals", "Impropers")


def structure(folder, name, factors=(0.10, 0.25, 0.50)):
    """A data file; `factors` scale pairs one, two and three bonds apart."""
    lines = text(folder / "inputs" / name).splitlines()
    box = np.zeros((3, 2))
    sections, current = {}, None
    for line in lines[1:]:
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[-1] in ("xhi", "yhi", "zhi"):
            box["xyz".index(words[-1][0])] = float(words[0]), float(words[1])
        elif words[0].isalpha():
            current = words[0] if len(words) == 1 else None
            sections[current] = []
        elif current:
            sections[current].append(words)
    rows = np.array([words[: 10 if "Bonds" in sections else 8] for words in sections["Atoms"]], float)
    rows = rows[np.argsort(rows[:, 0])]
    full = "Bonds" in sections
    types, x = (rows[:, 2], rows[:, 4:7]) if full else (rows[:, 1], rows[:, 2:5])
    charges = rows[:, 3] if full else np.zeros(len(rows))
    bonds = [(int(w[2]) - 1, int(w[3]) - 1) for w in sections.get("Bonds", [])]
    cell = np.diag(box[:, 1] - box[:, 0])
    return Structure(types.astype(int), x - box[:, 0], charges, cell, special(len(rows), bonds, factors))


def special(n, bonds, factors):
    """{(i, j): factor} for atoms one, two, three bonds apart; the shortest way counts."""
    neighbors = {i: set() for i in range(n)}
    for i, j in bonds:
        neighbors[i].add(j)
        neighbors[j].add(i)
    out = {}
    for i in range(n):
        seen, shell = {i}, {i}
        for factor in factors:
            shell = {k for j in shell for k in neighbors[j]} - seen
            seen |= shell
            out |= {(i, j): factor for j in shell if j > i}
    return out


def run(potential, atoms: Structure, names, exclude=True, charges=None):
    """Energy, forces (n, 3) and virial (3, 3); type t has the species names[t − 1]; special pairs are left out."""
    species = list(dict.fromkeys(names))
    state = State(len(atoms.types), [atoms.cell], [True] * 3, species)
    state.set("positions", atoms.positions)
    state.set("charges", atoms.charges if charges is None else charges)
    state.set("tags", np.arange(state.n))
    state.set("species", [species.index(names[t - 1]) for t in atoms.types])
    if exclude and atoms.factors:
        state.exclusions = np.array(sorted(atoms.factors), np.int64)
    potential.bind(species)
    out = Forces(state, Domain(state, potential.capabilities().cutoff, 0.8), {"p": potential})(
        frozenset({"energy", "forces", "virial"}))
    order = np.argsort(state.tags[: state.n])
    return SimpleNamespace(energy=out.energy[0], forces=out.forces[: state.n][order], virial=out.virial[0].copy())


def add_special(result, atoms: Structure, energy_and_force):
    """Add scaled special pairs: `energy_and_force(i, j, factor, r2)` gives u and −u'/r of the nearest image."""
    for (i, j), factor in atoms.factors.items():
        d = atoms.positions[i] - atoms.positions[j]
        d -= np.rint(d / np.diag(atoms.cell)) * np.diag(atoms.cell)
        u, w = energy_and_force(i, j, factor, d @ d)
        result.energy += u
        result.forces[i] += w * d
        result.forces[j] -= w * d
        result.virial += w * np.outer(d, d)
    return result
