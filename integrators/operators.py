"""The moves that integrators are composed of. Each is exact for its own part of the equations of motion."""

import math

import numpy as np
from numba import njit

from engine import random
from engine.errors import InputError
from engine.kernels.team import team_for


def kick(velocities, forces, masses, dt):
    """B: v += f/m dt."""
    team = team_for(len(velocities), light=True)
    team(_kick, team.cuts(len(velocities)), velocities, forces, masses, dt)


def drift(positions, velocities, dt):
    """A: x += v dt."""
    team = team_for(len(velocities), light=True)
    team(_drift, team.cuts(len(velocities)), positions, velocities, dt)


def kick_and_drift(positions, velocities, forces, masses, kick_dt, drift_dt, start):
    """B A in one pass over memory: v += f/m kick_dt, x += v drift_dt; returns the largest square of an atom's distance from
    its place in `start`, infinite where it is not a number."""
    team = team_for(len(velocities), light=True)
    farthest = np.zeros((team.size, 1))
    team(_kick_and_drift, team.cuts(len(velocities)), positions, velocities, forces, masses, kick_dt, drift_dt, start,
         private=(farthest,))
    return max(farthest.ravel().tolist())       # NumPy takes longer for one number


def ornstein_uhlenbeck(velocities, masses, free, tags, system, kT, decay, seed, step, occurrence, energy):
    """O: v = c v + √((1 − c²) kT/m) ξ with c = `decay`, kT (S,); adds the kinetic energy given to `energy` (S,)."""
    team = team_for(len(velocities))
    team.add_up(_ornstein_uhlenbeck, team.cuts(len(velocities)), velocities, masses, free, tags, system, kT, decay, seed, step,
                occurrence, into=energy)


@njit(cache=True, nogil=True, error_model="numpy")
def _kick(begin, end, velocities, forces, masses, dt):
    for i in range(begin, end):
        h = dt / masses[i]
        velocities[i, 0] += h * forces[i, 0]
        velocities[i, 1] += h * forces[i, 1]
        velocities[i, 2] += h * forces[i, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _drift(begin, end, positions, velocities, dt):
    for i in range(begin, end):
        positions[i, 0] += dt * velocities[i, 0]
        positions[i, 1] += dt * velocities[i, 1]
        positions[i, 2] += dt * velocities[i, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _kick_and_drift(begin, end, positions, velocities, forces, masses, kick_dt, drift_dt, start, farthest):
    most = 0.0
    for i in range(begin, end):
        h, d2 = kick_dt / masses[i], 0.0
        for d in range(3):
            v = velocities[i, d] + h * forces[i, d]
            x = positions[i, d] + drift_dt * v
            velocities[i, d], positions[i, d] = v, x
            d2 += (x - start[i, d]) ** 2
        if not d2 <= most:
            most = d2 if d2 == d2 else np.inf
    farthest[0] = most


@njit(cache=True, nogil=True, error_model="numpy")
def _ornstein_uhlenbeck(begin, end, velocities, masses, free, tags, system, kT, decay, seed, step, occurrence, energy):
    noise = math.sqrt(1.0 - decay * decay)
    for i in range(begin, end):
        s = system[i]
        g = random.normal4(seed, random.LANGEVIN, s, step, occurrence, tags[i])
        width = noise * math.sqrt(kT[s] / masses[i])
        change = 0.0
        for d in range(3):
            old = velocities[i, d]
            new = (decay * old + width * g[d]) * free[i, d]
            velocities[i, d] = new
            change += new * new - old * old
        energy[s] += 0.5 * masses[i] * change


@njit(cache=True, error_model="numpy")
def rescale(velocities, system, factor):
    """v = factor v, `factor` (S,)."""
    for i in range(velocities.shape[0]):
        h = factor[system[i]]
        velocities[i, 0] *= h
        velocities[i, 1] *= h
        velocities[i, 2] *= h


def refuse_rest(state, K, f, kT, who):
    """A factor cannot heat atoms that are at rest: K, f, kT (S,)."""
    if ((f > 0) & (K < 1e-12 * f * kT)).any():
        raise InputError(
            f"step {state.step}: all atoms of a system are at rest, and {who} can only scale velocities; give "
            "[system] velocities = { temperature = ... }, or begin with integrator = \"langevin\""
        )


def scale(state, strain, momenta=True):
    """Affine move of cells, positions and momenta by `strain` (S, 3, 3): r → r s, h → h s, p → p s⁻ᵀ.

    Phase-space volume is kept. Rows are vectors, so everything is multiplied from the right. Without `momenta` they stay.
    """
    system = state.system[: state.n]
    inverse = np.linalg.inv(strain).transpose(0, 2, 1)
    state.cells = state.cells @ strain
    if state.n_systems == 1:
        state.positions[: state.n] = (state.positions[: state.n] - state.origin[0]) @ strain[0] + state.origin[0]
        if momenta:
            state.velocities[:] = state.velocities @ inverse[0]
        return
    x = state.positions[: state.n] - state.origin[system]
    state.positions[: state.n] = np.einsum("ni,nij->nj", x, strain[system]) + state.origin[system]
    if momenta:
        state.velocities[:] = np.einsum("ni,nij->nj", state.velocities, inverse[system])
