"""Pair potentials: the physics is one scalar function, the loops around it are the engine's.

A pair potential is a function ``f(r2, a, b, ...) -> (energy, −dE/dr / r)`` of the squared distance and its parameters,
whose arguments ending in ``_i`` and ``_j`` are per-atom inputs (``q_i``, ``q_j``: charges). `PairPotential` turns it
into a potential: parameters become small tables over pairs of species, and a driver is compiled around the function
(``engine.kernels.compiled``) with just the work that is asked for. The fast driver works on cluster pairs
(``engine.kernels.pair_clusters``); the plain loop here, in double precision, gives per-atom virials and is what the
fast one is tested against.
"""

import inspect

import numpy as np

from engine.contracts import Capabilities, Potential
from engine.kernels import compiled
from engine.kernels.pair_clusters import ClusterDriver
from engine.kernels.team import team_for

PER_ATOM_INPUTS = {"q": "charges"}

TEMPLATE = '''
import numpy as np
from numba import njit

f = njit(inline="always", error_model="numpy")(pair)


@njit(cache=True, nogil=True, error_model="numpy")
def compute(begin, end, x, species, system, offsets, indices, cutoff2, table, {inputs}forces, energy, virial, atom_energy,
            atom_virial):
    for i in range(begin, end):
        xi, yi, zi, si = x[i, 0], x[i, 1], x[i, 2], species[i]
        fx = fy = fz = 0.0
        {start}
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = xi - x[j, 0], yi - x[j, 1], zi - x[j, 2]
            r2 = dx * dx + dy * dy + dz * dz
            sj = species[j]
            if r2 < cutoff2[si, sj]:
                e, w = f(r2{arguments})
                gx, gy, gz = w * dx, w * dy, w * dz
                fx += gx
                fy += gy
                fz += gz
                forces[j, 0] -= gx
                forces[j, 1] -= gy
                forces[j, 2] -= gz
                {body}
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz
        {finish}
'''


def _generate(function, needs):
    names = list(inspect.signature(function).parameters)[1:]
    scalars = [name for name in names if not name.endswith(("_i", "_j"))]
    atoms = sorted({name[:-2] for name in names if name.endswith(("_i", "_j"))})
    arguments = "".join(
        f", in_{name[:-2]}[{name[-1]}]" if name not in scalars else f", table[si, sj, {scalars.index(name)}]"
        for name in names
    )
    start, body, finish = [], [], []
    if "energy" in needs:
        start.append("es = 0.0"); body.append("es += e"); finish.append("energy[system[i]] += es")
    if "virial" in needs:
        for a in range(3):
            for b in range(3):
                if b >= a:
                    start.append(f"w{a}{b} = 0.0"); body.append(f"w{a}{b} += {'d' + 'xyz'[a]} * {'g' + 'xyz'[b]}")
                finish.append(f"virial[system[i], {a}, {b}] += w{min(a, b)}{max(a, b)}")
    if "atom_energy" in needs:
        body += ["atom_energy[i] += 0.5 * e", "atom_energy[j] += 0.5 * e"]
    if "atom_virial" in needs:
        for a in range(3):
            for b in range(3):
                body += [f"h = 0.5 * {'d' + 'xyz'[a]} * {'g' + 'xyz'[b]}",
                         f"atom_virial[i, {a}, {b}] += h", f"atom_virial[j, {a}, {b}] += h"]
    join = lambda lines, indent: ("\n" + " " * indent).join(lines) or "pass"
    return TEMPLATE.format(
        inputs="".join(f"in_{a}, " for a in atoms), arguments=arguments,
        start=join(start, 8), body=join(body, 16), finish=join(finish, 8),
    ), atoms


def driver(function, needs):
    """The compiled loop around a pair function for these needs, and the per-atom inputs it takes."""
    source, atoms = _generate(function, needs)
    return compiled.load(source, {"pair": function}, f"pair_{function.__name__}").compute, atoms


def targets(out, needs):
    """(forces, energy, virial, atom_energy, atom_virial) of an output, with small arrays for those that nobody wants."""
    empty = {"energy": (1,), "virial": (1, 3, 3), "atom_energy": (1,), "atom_virial": (1, 3, 3)}
    return out.forces, *(getattr(out, name) if name in needs else np.zeros(shape) for name, shape in empty.items())


class PairPotential(Potential):
    """A potential that is a sum over pairs. Subclasses are dataclasses with

    function : the scalar pair function (a static method or a module-level function)
    tables(species_names) -> (cutoffs (T, T) Å, {parameter: (T, T)}), symmetric
    """

    function = None

    def tables(self, species_names):
        raise TypeError(f"{type(self).__name__} gives no parameters")

    def bind(self, species_names):
        cutoffs, parameters = self.tables(species_names)
        pair = self.function
        scalars = [p for p in list(inspect.signature(pair).parameters)[1:] if not p.endswith(("_i", "_j"))]
        self._cutoffs = np.array(cutoffs, float)
        shape = self._cutoffs.shape
        columns = [np.broadcast_to(parameters[name], shape) for name in scalars]
        self._table = np.ascontiguousarray(np.stack(columns, -1)) if columns else np.zeros((*shape, 0))
        self._inputs = sorted({p[:-2] for p in inspect.signature(pair).parameters if p.endswith(("_i", "_j"))})
        self._drivers = {}
        self._fast = ClusterDriver(pair, self._cutoffs, self._table, self.precision)

    def capabilities(self):
        inputs = [p[:-2] for p in inspect.signature(self.function).parameters if p.endswith("_i")]
        return Capabilities(
            cutoff=float(self._cutoffs.max()),
            lists="half",
            takes=frozenset(PER_ATOM_INPUTS[p] for p in inputs),
            provides=frozenset({"energy", "forces", "virial", "atom_energy", "atom_virial"}),
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        values = [getattr(atoms, PER_ATOM_INPUTS[name]) for name in self._inputs]
        if "atom_virial" not in needs:
            self._fast.compute(atoms, neighbors, halo, needs, out, values)
            return
        wanted = needs & {"energy", "virial", "atom_energy", "atom_virial"}
        if wanted not in self._drivers:
            self._drivers[wanted] = driver(self.function, wanted)
        compute, _ = self._drivers[wanted]
        csr = neighbors.half(float(self._cutoffs.max()))
        team = team_for(atoms.n)
        team.add_up(compute, team.balanced(csr.offsets[:-1], csr.offsets[1:]), atoms.positions, atoms.species, atoms.system,
                    csr.offsets, csr.indices, self._cutoffs**2, self._table, *values, into=targets(out, needs))
