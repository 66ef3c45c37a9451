"""Source text of what an electric field adds to a kernel: the quadratic form of ``plugins.dielectric.model``.

The readout has four columns ε, p, a, b for each edge of direction n, and with along = n·E

    axis = −1:   F = ε − p along − ½ a E² − ½ b (along² − E²/3),   and P, α on the way
    axis = 0…2:  P_axis = p n_axis + a E_axis + b (along n_axis − E_axis/3), instead of F: its gradient gives Born charges

*Seeds* are the derivatives on the four columns. All but energies are divided by the centre's scale, which the kernel
multiplies into every gradient at the end.
"""

from __future__ import annotations

FUNCTIONS = """
@compiled
def respond(w, te, first, last, o_x, o_E, o_seed, field, s, scales, z, axis, polarization, polarizability):
    \"\"\"Seeds of the edges of one centre; their enthalpies in place of ε; their parts of P and α.\"\"\"
    ex, ey, ez = field[s, 0], field[s, 1], field[s, 2]
    square, unscale = ex * ex + ey * ey + ez * ez, 1.0 / scales[z]
    for e in range(first, last):
        x, y, z_ = float(w[o_x + e]), float(w[o_x + te + e]), float(w[o_x + 2 * te + e])
        p, a, b = float(w[o_E + te + e]), float(w[o_E + 2 * te + e]), float(w[o_E + 3 * te + e])
        along = x * ex + y * ey + z_ * ez
        if axis < 0:
            s1, s2, s3 = -along, -0.5 * square, -0.5 * (along * along - square / 3.0)
            w[o_seed + e] = 1.0
            w[o_E + e] += unscale * (s1 * p + s2 * a + s3 * b)
            c, d = p + b * along, a - b / 3.0
            polarization[s, 0] += c * x + d * ex
            polarization[s, 1] += c * y + d * ey
            polarization[s, 2] += c * z_ + d * ez
            polarizability[s, 0, 0] += d + b * x * x
            polarizability[s, 1, 1] += d + b * y * y
            polarizability[s, 2, 2] += d + b * z_ * z_
            polarizability[s, 0, 1] += b * x * y
            polarizability[s, 0, 2] += b * x * z_
            polarizability[s, 1, 2] += b * y * z_
        else:
            s1, s2 = (x if axis == 0 else y if axis == 1 else z_), field[s, axis]
            s3 = along * s1 - s2 / 3.0
            w[o_seed + e] = 0.0
        w[o_seed + te + e], w[o_seed + 2 * te + e], w[o_seed + 3 * te + e] = unscale * s1, unscale * s2, unscale * s3


@compiled
def respond_back(w, te, first, last, o_x, o_E, o_n, field, s, scales, z, axis):
    \"\"\"What the directions themselves contribute to the gradient: along and n_axis are made of them.\"\"\"
    ex, ey, ez = field[s, 0], field[s, 1], field[s, 2]
    unscale = 1.0 / scales[z]
    for e in range(first, last):
        p, b = float(w[o_E + te + e]), float(w[o_E + 3 * te + e])
        c = p + b * (w[o_x + e] * ex + w[o_x + te + e] * ey + w[o_x + 2 * te + e] * ez)
        t = -c
        if axis >= 0:
            w[o_n + axis * te + e] += unscale * c
            t = b * w[o_x + axis * te + e]
        w[o_n + e] += unscale * t * ex
        w[o_n + te + e] += unscale * t * ey
        w[o_n + 2 * te + e] += unscale * t * ez

"""

ARGUMENTS = ", field, axis, polarization, polarizability"
CENTRE = "first[b], first[b + 1], o_x, o_E, {}, field, system[i + b], scales, species[i + b], axis"
FORWARD = ["for b in range(atoms):", f"    respond(w, te, {CENTRE.format('o_seed')}, polarization, polarizability)"]
BACKWARD = [f"    respond_back(w, te, {CENTRE.format('o_n')})"]  # for every centre
