"""``mpiexec -n N python -m prune_cases``: in which evaluations do ranks make their inner lists anew?"""

from rank_cases import argon

from engine.build import state_from_atoms, thermalise
from engine.parallel import world
from engine.simulation import Simulation
from integrators.nve import NVE
from potentials.pair.lennard_jones import LennardJones

comm = world()
state = state_from_atoms(argon(6, 0.2))
thermalise(state, 120.0, 1)
potential = LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5)
simulation = Simulation(state, potential, NVE(4.0), comm=comm, skin=1.5)
driver, pruned = potential._fast, []
prune, take = driver._prune, simulation.domain.refresh
evaluations = 0


def refresh():
    global evaluations
    evaluations += 1
    return take()


def watched(*arguments):
    if not pruned or pruned[-1] != evaluations:
        pruned.append(evaluations)
    return prune(*arguments)


simulation.domain.refresh, driver._prune = refresh, watched
simulation.run(300)
everybody = comm.gather(pruned)
if comm.rank == 0:
    together = set(everybody[0]).intersection(*everybody)
    print(len(together), len(set().union(*everybody)), simulation.domain.rebuilds)
