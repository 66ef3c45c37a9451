"""Slower peers on the Lennard-Jones melt, one core: OpenMM, JAX-MD, TorchSim. Each has the orders run, forces, label.

All keep their own lists by their own rules, so they stand in the free schedule.
"""
import os
import time

import numpy as np

CUTOFF, TIMESTEP = 2.5, 0.005


def timed(step):
    """Wall and processor seconds of a call."""
    begin, cpu = time.perf_counter(), time.process_time()
    step()
    return {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu}


def melt(path):
    """Positions in the box, velocities, edges of the box, in reduced units."""
    data = np.load(path)
    box = data["high"] - data["low"]
    return (data["x"] - data["low"]) % box, data["v"], box


class OpenMM:
    """OpenMM's NonbondedForce on the CPU platform, in its units with σ = 1 nm, ε = 1 kJ/mol, m = 1 u: τ = 1 ps."""

    def __init__(self, path):
        import openmm
        x, v, box = melt(path)
        system, force = openmm.System(), openmm.NonbondedForce()
        system.setDefaultPeriodicBoxVectors(*np.diag(box))
        force.setNonbondedMethod(force.CutoffPeriodic)
        force.setCutoffDistance(CUTOFF)
        force.setUseDispersionCorrection(False)
        for _ in x:
            system.addParticle(1.0)
            force.addParticle(0.0, 1.0, 1.0)
        system.addForce(force)
        self.integrator = openmm.VerletIntegrator(TIMESTEP)
        self.context = openmm.Context(system, self.integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
        self.context.setPositions(x)
        self.context.setVelocities(v)
        self.version = openmm.Platform.getOpenMMVersion()

    def run(self, steps):
        def go():
            for _ in range(0, steps, 100):
                self.integrator.step(min(steps, 100))
                self.context.getState(getEnergy=True)
        return timed(go)

    def forces(self, path):
        from openmm import unit
        f = self.context.getState(getForces=True).getForces(asNumpy=True)
        np.savez(path, f=f.value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
        return {}

    def label(self):
        return {"label": f"OpenMM {self.version} CPU, single precision"}


class JaxMD:
    """JAX-MD in single precision: a list of pairs i < j, checked in every step, made again inside the compiled loop."""

    def __init__(self, path, skin, form):
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        import jax
        import jax.numpy as jnp
        from jax_md import energy, partition, simulate, smap, space
        x, v, box = (jnp.asarray(a, jnp.float32) for a in melt(path))
        displacement, shift = space.periodic(box)
        cut = lambda dr, sigma=1.0, epsilon=1.0, **_: jnp.where(dr < CUTOFF, energy.lennard_jones(dr, sigma, epsilon), 0.0)
        layout = partition.NeighborListFormat[form]
        lists = partition.neighbor_list(displacement, box, CUTOFF, skin, format=layout)
        function = smap.pair_neighbor_list(cut, space.canonicalize_displacement_or_metric(displacement), sigma=1.0, epsilon=1.0)
        start, step = simulate.nve(function, shift, TIMESTEP)
        self.neighbors = lists.allocate(x)
        self.state = start(jax.random.PRNGKey(0), x, kT=1.0, mass=1.0, neighbor=self.neighbors)
        self.state = self.state.set(momentum=v)

        def one(_, both):
            state, neighbors = both
            neighbors = neighbors.update(state.position)
            return step(state, neighbor=neighbors), neighbors
        self.go = jax.jit(lambda both, steps: jax.lax.fori_loop(0, steps, one, both))
        self.version, self.skin, self.form = jax.__version__, skin, form

    def run(self, steps):
        def go():
            both = self.go((self.state, self.neighbors), steps)
            self.state, self.neighbors = both[0], both[1]
            self.state.position.block_until_ready()
        result = timed(go)
        if bool(self.neighbors.did_buffer_overflow):
            raise RuntimeError("JAX-MD's list overflowed")
        return result

    def forces(self, path):
        np.savez(path, f=np.asarray(self.state.force, float))
        return {}

    def label(self):
        from importlib.metadata import version
        return {"label": f"JAX-MD {version('jax-md')} (jax {self.version}), single precision, {self.form} list, skin {self.skin}"}


class TorchSim:
    """TorchSim's Lennard-Jones model in double precision, NVE. Forces of its version 0.3 come out doubled with a full list (each
    pair is seen twice and added to both atoms): ε is halved, so that they are right."""

    def __init__(self, path):
        import torch
        torch.set_num_threads(1)
        import torch_sim
        from torch_sim.integrators import nve
        from torch_sim.models.lennard_jones import LennardJonesModel
        x, v, box = melt(path)
        self.model = LennardJonesModel(1.0, 0.5, torch.device("cpu"), torch.float64, compute_forces=True, cutoff=CUTOFF)
        real = lambda a: torch.tensor(np.ascontiguousarray(a), dtype=torch.float64)
        n = len(x)
        state = torch_sim.SimState(positions=real(x), masses=real(np.ones(n)), cell=real(np.diag(box)[None]), pbc=True,
                                   atomic_numbers=torch.full((n,), 18))
        start, self.step = nve(self.model, dt=real(TIMESTEP), kT=real(1.0), seed=0)
        self.state = start(state)
        self.state.momenta = real(v)

    def run(self, steps):
        def go():
            for _ in range(steps):
                self.state = self.step(self.state)
        return timed(go)

    def forces(self, path):
        np.savez(path, f=self.state.forces.numpy())
        return {}

    def label(self):
        from importlib.metadata import version

        import torch
        return {"label": f"TorchSim {version('torch-sim-atomistic')} (torch {torch.__version__}), ε halved"}
