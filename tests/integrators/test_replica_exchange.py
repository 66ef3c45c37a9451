"""Replica exchange leaves every temperature's ensemble as it was, and configurations do travel."""

import numpy as np
import pytest
from ase import Atoms

from engine import units
from engine.build import state_from_atoms, thermalise
from engine.contracts import Capabilities, Potential
from engine.errors import InputError
from engine.simulation import Simulation
from integrators.langevin import Langevin
from integrators.nve import NVE
from integrators.replica_exchange import ReplicaExchange
from potentials.dielectric_born import FixedBornCharges
from potentials.fields import Constant


class Springs(Potential):
    """½ k r² about the origin for every atom: <U> = 3/2 N kT."""

    k = 1.0

    def capabilities(self):
        return Capabilities(cutoff=0.0, lists="none")

    def compute(self, atoms, neighbors, halo, inputs, needs, out):
        x = atoms.positions[: atoms.n] + np.einsum("ni,nij->nj", atoms.images, atoms.cells[atoms.system[: atoms.n]])
        out.forces[: atoms.n] -= self.k * x
        if "energy" in needs:
            np.add.at(out.energy, atoms.system[: atoms.n], 0.5 * self.k * (x * x).sum(1))


def simulation(temperatures, atoms=2, **options):
    rng = np.random.default_rng(5)
    images = [Atoms(f"Ar{atoms}", rng.normal(scale=0.1, size=(atoms, 3)), cell=[9, 9, 9], pbc=True) for _ in temperatures]
    state = state_from_atoms(images)
    thermalise(state, np.array(temperatures), 3, exact=False)
    temperature = {"systems": list(temperatures)}
    exchange = ReplicaExchange(every=5)
    return Simulation(state, Springs(), Langevin(timestep=10.0, temperature=temperature, friction=0.01), seed=2,
                      updaters=[exchange], **options), exchange


def test_every_temperature_keeps_its_ensemble():
    """<U> and <U²> − <U>² of 2 atoms at four temperatures that overlap; an acceptance rule that is wrong shifts them."""
    temperatures = np.array([200.0, 300.0, 450.0, 675.0])
    sim, exchange = simulation(temperatures)
    energies = []
    sim.attach(lambda s: energies.append(s.potential_energy().copy()), every=10, needs={"energy"})
    sim.run(20000)
    U = np.array(energies[100:]) / (units.kB * temperatures)
    error = np.array([np.std([b.mean() for b in np.array_split(u, 20)]) / np.sqrt(20) for u in U.T])
    assert (np.abs(U.mean(0) - 3.0) < 4 * error).all(), f"<U>/kT = {U.mean(0)} ± {error}, not 3"
    assert (np.abs(U.var(0) - 3.0) < 0.7).all()
    rate = exchange.accepted / exchange.tried
    assert ((0.4 < rate) & (rate < 0.75)).all()
    assert sorted(exchange.walkers) == [0, 1, 2, 3]


def test_what_the_swap_gives_is_counted():
    sim, exchange = simulation([300.0, 330.0, 360.0], atoms=4)
    before = sim.conserved()
    sim.run(50)
    assert exchange.accepted.sum() > 0
    assert np.abs(sim.conserved() - before).max() < 2e-2 * sim.kinetic_energy().max()


def test_a_field_keeps_to_the_cell_in_which_it_began():
    """Systems of different cells that are exchanged feel what they felt, and what the swap gives is all that changes."""
    images = [Atoms("NaCl", [[1, 1, 1], [1, 1, 3.0]], cell=[20, 20, c], pbc=True) for c in (20, 22)]
    for atoms, sign in zip(images, (1, -1)):
        atoms.rattle(0.05, seed=3 + sign)
    state = state_from_atoms(images)
    thermalise(state, np.array([300.0, 330.0]), 3, exact=False)
    sim = Simulation(state, {"born": FixedBornCharges({"Na": 1.0, "Cl": -1.0})}, Langevin(
        timestep=0.2, temperature={"systems": [300.0, 330.0]}, friction=0.01), seed=2, fields=[Constant([0, 0, 0.3])],
        updaters=[exchange := ReplicaExchange(every=5)])
    fields, conserved = [], []
    sim.attach(lambda s: (fields.append(s.electric.inside(s.state)[:, 2].copy()), conserved.append(s.conserved().copy())),
               needs={"energy"})
    sim.run(60)
    assert exchange.accepted.sum() > 1
    assert np.allclose(fields, 0.3) and np.ptp(conserved, axis=0).max() < 1e-5


def test_refusals():
    with pytest.raises(InputError, match="several systems"):
        simulation([300.0])[0].run(5)
    sim, _ = simulation([300.0, 320.0])
    sim.set_integrator(NVE(timestep=1.0))
    with pytest.raises(InputError, match="temperature"):
        sim.run(5)
