"""1000 steps with each adapter on a small model of its package: time inside the model, and in the adapter around it.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/adapters/thousand_steps.py mace nequip metatomic torch-sim ase

256 atoms of CuAu (argon for TorchSim's Lennard-Jones) at 300 K, 1 fs, velocity Verlet, one thread; what is not installed is
said. The models are untrained and small, so a share of the adapter is an upper bound for real ones.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import small_models
from ase.build import bulk
from ase.calculators.emt import EMT

from engine.build import state_from_atoms, thermalise
from engine.simulation import Simulation
from integrators.nve import NVE

ALLOY = bulk("CuAu", "rocksalt", a=5.1, cubic=True) * (4, 4, 2)


class TimedEMT(EMT):
    """Effective-medium theory that knows how long it took."""

    seconds = 0.0

    def calculate(self, *arguments):
        begin = time.perf_counter()
        super().calculate(*arguments)
        TimedEMT.seconds += time.perf_counter() - begin


def mace(folder):
    from plugins.adapters.mace import MACE

    return MACE(small_models.mace(folder / "small.model")), ALLOY


def nequip(folder):
    from plugins.adapters.nequip import NequIP

    return NequIP(small_models.nequip_file(folder / "small.nequip.pt2", ALLOY)), ALLOY


def metatomic(folder):
    from metatomic_pair import export

    from plugins.adapters.metatomic import Metatomic

    export(str(folder / "pair.pt"), True)
    return Metatomic(str(folder / "pair.pt")), ALLOY


def torch_sim(folder):
    import torch
    from torch_sim.models.lennard_jones import LennardJonesModel

    from plugins.adapters.torch_sim import TorchSim

    model = LennardJonesModel(sigma=3.4, epsilon=0.0104, cutoff=6.0, dtype=torch.float64, compute_forces=True,
                              compute_stress=False, device=torch.device("cpu"))
    return TorchSim(model), bulk("Ar", cubic=True, a=5.3) * (4, 4, 4)


def ase(folder):
    from potentials.ase_calculator import ASE

    atoms = bulk("Cu", cubic=True, a=3.8) * (4, 4, 4)
    atoms.symbols[::2] = "Au"
    return ASE(TimedEMT), atoms


def main(names):
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                potential, atoms = globals()[name.replace("-", "_")](Path(folder))
            except ImportError as error:
                print(f"{name:10s} not installed here: {error}")
                continue
            state = state_from_atoms(atoms)
            thermalise(state, 300 if name != "torch-sim" else 40, 1)
            sim, rows = Simulation(state, potential, NVE(1.0)), []
            sim.attach(lambda s, rows=rows: rows.append(s.conserved()[0] / s.state.n), 100, {"energy"})
            sim.run(5)
            potential.seconds = potential.seconds_inside = TimedEMT.seconds = 0.0
            begin = time.perf_counter()
            sim.run(1000)
            whole = time.perf_counter() - begin
            inside = TimedEMT.seconds if name == "ase" else potential.seconds_inside
            adapter = "" if name == "ase" else f", {potential.seconds - inside:.3f} in the adapter"
            print(f"{name:10s} {state.n} atoms, 1000 steps in {whole:.2f} s: {inside:.2f} s in the model{adapter}, "
                  f"{whole - inside:.3f} outside of the model ({100 * (whole - inside) / whole:.1f} %); "
                  f"total energy within {np.ptp(rows):.1e} eV/atom", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mace", "nequip", "metatomic", "torch-sim", "ase"])
