"""Files of embedded-atom potentials: funcfl (one element), setfl (alloys) and its Finnis–Sinclair form.

Formats as documented with LAMMPS's ``pair_style eam``:

funcfl  comment | Z mass a lattice | nrho drho nr dr cutoff | F(ρ) eV | Z(r) √(Hartree·Bohr) | ρ(r)
setfl   3 comments | N names | nrho drho nr dr cutoff | for each element: Z mass a lattice, F, ρ (or N of them in the
        Finnis–Sinclair form) | for each pair i ≥ j: r φ(r), eV·Å

funcfl files are mixed as the field does: φ_ab = 27.2 · 0.529 Z_a Z_b / r, all functions brought to the coarsest spacing
and the longest range among the files by four-point Lagrange interpolation.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import InputError
from potentials.eam.tables import Tables

HARTREE_BOHR = 27.2 * 0.529  # eV·Å, the rounded value that these files were fitted with


def read_lines(path, label):
    """Lines of a text file, gzipped or not."""
    path = Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", errors="strict") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        raise InputError(f"{label}: file {path} does not exist") from None
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{label}: file {path} cannot be read: {str(error).splitlines()[0]}") from None


class Words:
    """The numbers of a file after its header, read in order, with errors that say what was being read."""

    def __init__(self, lines, path, label):
        self.words = " ".join(lines).split()
        self.at, self.path, self.label = 0, path, label

    def take(self, count, what):
        part = self.words[self.at : self.at + count]
        if len(part) < count:
            raise InputError(f"{self.label}: {self.path} ends before {what}: {count} numbers expected, {len(part)} found")
        self.at += count
        return part

    def numbers(self, count, what):
        try:
            out = np.array([word.replace("D", "E").replace("d", "e") for word in self.take(count, what)], float)
        except ValueError as error:
            raise InputError(f"{self.label}: {self.path}: {what} is not all numbers: {error}") from None
        if not np.isfinite(out).all():
            raise InputError(f"{self.label}: {self.path}: {what} holds a value that is not a finite number")
        return out


def _grid(words, where):
    """nrho, drho, nr, dr, cutoff, checked."""
    try:
        n_rho, n_r = int(words[0]), int(words[2])
        d_rho, d_r, cutoff = (float(words[k]) for k in (1, 3, 4))
    except (ValueError, IndexError):
        raise InputError(f"{where}: the grid line must be 'nrho drho nr dr cutoff', not '{' '.join(words)[:60]}'") from None
    if n_rho < 6 or n_r < 6 or not (d_rho > 0 and d_r > 0 and cutoff > 0) or max(n_rho, n_r) > 10**7:
        raise InputError(f"{where}: the grid line '{' '.join(words)[:60]}' must hold counts above 5 and positive spacings")
    return n_rho, d_rho, n_r, d_r, cutoff


def read_setfl(path, label, finnis_sinclair=False) -> Tables:
    lines = read_lines(path, label)
    if len(lines) < 6:
        raise InputError(f"{label}: {path} has {len(lines)} lines, too few for a setfl file")
    names = lines[3].split()
    if not names or not names[0].isdigit() or len(names) - 1 != int(names[0]):
        raise InputError(f"{label}: line 4 of {path} must be the number of elements and their names, not '{lines[3][:60]}'")
    species = names[1:]
    n_rho, d_rho, n_r, d_r, cutoff = _grid(lines[4].split(), f"{label}: line 5 of {path}")
    words, T = Words(lines[5:], path, label), len(species)
    embedding, density, rphi = np.empty((T, n_rho)), np.empty((T, T, n_r)), np.empty((T, T, n_r))
    for a, name in enumerate(species):
        words.take(4, f"the line of element {name}")
        embedding[a] = words.numbers(n_rho, f"the embedding function of {name}")
        for b, other in enumerate(species if finnis_sinclair else ["any element"]):
            values = words.numbers(n_r, f"the density of {name} at {other}")
            if finnis_sinclair:
                density[b, a] = values  # what a gives to b
            else:
                density[:, a] = values
    for a in range(T):
        for b in range(a + 1):
            rphi[a, b] = rphi[b, a] = words.numbers(n_r, f"the pair function of {species[a]} and {species[b]}")
    rest = len(words.words) - words.at
    if rest:
        raise InputError(f"{label}: {path} goes on for {rest} numbers after its last table: is it of another format "
                         "(eam/alloy, eam/fs, eam/funcfl)?")
    return Tables(species, d_rho, d_r, cutoff, embedding, density, rphi)


@dataclass
class Funcfl:
    """One element: F (n_rho,) eV; Z (n_r,); ρ (n_r,); Å."""

    atomic_number: int
    d_rho: float
    d_r: float
    cutoff: float
    embedding: np.ndarray
    charge: np.ndarray
    density: np.ndarray


def read_funcfl(path, label) -> Funcfl:
    lines = read_lines(path, label)
    if len(lines) < 4:
        raise InputError(f"{label}: {path} has {len(lines)} lines, too few for a funcfl file")
    try:
        z = int(lines[1].split()[0])
    except (ValueError, IndexError):
        raise InputError(f"{label}: line 2 of {path} must begin with an atomic number, not '{lines[1][:60]}'") from None
    n_rho, d_rho, n_r, d_r, cutoff = _grid(lines[2].split(), f"{label}: line 3 of {path}")
    words = Words(lines[3:], path, label)
    return Funcfl(z, d_rho, d_r, cutoff, words.numbers(n_rho, "the embedding function"),
                  words.numbers(n_r, "the effective charge"), words.numbers(n_r, "the density"))


def _regrid(values, spacing, points, new_spacing):
    """Values on another uniform grid by four-point Lagrange interpolation."""
    at = np.arange(points) * new_spacing / spacing
    k = np.clip(at.astype(int), 1, len(values) - 3)
    p = np.minimum(at - k, 2.0)
    return (-p * (p - 1) * (p - 2) / 6 * values[k - 1] + (p * p - 1) * (p - 2) / 2 * values[k]
            - p * (p + 1) * (p - 2) / 2 * values[k + 1] + p * (p * p - 1) / 6 * values[k + 2])


def mix_funcfl(species, files) -> Tables:
    """Tables of several single-element files."""
    d_rho, d_r = max(f.d_rho for f in files), max(f.d_r for f in files)
    n_rho = int(max((len(f.embedding) - 1) * f.d_rho for f in files) / d_rho + 0.5)
    n_r = int(max((len(f.charge) - 1) * f.d_r for f in files) / d_r + 0.5)
    charge = np.array([_regrid(f.charge, f.d_r, n_r, d_r) for f in files])
    density = np.array([_regrid(f.density, f.d_r, n_r, d_r) for f in files])
    return Tables(
        list(species), d_rho, d_r, max(f.cutoff for f in files),
        np.array([_regrid(f.embedding, f.d_rho, n_rho, d_rho) for f in files]),
        np.repeat(density[None], len(files), 0), HARTREE_BOHR * charge[:, None] * charge[None],
    )
