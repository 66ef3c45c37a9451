"""`engine estimate` against runs: models and sizes that the calibration did not measure.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.estimate

With one thread, times are the process's own, so other work on the machine disturbs them only through shared caches.
(Memory is not compared: a process remembers its largest run.)
"""

import numpy as np
from ase.build import bulk

from engine.build import state_from_atoms, thermalise
from engine.simulation import Simulation
from integrators.nve import NVE
from plugins.estimate.calibration import _step_seconds, calibrate
from potentials.eam.zhou import ZhouEAM
from potentials.pair.lennard_jones import LennardJones
from potentials.pair.morse import Morse

CASES = {
    "LJ argon": (
        lambda: LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5),
        bulk("Ar", cubic=True, a=5.3) * (2, 2, 2), 4.0, (5, 7, 12),
    ),
    "EAM copper": (lambda: ZhouEAM(), bulk("Cu", cubic=True) * (2, 2, 2), 2.0, (5, 7, 10)),
    "EAM alloy": (lambda: ZhouEAM(), bulk("CuNi", "rocksalt", a=5.0, cubic=True) * (2, 2, 2), 2.0, (4, 6)),
    "Morse copper": (
        lambda: Morse(depth=0.0302, alpha=1.969, r0=3.009, cutoff=3.3, truncation="force-shifted"),
        bulk("Cu", cubic=True) * (2, 2, 2), 2.0, (5, 9),
    ),
}


def main():
    errors = []
    for name, (make, atoms, timestep, repeats) in CASES.items():
        found = calibrate({"potential": make()}, atoms, timestep, seconds=0.5)
        for r in repeats:
            state = state_from_atoms(atoms.repeat((r, r, r)))
            thermalise(state, 300.0, 2)
            seconds = _step_seconds(Simulation(state, make(), NVE(timestep)), 0.5)
            predicted = found.step(state.n)
            errors.append(predicted / seconds - 1)
            print(
                f"{name:12s} {state.n:7d} atoms  predicted {1e3 * predicted:8.3f} ms, measured {1e3 * seconds:8.3f} ms "
                f"({100 * errors[-1]:+.0f} %); calibrated to {found.sizes[-1]}",
                flush=True,
            )
    print(f"largest error {100 * np.abs(errors).max():.0f} %, rms {100 * np.sqrt(np.mean(np.square(errors))):.0f} %")


if __name__ == "__main__":
    main()
