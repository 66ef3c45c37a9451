"""Quantum ESPRESSO's lattice-dynamics text files: `dyn` (read, write) and the charges in a `ph.x` output.

`dyn` files are in Rydberg atomic units (force constants Ry/bohr², masses in units of 2 mₑ), lengths in
alat, wave vectors in 2π/alat. One file holds one star of q; D(q) = Σ_R Φ(0, R) exp(−iq·R) with R lattice vectors, so
that Φ(R_i, R_j) = (1/N) Σ_q D(q) exp(iq·(R_i − R_j)).
"""

import gzip
import re
from itertools import product
from pathlib import Path

import numpy as np

from engine.errors import InputError
from integrators.gaussian.lattice import Lattice

RYDBERG = 13.605693122994  # eV
BOHR = 0.529177210903  # Å
AMU = 1822.888486209 / 2.0  # one u in Rydberg mass units
CURVATURE = RYDBERG / BOHR**2  # one Ry/bohr² in eV/Å²


def _lines(path):
    path = Path(path)
    try:
        text = gzip.open(path, "rt").read() if path.suffix == ".gz" else path.read_text()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return text.splitlines()


def _floats(line):
    return [float(x) for x in re.findall(r"[-+]?\d*\.\d+(?:[EeDd][-+]?\d+)?|[-+]?\d+", line.replace("D", "E"))]


def bravais(path, ibrav, celldm):
    """Lattice vectors in units of alat for Quantum ESPRESSO's `ibrav`; celldm = celldm(2 ... 6)."""
    b, c, cos = celldm[0], celldm[1], celldm[2]
    tx, ty, tz = (abs(x) ** 0.5 for x in ((1 - cos) / 2, (1 - cos) / 6, (1 + 2 * cos) / 3))
    known = {
        1: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        2: [[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]],
        3: [[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]],
        4: [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, c]],
        5: [[tx, -ty, tz], [0, 2 * ty, tz], [-tx, -ty, tz]],
        6: [[1, 0, 0], [0, 1, 0], [0, 0, c]],
        7: [[0.5, -0.5, c / 2], [0.5, 0.5, c / 2], [-0.5, -0.5, c / 2]],
        8: [[1, 0, 0], [0, b, 0], [0, 0, c]],
        12: [[1, 0, 0], [b * cos, b * (1 - cos * cos) ** 0.5 if abs(cos) <= 1 else 0, 0], [0, 0, c]],
    }
    if ibrav not in known:
        raise InputError(f"{path}: ibrav = {ibrav} is not known; allowed: 0 (vectors in the file), {', '.join(map(str, known))}")
    return np.array(known[ibrav], float)


def read_star(path):
    """One file: header (dict) and {q (3 floats, 1/Å without 2π): D (3n, 3n) complex eV/Å²}."""
    lines = _lines(path)
    try:
        head = lines[2].split()
        ntypes, n, ibrav = int(head[0]), int(head[1]), int(head[2])
        celldm = [float(x) for x in head[3:9]]
        alat = celldm[0] * BOHR
        row = 3
        if ibrav == 0:
            row += 1
            cell = np.array([_floats(lines[row + k]) for k in range(3)]) * alat
            row += 3
        else:
            cell = bravais(path, ibrav, celldm[1:]) * alat
        types = {}
        for k in range(ntypes):
            label = re.search(r"'(.*?)'", lines[row + k]).group(1).strip()
            types[k + 1] = (label, float(lines[row + k].split("'")[2]) / AMU)
        row += ntypes
        atoms = [lines[row + k].split() for k in range(n)]
        kinds = [types[int(a[1])] for a in atoms]
        head = {
            "cell": cell,
            "symbols": [re.match(r"[A-Z][a-z]?", k[0]).group(0) for k in kinds],
            "masses": np.array([k[1] for k in kinds]),
            "positions": np.array([[float(x) for x in a[2:5]] for a in atoms]) * alat,
        }
        row += n
        matrices = {}
        while row < len(lines) and "Diagonalizing" not in lines[row]:
            if "q = (" in lines[row]:
                q = tuple(np.array(_floats(lines[row])[:3]) / alat)
                row += 2
                D = np.zeros((n, 3, n, 3), complex)
                for _ in range(n * n):
                    a, b = (int(x) - 1 for x in lines[row].split())
                    for k in range(3):
                        v = _floats(lines[row + 1 + k])
                        D[a, k, b] = np.array(v[0::2]) + 1j * np.array(v[1::2])
                    row += 4
                matrices[q] = D.reshape(3 * n, 3 * n) * CURVATURE
            elif "Dielectric Tensor" in lines[row]:
                head["dielectric"] = np.array([_floats(lines[row + 2 + k]) for k in range(3)])
                row += 1
            elif "Effective Charges" in lines[row]:
                row += 2  # blank, then "atom # 1", three rows, ...
                born = []
                for _ in range(n):
                    born.append([_floats(lines[row + 1 + k]) for k in range(3)])
                    row += 4
                head["born"] = np.array(born)
            else:
                row += 1
    except (IndexError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a Quantum ESPRESSO dyn file, or cut short ({error})") from error
    if not matrices:
        raise InputError(f"{path}: no dynamical matrix in it")
    return head, matrices


def read_dyn(files):
    """A `Lattice` (the supercell commensurate with the wave vectors) from the dyn files of all stars.

    `files` is a list of paths, or one path. Atoms are ordered cell by cell as the primitive cell's are.
    """
    files = [files] if isinstance(files, str | Path) else list(files)
    matrices, head = {}, None
    for path in files:
        h, m = read_star(path)
        head = h if head is None or ("born" in h and "born" not in head) else head
        matrices |= m
    n = len(head["positions"])
    fractional = {tuple(np.round(np.array(q) @ head["cell"].T, 5) % 1.0): D for q, D in matrices.items()}
    whole = lambda x: abs(x - round(x)) < 1e-3
    repeats = [next((m for m in range(1, 33) if all(whole(f[k] * m) for f in fractional)), 0) for k in range(3)]
    cells = list(product(*(range(m) for m in repeats)))
    if len(fractional) != len(cells):
        raise InputError(
            f"{files[0]}: {len(fractional)} wave vectors do not fill a {' × '.join(map(str, repeats))} grid"
            f" of {len(cells)}; give the files of all stars"
        )
    shifts = np.array(cells, float)
    phi = np.zeros((len(cells), 3 * n, len(cells), 3 * n))
    between = shifts[:, None] - shifts[None]
    for f, D in fractional.items():
        phase = np.exp(2j * np.pi * between @ np.array(f))
        phi += np.einsum("ij,ab->iajb", phase, D).real / len(cells)
    total = len(cells) * 3 * n
    tile = lambda v: None if v is None else np.tile(v, (len(cells), 1, 1))
    return Lattice(
        head["symbols"] * len(cells),
        head["cell"] * np.array(repeats)[:, None],
        (shifts @ head["cell"])[:, None].repeat(n, 1).reshape(-1, 3) + np.tile(head["positions"], (len(cells), 1)),
        np.tile(head["masses"], len(cells)),
        phi.reshape(total, total),
        born=tile(head.get("born")),
        dielectric=head.get("dielectric"),
    )


def write_dyn(lattice, path):
    """The lattice as one cell with q = 0 only (the form in which SSCHA codes keep supercells)."""
    n = len(lattice)
    kinds = list(dict.fromkeys(lattice.symbols))
    D = lattice.force_constants.reshape(n, 3, n, 3) / CURVATURE
    rows = ["Dynamical matrix file", "written by engine", f"{len(kinds)} {n} 0 {1.0 / BOHR:20.16f}" + " 0.0000000000000000" * 5]
    rows += ["Basis vectors", *("".join(f"{x:22.16f}" for x in v) for v in lattice.cell)]
    for k, s in enumerate(kinds):
        rows.append(f"{k + 1:5d}  '{s:3s}'  {lattice.masses[lattice.symbols.index(s)] * AMU:24.16f}")
    for k, (s, x) in enumerate(zip(lattice.symbols, lattice.positions)):
        rows.append(f"{k + 1:5d} {kinds.index(s) + 1:5d}  " + "".join(f"{v:22.16f}" for v in x))
    rows += ["", "     Dynamical Matrix in cartesian axes", "", "     q = (" + f"{0.0:18.12f}" * 3 + " )", ""]
    for a, b in product(range(n), repeat=2):
        rows.append(f"{a + 1:5d}{b + 1:5d}")
        rows += ["".join(f"{x:24.16f}{0.0:24.16f}" for x in D[a, k, b]) for k in range(3)]
    if lattice.born is not None:
        if lattice.dielectric is not None:
            rows += ["", "     Dielectric Tensor:", "", *("".join(f"{x:24.12f}" for x in v) for v in lattice.dielectric)]
        rows += ["", "     Effective Charges E-U: Z_{alpha}{s,beta}", ""]
        for a in range(n):
            rows += [f"     atom # {a + 1:5d}", *("".join(f"{x:24.12f}" for x in v) for v in lattice.born[a])]
    rows += ["", "     Diagonalizing the dynamical matrix", ""]
    Path(path).write_text("\n".join(rows) + "\n")


def read_charges(path):
    """Dielectric tensor (3, 3) and Born charges (n, 3, 3), [atom, field axis, displacement axis], of a ph.x output:
    the last block "with asr applied", whose rows are E*x, E*y, E*z and columns the displacement axes."""
    lines = _lines(path)
    starts = [k for k, s in enumerate(lines) if "Effective charges (d Force / dE)" in s and "with asr applied" in s]
    if not starts:
        raise InputError(f"{path}: no block of effective charges (d Force / dE) 'with asr applied' in it")
    born, row = [], starts[-1] + 1
    while row < len(lines):
        if re.match(r"\s*atom\s+\d+", lines[row]):
            born.append([_floats(lines[row + 1 + k].split("(")[1])[:3] for k in range(3)])
            row += 4
        elif lines[row].strip() and "E*" not in lines[row]:
            break
        else:
            row += 1
    dielectric = None
    for k, s in enumerate(lines[: starts[-1]]):
        if "Dielectric constant in cartesian axis" in s:
            dielectric = np.array([_floats(lines[k + 2 + r])[:3] for r in range(3)])
    return dielectric, np.array(born)
