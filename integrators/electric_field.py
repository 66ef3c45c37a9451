"""The work of a changing electric field, an operator that goes with every kick.

In a field that changes, the enthalpy H = K + F(R, E(t)) does not stay the same: dH/dt = −P·dE/dt. Let time be a coordinate
τ with momentum p_τ, so that K + F(R, E(τ)) + p_τ is conserved. The kick of a symmetric composition then also kicks p_τ,

    B(h/2):   v += f/m h/2,   p_τ += P·(dE/dτ) h/2          and the drift moves τ with the positions,

which is symplectic in the larger space, so that H + p_τ has an error of order h² that does not grow, in whatever ensemble
and on every level of multiple time steps, each level with its own polarization and step. −p_τ is the account's line
``field``, −∫P·dE.

The derivative is taken from the field's values at the beginning, middle and end of the step (0, m, 1),

    h/2 · dE/dτ at the beginning → (8 E_m − 7 E_0 − E_1)/6,      at the end → (E_0 + 7 E_1 − 8 E_m)/6

whose errors of second order cancel between the two half kicks at the same time, and of third order in each: what is left
is of fourth. They add up to E_1 − E_0 in every step: kinks of a ramp, jumps between steps and tables need no derivative.

With a moving cell the change of the reduced field in time alone is counted, −∫p̄·dĒ (``engine.electric``); the cell's share
is in the virial. At prescribed displacement D it is −∫P·d(D/ε0), and in a moving cell the field's own energy besides.

In the thermo table: ``deposited`` (∫E·dP, what the systems have taken up), ``field_x`` ..., ``polarization_x`` ...
"""

from engine.errors import InputError
from engine.output.columns import column


def count_work(simulation, level, step):
    """Count the field's work of one half kick of `level`; `step` (fs) > 0 opens a step of that length, < 0 closes it."""
    electric, state = simulation.electric, simulation.state
    if electric is None or electric.steady:
        return
    simulation.account.add("field", electric.work(state, simulation.forces.outputs[level], step, level), state.n_systems)


def _electric(simulation):
    if simulation.electric is None:
        raise InputError("output.columns: field and deposited need a [[field]]")
    return simulation.electric


column("deposited", "eV", lambda s: _electric(s).deposited(s), 14, ".6f", ["polarization"])  # ∫E·dP
for _k, _axis in enumerate("xyz"):
    column(f"field_{_axis}", "V/Å", lambda s, k=_k: _electric(s).inside(s.state)[:, k], 12, ".6f")
    column(f"polarization_{_axis}", "e·Å", lambda s, k=_k: s.quantity("polarization")[:, k], 15, ".6f", ["polarization"])
