"""Units and constants.

Inside the engine: Å, eV, u (unified atomic mass), e, K, V/Å and eV/Å³; time is Å·√(u/eV), so that the kinetic
energy is ½ m v² without a factor. People see femtoseconds and gigapascals: ``dt = timestep * fs``.
Values are CODATA 2018 (the last two SI-exact constants fix the rest).
"""

import math

fs = 1.0 / 10.180505710759414  # one femtosecond in internal time units
GPa = 1.0 / 160.21766340000002  # one gigapascal in eV/Å³
kB = 8.617333262e-05  # eV/K
hbar_fs = 0.6582119569  # eV·fs
hbar = hbar_fs * fs  # eV · internal time
coulomb = 14.399645478425668  # e²/(4π ε0) in eV·Å
epsilon0 = 5.526349358e-3  # e/(V·Å)
per_cm = fs / (2.0 * math.pi) * 33356.4095198152  # an angular frequency in internal units, in cm⁻¹
