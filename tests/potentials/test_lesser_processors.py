"""Forces by the code made for AVX2 and for the plainest processor of this kind (128-bit registers) are those of this one.

Each processor runs this file in a process of its own, as Numba chooses its processor when it starts, and any warning is an
error there. By hand, for other machines: ``python tests/potentials/test_lesser_processors.py forces.npz``.
"""
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk

AVX2 = "+avx,+avx2,+fma,+sse4.1,+sse4.2,+sse3,+ssse3,+popcnt,+bmi,+bmi2"
PROCESSORS = {"haswell": (AVX2, 256), "generic": ("", 128)}


def rattled(atoms, amplitude):
    atoms.positions += np.random.default_rng(4).normal(scale=amplitude, size=atoms.positions.shape)
    return atoms


def forces(folder):
    """{what: forces} by every kernel with explicit vectors, and the width in bits that it was made for."""
    from engine.kernels.simd import register_bits
    from engine.testing import evaluate
    from potentials.eam.zhou import ZhouEAM
    from potentials.manybody.stillinger_weber import StillingerWeber
    from potentials.pair.lennard_jones import LennardJones

    silicon = folder / "Si.sw"
    silicon.write_text("Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n")
    cases = {
        "lj": (lambda: LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5),
               rattled(bulk("Ar", cubic=True, a=5.3) * (4, 4, 4), 0.2)),
        "eam": (ZhouEAM, rattled(bulk("Cu", cubic=True) * (4, 4, 4), 0.1)),
        "sw": (lambda: StillingerWeber(file=str(silicon)), rattled(bulk("Si", cubic=True) * (3, 3, 3), 0.1)),
    }
    found = {"bits": np.array(register_bits())}
    for name, (make, atoms) in cases.items():
        for precision in ("double", "mixed") if name != "sw" else ("double",):
            potential = make()
            potential.precision = precision
            found[f"{name}, {precision}"] = evaluate(potential, atoms, {"energy", "forces", "virial"}).forces
    return found


@pytest.mark.parametrize("processor", PROCESSORS)
def test_forces_on_lesser_processors(processor, tmp_path):
    if platform.machine() != "x86_64":
        pytest.skip("these are lesser processors than x86's only")
    features, bits = PROCESSORS[processor]
    environment = dict(os.environ, NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES=features)
    run = subprocess.run([sys.executable, "-W", "error", __file__, str(tmp_path / "forces.npz")], env=environment, timeout=300,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert not run.stderr
    there, here = np.load(tmp_path / "forces.npz"), forces(tmp_path)
    assert there["bits"] == bits
    for name in set(here) - {"bits"}:
        tolerance = 1e-5 if name.endswith("mixed") else 1e-12
        assert np.abs(there[name] - here[name]).max() < tolerance * np.abs(here[name]).max(), name


if __name__ == "__main__":
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as temporary:
        np.savez(sys.argv[1], **forces(Path(temporary)))
