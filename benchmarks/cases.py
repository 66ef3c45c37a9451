"""All comparisons by name; each is a function of (quick, say) that gives rows."""
import os

from benchmarks import matter, memory, neighbor_lists, particle_mesh, startup, two_cores
from benchmarks.race import race


def cores(count):
    """The last `count` cores that this process may use."""
    return sorted(os.sched_getaffinity(0))[-count:]


def _races(make, sizes=(), precisions=("double", "mixed"), whole=True):
    """sizes: (cells, copies) of the races on one core, the first of which is that of --quick and of two ranks.  whole: also the
    free schedule and two ranks."""
    def run(quick, say):
        rows, thing = [], make()
        if quick:       # one size, the forced schedule, and the style that has always been the fastest
            thing.styles = thing.styles[:1]
            return race(thing, sizes[0], cores(1), precisions, True, say)
        for size in sizes:
            for forced in (True, False)[:1 + whole]:
                rows += race(thing, size, cores(1), precisions, forced, say)
        if whole and len(cores(2)) == 2:
            rows += race(thing, sizes[0], cores(2), precisions, True, say)
        return rows
    return run


ALL = {
    "lennard-jones": _races(matter.lennard_jones, ((20, 1), (10, 1), (20, 2), (21, 3))),
    "copper": _races(matter.copper, ((20, 1), (21, 3))),
    "stillinger-weber": _races(lambda: matter.silicon("Stillinger-Weber"), ((16, 1),), ("double",)),
    "tersoff": _races(lambda: matter.silicon("Tersoff"), ((16, 1),), ("double",)),
    "buckingham": _races(matter.buckingham, ((20, 1),), whole=False),
    "table": _races(matter.table, ((20, 1),), whole=False),
    "user-pair": _races(matter.user_pair, ((20, 1),), whole=False),
    "particle-mesh": particle_mesh.run,
    "lists": neighbor_lists.run,
    "two-cores": two_cores.run,
    "memory": memory.run,
    "startup": startup.run,
}
