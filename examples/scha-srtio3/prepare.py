"""The model and the crystal of this example, from the published ensemble: run once, takes a minute or two.

    python prepare.py [DATA]         DATA: folder with ensemble.npz, final_dyn1 and ph.out

Writes model.h5 (force constants to fourth order, strain coupling, Born charges) and crystal.extxyz. The data are those of
QuantumGaussianDynamics.jl, test/zeff (MIT); the stresses there are W/V, that is, minus ours: with that sign the centroids'
cell is the one of zero pressure, <W>/V + <f u>/V = 0 within 0.02 GPa.
"""

import sys
from pathlib import Path

from ase import Atoms

from plugins.lattice import fit
from plugins.lattice.quantum_espresso import read_dyn

HERE = Path(__file__).resolve().parent
data = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "shared/data/11-srtio3-sscha"
if not (data / "ensemble.npz").exists():
    sys.exit(f"{data} has no ensemble.npz; give the folder of the SrTiO3 ensemble as the argument")
lattice = read_dyn(data / "final_dyn1")
atoms = Atoms(lattice.symbols, positions=lattice.positions, cell=lattice.cell, pbc=True)
atoms.set_masses(lattice.masses)
atoms.write("crystal.extxyz")
lattice.save("start.h5")
fit.main([str(data / "ensemble.npz"), str(data / "final_dyn1"), "model.h5", "--train", "2500",
          "--charges", str(data / "ph.out"), "--stress-sign", "1"])
