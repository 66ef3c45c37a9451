"""Source text of the tensor track: sums over a centre's edges, operators for each centre, and their ways back.

Rows of `w` for edge e start at ``o_<buffer> + e * <width>``; weights are stored by degree, channels innermost; the
buffers of a centre atom hold one register row for each component. The products' coefficients are lists
(i, j, k) in `table` and values with one number for each channel in `data`.
"""

from __future__ import annotations

from plugins.equivariant.angular import degrees
from plugins.equivariant.kernel.geometry import gradient_entries, stored


def _dot(names, l_max):
    """For every degree: the sum over its components of Y times `names`."""
    return [" + ".join((f"y{i} * {names}{i}" if i else f"{names}0") for i in range(l * l, (l + 1) ** 2))
            for l in range(l_max + 1)]


def _harmonics(dim, indent):
    return [f"{indent}y{i} = item(w, o_Y + {i} * te + e)" for i in range(1, dim)]


def functions(l_max: int, layers: int, channels: int, lanes: int) -> str:
    dim, degree = (l_max + 1) ** 2, degrees(l_max)
    t: list[str] = []

    def add(*lines):
        t.extend(lines)

    def weights(name, buffer, indent, row="e"):
        return [f"{indent}{name}{l} = load(w, {buffer} + {l * channels} + c, {lanes})" for l in range(l_max + 1)]

    def components(name, buffer, indent):
        return [f"{indent}{name}{i} = load(w, {buffer} + {i * channels} + c, {lanes})" for i in range(dim)]

    blocks = f"    for c in range(0, {channels}, {lanes}):"

    add("@compiled", "def gather_sum(w, te, o_Y, first, last, weight, ld, out):",
        '    """out_i = Σ_e w_l Y_i."""', blocks)
    add(*[f"        s{i} = ZERO()" for i in range(dim)], "        for e in range(first, last):")
    add(*_harmonics(dim, " " * 12), "            row = weight + e * ld", *weights("v", "row", " " * 12))
    add(*[f"            s{i} = s{i} + " + (f"y{i} * v{degree[i]}" if i else "v0") for i in range(dim)])
    add(*[f"        store(w, out + {i * channels} + c, s{i})" for i in range(dim)], "")

    add("@compiled", "def edge_dot(w, te, o_Y, first, last, weight, ld, vector, out):",
        '    """out_e = Σ_i w_l Y_i n_i."""', blocks, *components("n", "vector", " " * 8))
    add("        for e in range(first, last):", *_harmonics(dim, " " * 12), "            row = weight + e * ld",
        *weights("v", "row", " " * 12))
    add(f"            store(w, out + e * {channels} + c, "
        + " + ".join(f"v{l} * ({s})" for l, s in enumerate(_dot("n", l_max))) + ")", "")

    add("@compiled", "def edge_dot_back(w, te, o_Y, first, last, weight, ld, scalar, out):",
        '    """out_i = Σ_e (∂E/∂s_e) w_l Y_i."""', blocks)
    add(*[f"        s{i} = ZERO()" for i in range(dim)], "        for e in range(first, last):")
    add(*_harmonics(dim, " " * 12), f"            d = load(w, scalar + e * {channels} + c, {lanes})",
        "            row = weight + e * ld", *weights("v", "row", " " * 12))
    add(*[f"            v{l} = v{l} * d" for l in range(l_max + 1)])
    add(*[f"            s{i} = s{i} + " + (f"y{i} * v{degree[i]}" if i else "v0") for i in range(dim)])
    add(*[f"        store(w, out + {i * channels} + c, s{i})" for i in range(dim)], "")

    add("@compiled", "def gather_sum_back(w, te, o_Y, first, last, environment, out, ld):",
        '    """∂E/∂w_l = Σ_i Y_i ∂E/∂A_i."""', blocks, *components("n", "environment", " " * 8))
    add("        for e in range(first, last):", *_harmonics(dim, " " * 12), "            row = out + e * ld")
    add(*[f"            store(w, row + {l * channels} + c, {s})" for l, s in enumerate(_dot("n", l_max))], "")

    add(*edge_gradient(l_max, layers, layers, channels, lanes))
    add(*_operators(channels, lanes))
    return "\n".join(t)


def edge_gradient(l_max, dots, environments, channels, lanes, name="edge_gradient"):
    """∂E/∂n (three numbers) and ∂E/∂w⁰ of each edge, from `dots` pairs (∂E/∂s, n) of scalars and vectors and as many pairs
    (w, ∂E/∂A) of weights and environments as there are `environments`: Σ w⁰ ∂E/∂s n + Σ w ∂E/∂A."""
    dim, degree = (l_max + 1) ** 2, degrees(l_max)
    arguments = "".join(f", o_g{k}, n{k}" for k in range(dots)) + "".join(f", o_e{k}, ld_e{k}, a{k}" for k in range(environments))
    t = ["@compiled",
         f"def {name}(w, te, o_Y, o_J, o_n, first, last, o_u, ld_u, o_gu, ld_gu{arguments}):",
         "    for e in range(first, last):", *_harmonics(dim, " " * 8)]
    entries, kept = gradient_entries(l_max), stored(l_max)
    t += [f"        j{k}_{axis} = item(w, o_J + {kept.index((k, axis))} * te + e)" for k, axis in kept]
    t += ["        gx = ZERO()", "        gy = ZERO()", "        gz = ZERO()"]
    t += [f"        for c in range(0, {channels}, {lanes}):"]
    pad = " " * 12

    def weights(name, buffer):
        return [f"{pad}{name}{l} = load(w, {buffer} + {l * channels} + c, {lanes})" for l in range(l_max + 1)]

    t += [f"{pad}row = o_u + e * ld_u", *weights("u", "row")]
    t += [f"{pad}d{k} = load(w, o_g{k} + e * {channels} + c, {lanes})" for k in range(dots)]
    for k in range(environments):
        t += [f"{pad}row = o_e{k} + e * ld_e{k}", *weights(f"v{k}_", "row")]
    for i in range(dim):
        t.append(f"{pad}m{i} = " + " + ".join(f"d{k} * load(w, n{k} + {i * channels} + c, {lanes})" for k in range(dots)))
    t.append(f"{pad}row = o_gu + e * ld_gu")
    t += [f"{pad}store(w, row + {l * channels} + c, {s})" for l, s in enumerate(_dot("m", l_max))]
    for i in range(1, dim):
        l = degree[i]
        rest = " + ".join(f"v{k}_{l} * load(w, a{k} + {i * channels} + c, {lanes})" for k in range(environments))
        t.append(f"{pad}m{i} = u{l} * m{i} + {rest}")
    for axis, letter in enumerate("xyz"):
        terms = [f"{constant!r} * m{i}" if constant is not None else f"j{i}_{axis} * m{i}"
                 for i, a, constant in entries if a == axis]
        if terms:
            t.append(f"{pad}g{letter} = g{letter} + " + " + ".join(terms))
    t += [f"        w[o_n + {axis} * te + e] = hsum(g{letter})" for axis, letter in enumerate("xyz")]
    return t + [""]


def _operators(channels, lanes):
    """The products of a centre atom with coefficient lists, and their derivatives."""
    load = lambda base, index: f"load(w, {base} + {index} * {channels} + c, {lanes})"  # noqa: E731
    head = ["    for q in range(start, stop):",
            "        i, j, k = table[q, 0], table[q, 1], table[q, 2]",
            f"        for c in range(0, {channels}, {lanes}):",
            f"            t = load(data, values + (q - start) * {channels} + c, {lanes})"]
    t = ["@compiled", "def clear(w, start, count):",
         f"    for c in range(start, start + count, {lanes}):", "        store(w, c, ZERO())", ""]
    t += ["@compiled", "def project(w, data, table, start, stop, values, environment, out):",
          '    """m_i = Σ C_ij0 A_j: only entries that give a scalar."""', *head,
          f"            if k == 0:\n                store(w, out + i * {channels} + c, {load('out', 'i')} + "
          f"t * {load('environment', 'j')})", ""]
    t += ["@compiled", "def project_back(w, data, table, start, stop, values, g_out, g_environment):", *head,
          f"            if k == 0:\n                store(w, g_environment + j * {channels} + c, "
          f"{load('g_environment', 'j')} + t * {load('g_out', 'i')})", ""]
    t += ["@compiled", "def operate(w, data, table, start, stop, values, environment, vector, out):",
          '    """out_i = Σ C_ijk A_j v_k."""', *head,
          f"            store(w, out + i * {channels} + c, {load('out', 'i')} + "
          f"t * {load('environment', 'j')} * {load('vector', 'k')})", ""]
    t += ["@compiled",
          "def operate_back(w, data, table, start, stop, values, environment, vector, g_out, g_environment, g_vector):",
          *head,
          f"            t = t * {load('g_out', 'i')}",
          f"            store(w, g_environment + j * {channels} + c, {load('g_environment', 'j')} + "
          f"t * {load('vector', 'k')})",
          f"            store(w, g_vector + k * {channels} + c, {load('g_vector', 'k')} + "
          f"t * {load('environment', 'j')})", ""]
    return t
