"""What observers of the polarization ask of the run that they watch, and how they say that there was nothing to see."""

from __future__ import annotations

from engine.errors import InputError
from engine.output.screen import console


def watched(hook, simulation):
    """The fields that act in a stage that the hook looks at."""
    fields = simulation.electric.fields if simulation.electric is not None else ()
    return [field for field in fields if None in (hook.stages, field.stages) or set(hook.stages) & set(field.stages)]


def changing(hook, simulation):
    """Those of them that change in time."""
    return [field for field in watched(hook, simulation) if not field.steady]


def refuse_driven(hook, simulation, constant=True):
    """Fluctuations are those of a system that no field drives: none that changes, and none at all unless `constant` may."""
    if changing(hook, simulation) if constant else watched(hook, simulation):
        allowed = "fields are constant or absent" if constant else "there are no fields"
        raise InputError(f"hook '{hook.label}': what a field drives is no fluctuation; give the `stages` in which {allowed}")


def refuse_displacement(hook, simulation):
    """At fixed D every motion feels the field of its own polarization: the formulas are those of a field held fixed."""
    if simulation.electric is not None and simulation.electric.displacement:
        raise InputError(f"hook '{hook.label}': its formulas hold at a fixed macroscopic field, and the run prescribes the "
                         "displacement, at which P fluctuates less; leave out fixes = \"D\"")


def warn(hook, simulation, text):
    if simulation.comm.rank == 0:
        console.print(f"warning: hook '{hook.label}': {text}", markup=False)
