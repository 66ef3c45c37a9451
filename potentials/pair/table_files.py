"""Files of pair tables in LAMMPS's format: sections ``KEYWORD``, ``N n [R low high | RSQ low high]``, then index r u f."""

from dataclasses import dataclass

import numpy as np

from engine.errors import InputError, nearest
from potentials.eam.files import read_lines


@dataclass
class Section:
    """r (n,) Å, increasing; u (n,) eV; f (n,) eV/Å = −du/dr."""

    r: np.ndarray
    u: np.ndarray
    f: np.ndarray


def read_section(path, label, name=None) -> Section:
    """The section called `name`, or the only one."""
    lines = [line.split("#")[0].split() for line in read_lines(path, label)]
    lines = [words for words in lines if words]
    starts = [k for k, words in enumerate(lines[1:], 1) if words[0] == "N" and len(lines[k - 1]) == 1]
    names = [lines[k - 1][0] for k in starts]
    if not names:
        raise InputError(f"{label}: {path} has no section (a line with a keyword, then a line 'N number ...')")
    if name is None and len(names) > 1:
        raise InputError(f"{label}: {path} has several sections ({', '.join(names)}): say which pairs take which, in `pairs`")
    if name is not None and name not in names:
        raise InputError(f"{label}: {path} has no section '{name}'{nearest(name, names)}; it has: {', '.join(names)}")
    start = starts[names.index(name) if name is not None else 0]
    where = f"{label}: {path}, section {lines[start - 1][0]}"
    n, spacing = _header(lines[start], where)
    rows = lines[start + 1 : start + 1 + n]
    try:
        table = np.array([row[1:4] for row in rows], float)
    except ValueError as error:
        raise InputError(f"{where}: every row must be 'index r energy force': {error}") from None
    if table.shape != (n, 3):
        raise InputError(f"{where}: {n} rows 'index r energy force' were announced, {len(table)} found")
    r, u, f = table.T
    if spacing is not None:
        kind, low, high = spacing
        r = np.linspace(low, high, n) if kind == "R" else np.sqrt(np.linspace(low**2, high**2, n))
    if not np.isfinite(table).all() or not (np.diff(r) > 0).all() or r[0] <= 0:
        raise InputError(f"{where}: distances must be positive and increase, and all numbers be finite")
    return Section(r, u, f)


def _header(words, where):
    """Number of rows, and (kind, low, high) if the header gives the distances."""
    try:
        n, spacing, rest = int(words[1]), None, words[2:]
        while rest:
            if rest[0] in ("R", "RSQ"):
                spacing, rest = (rest[0], float(rest[1]), float(rest[2])), rest[3:]
            elif rest[0] == "FPRIME":  # slopes of the force at the ends, which follow from the energies here
                rest = rest[3:]
            else:
                raise InputError(f"{where}: '{rest[0]}' in its N line is not supported (R, RSQ and FPRIME are)")
    except (ValueError, IndexError):
        raise InputError(f"{where}: its N line '{' '.join(words)}' cannot be read") from None
    if n < 4:
        raise InputError(f"{where}: {n} rows are too few; there must be at least 4")
    return n, spacing
