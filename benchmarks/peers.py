"""Peers of the Lennard-Jones melt beside LAMMPS: how each is started, in which schedule, and whether it is here."""
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec

from benchmarks import gromacs
from benchmarks.worker import Contestant


def module(name, install):
    """A test for the module `name`: why it is not here, or None."""
    return lambda: None if find_spec(name) else f"no module {name} (pip install {install})"


@dataclass
class Peer:
    """precision: ours that it is measured beside.  forced, free: settings to choose the fastest from; none: not in that
    schedule.  most: atoms, above which it is left out.  share: of the steps.  tolerance: of its forces, relative to their rms."""

    name: str
    kind: str
    absent: Callable
    precision: str = "mixed"
    forced: list = field(default_factory=list)
    free: list = field(default_factory=list)
    most: int = 40_000
    share: float = 1.0
    tolerance: float = 2e-3     # rounding absolute positions to single precision
    goal: float | None = None

    def settings(self, forced):
        return self.forced if forced else self.free

    def start(self, path, cores, setting):
        worker = Contestant(self.kind, cores)
        worker("make", path=str(path), **setting)
        return worker


MELT = (
    Peer("GROMACS", "benchmarks.gromacs:Gromacs", gromacs.absent, forced=[{"skin": 0.3, "nstlist": 20}],
         free=[{"skin": 0.2, "nstlist": 10}, {"skin": 0.3, "nstlist": 20}, {"skin": 0.4, "nstlist": 25}], most=300_000, goal=1.5),
    Peer("GROMACS by its own buffer", "benchmarks.gromacs:Gromacs", gromacs.absent,
         free=[{"skin": None, "nstlist": n} for n in (10, 20, 40)]),
    Peer("OpenMM", "benchmarks.others:OpenMM", module("openmm", "openmm"), free=[{}]),
    Peer("JAX-MD", "benchmarks.others:JaxMD", module("jax_md", "jax-md"), free=[{"skin": 0.5, "form": "OrderedSparse"}],
         most=5000, share=0.1),
    Peer("TorchSim", "benchmarks.others:TorchSim", module("torch_sim", "torch-sim-atomistic"), "double", free=[{}], most=5000,
         share=0.05, tolerance=1e-8),
)
