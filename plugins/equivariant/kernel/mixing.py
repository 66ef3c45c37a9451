"""Source text of a field that is mixed into every centre's environment: the full form of ``plugins.dielectric.model``.

The field E of a system is one neighbor more, whose weights v_l(Z) are constants and whose harmonics are solid, so that it is a
polynomial of E:

    A_k += √n v_lk(Z) Y_l(E/E₀),  l ≥ 1        and on the way back        P = −∂F/∂E = −Σ_k ∂F/∂A_k √n v_lk ∂Y_l/∂E

(√n, for the kernel divides by √n where it multiplies by A). One way forward and one back give energy, forces, virial and P at
all orders in E, for some additions more for each centre.
"""

from __future__ import annotations

import math

import numpy as np

from plugins.equivariant.angular import degrees, dimension, lowering, raising
from plugins.equivariant.kernel.plan import Plan

ARGUMENTS = ", harmonics, slopes, polarization"


def has_field(p: Plan):
    return "field0" in p.vectors


def extend(p: Plan):
    """Room for the weights of every layer, (species, l, padded channels)."""
    d = p.description
    for k in range(d.layers):
        p.vector(f"field{k}", len(d.species) * d.l_max * p.channels)


def fold(p: Plan, arrays, data):
    d = p.description
    for k in range(d.layers):
        found = np.zeros((len(d.species), d.l_max, p.channels))
        found[:, :, : d.channels] = arrays[f"field_weights.{k}"].reshape(len(d.species), d.l_max, d.channels)
        data[p.vectors[f"field{k}"]:][: found.size] = math.sqrt(d.neighbors) * found.ravel()


def harmonics(field, l_max):
    """(S, dimension) solid harmonics of fields (S, 3), their first (S, dimension, 3) and second derivatives (..., 3, 3)."""
    s = len(field)
    parts, slopes, bends = [np.ones((s, 1))], [np.zeros((s, 1, 3))], [np.zeros((s, 1, 3, 3))]
    for l in range(l_max):
        bends.append(np.einsum("kia,sib->skab", lowering(l + 1), slopes[-1]))
        slopes.append(np.einsum("kia,si->ska", lowering(l + 1), parts[-1]))
        parts.append(np.einsum("kij,si,sj->sk", raising(l), parts[-1], field))
    return tuple(np.concatenate(x, 1) for x in (parts, slopes, bends))


def functions(p: Plan) -> str:
    d, degree, dim = p.description, degrees(p.description.l_max), dimension(p.description.l_max)
    weights = [f"        v{l} = load(data, weights + {(l - 1) * p.channels} + c, {p.lanes})" for l in range(1, d.l_max + 1)]
    loop = f"    for c in range(0, {p.channels}, {p.lanes}):"
    t = ["@compiled", "def mix(w, data, weights, out, harmonics, s):", loop, *weights]
    for i in range(1, dim):
        at = f"out + {i * p.channels} + c"
        t.append(f"        store(w, {at}, load(w, {at}, {p.lanes}) + v{degree[i]} * "
                 f"splat(item(harmonics, s * {dim} + {i}), {p.lanes}))")
    t += ["", "@compiled", "def mix_back(w, data, weights, gradient, slopes, s, scales, z, polarization):"]
    t += [f"    p{axis} = ZERO()" for axis in "xyz"] + [loop, *weights]
    for i in range(1, dim):
        t.append(f"        t = v{degree[i]} * load(w, gradient + {i * p.channels} + c, {p.lanes})")
        t += [f"        p{axis} = fused(t, splat(item(slopes, s * {3 * dim} + {3 * i + a}), {p.lanes}), p{axis})"
              for a, axis in enumerate("xyz")]
    t += [f"    polarization[s, {a}] -= scales[z] * float(hsum(p{axis}))" for a, axis in enumerate("xyz")]
    return "\n".join(t) + "\n"


def _weights(p, k):
    return f"{p.vectors[f'field{k}']} + species[i + b] * {p.description.l_max * p.channels}"


def forward(p, k, environment):
    """The line that adds the field to an environment."""
    return f"    mix(w, data, {_weights(p, k)}, {environment}, harmonics, system[i + b])"


def backward(p, k, gradient):
    """The line that takes P from the environment's gradient."""
    return (f"    mix_back(w, data, {_weights(p, k)}, {gradient}, slopes, system[i + b], scales, species[i + b], polarization)")
