"""All comparisons by name; each is a function of (quick, say) that gives rows."""
import os

from benchmarks import matter, memory, neighbor_lists, particle_mesh, startup, two_cores
from benchmarks.race import race


def cores(count):
    """The last `count` cores that this process may use."""
    return sorted(os.sched_getaffinity(0))[-count:]


def _races(make, sizes, precisions, two_cores=True):
    def run(quick, say):
        rows, thing = [], make()
        if quick:       # one size, the forced schedule, and the style that has always been the fastest
            thing.styles = thing.styles[:1]
            return race(thing, sizes[0], cores(1), precisions, True, say)
        for cells in sizes:
            for forced in (True, False):
                rows += race(thing, cells, cores(1), precisions, forced, say)
        if two_cores and len(cores(2)) == 2:
            rows += race(thing, sizes[0], cores(2), precisions, True, say)
        return rows
    return run


ALL = {
    "lennard-jones": _races(matter.lennard_jones, (20, 10, 40, 63), ("double", "mixed")),
    "copper": _races(matter.copper, (20, 63), ("double", "mixed")),
    "stillinger-weber": _races(lambda: matter.silicon("Stillinger-Weber"), (16,), ("double",)),
    "tersoff": _races(lambda: matter.silicon("Tersoff"), (16,), ("double",)),
    "particle-mesh": particle_mesh.run,
    "lists": neighbor_lists.run,
    "two-cores": two_cores.run,
    "memory": memory.run,
    "startup": startup.run,
}
