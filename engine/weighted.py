"""A weighted sum of potentials is a potential: a remainder, a difference of two models, a core under a learned one.

In an input file the same is said by `levels` of a stage; this is for Python, where one object is wanted.

>>> WeightedSum({"large": Large(), "small": Small()}, {"small": -1.0})
"""

from engine.contracts import Capabilities, Output, Potential
from engine.errors import InputError, nearest
from engine.forces import OF_THE_FIELD

REACHES = ("local", "exchanging", "message passing", "global")  # each includes what those before it need


class WeightedSum(Potential):
    """potentials : {name: potential};  weights : {name: weight}, 1 where none is given"""

    precision = "double"  # handed on to all of them

    def __init__(self, potentials, weights=None):
        if not potentials:
            raise InputError("a weighted sum needs at least one potential")
        for name in weights or {}:
            if name not in potentials:
                raise InputError(f"a weight is given for '{name}'{nearest(name, potentials)}; there are: {', '.join(potentials)}")
        self.potentials = dict(potentials)
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in potentials}
        self._scratch = Output()

    @property
    def alone(self):
        return next(filter(None, (potential.alone for potential in self.potentials.values())), None)

    def bind(self, species_names):
        for potential in self.potentials.values():
            potential.precision = self.precision
            potential.bind(species_names)

    def capabilities(self):
        """The widest cutoff and reach, and what all provide (responses to a field are zero where they are not)."""
        parts = [potential.capabilities() for potential in self.potentials.values()]
        kinds = {part.lists for part in parts if part.lists != "none"}
        return Capabilities(
            cutoff=max(part.cutoff for part in parts),
            lists=kinds.pop() if len(kinds) == 1 else "full" if kinds else "none",
            reach=max((part.reach for part in parts), key=REACHES.index),
            layers=max(part.layers for part in parts),
            takes=frozenset.union(*(part.takes for part in parts)),
            provides=frozenset.intersection(*(part.provides for part in parts))
            | (frozenset.union(*(part.provides for part in parts)) & OF_THE_FIELD),
            heat_flux=all(part.heat_flux for part in parts),
        )

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        for name, potential in self.potentials.items():
            weight = self.weights[name]
            if weight == 1.0:
                potential.compute(atoms, neighbors, halo, inputs, needs, out)
                continue
            self._scratch.reset(needs, atoms.n_all, atoms.n_systems)
            potential.compute(atoms, neighbors, halo, inputs, needs, self._scratch)
            for key, value in self._scratch.items():
                getattr(out, key)[...] += weight * value
