"""Stillinger–Weber and Tersoff of one species over the lanes of a register; the equations are in their own files.

The angular sum of Stillinger–Weber needs no triplets: with weights e_j = exp[γσ/(r_j − aσ)] and unit vectors n_j,

    Σ_{j<k} (n_j·n_k − c)² e_j e_k = ½ [|M2|² − 2c |M1|² + c² M0² − (1 − c)² Σ e_j²],   M_l = Σ_j e_j n_j^⊗l

In Tersoff's, what the loop over k finds for ζ_ij is kept for the gradient. Parameters are rows of the scalar functions'.
"""
from engine.kernels.simd import cos, exp, like, load, log, minimum, reciprocal, rsqrt, select, sin, store

HALF_PI = 1.5707963267948966


def stillinger_weber_lanes(count, cutoff2, bonds, parameters, work, gradient):
    """Parameters (11,) with p = 4 and q = 0."""
    sigma, gamma, c0 = parameters[1], parameters[4], parameters[5]
    end, k3 = parameters[1] * parameters[2], parameters[3] * parameters[0]
    big_a, big_b = parameters[6] * parameters[0], parameters[7]
    zero = like(0.0, load(bonds, 0, 8))
    m0, square, energy = zero, zero, zero
    ax, ay, az = zero, zero, zero
    xx, yy, zz, xy, xz, yz = zero, zero, zero, zero, zero, zero
    for s in range(count):
        r2 = load(bonds, 32 * s + 24, 8)
        inverse = rsqrt(r2)
        r = r2 * inverse
        w = reciprocal(minimum(r - end, -1e-9))
        u = sigma * w
        there = (r2 < cutoff2) & (u > -300.0)       # beyond, the exponentials are zero to all digits
        u, w = select(there, u, -1.0), select(there, w, -1.0)
        e2, e3 = select(there, exp(u), 0.0), select(there, exp(gamma * u), 0.0)
        x2 = sigma * inverse * sigma * inverse
        x4 = big_b * x2 * x2
        energy += 0.5 * big_a * (x4 - 1.0) * e2
        nx, ny, nz = load(bonds, 32 * s, 8) * inverse, load(bonds, 32 * s + 8, 8) * inverse, load(
            bonds, 32 * s + 16, 8) * inverse
        o = 160 * s
        store(work, o, nx)
        store(work, o + 8, ny)
        store(work, o + 16, nz)
        store(work, o + 24, inverse)
        store(work, o + 32, e3)
        store(work, o + 40, -gamma * u * w * e3)
        store(work, o + 48, 0.5 * big_a * e2 * (-4.0 * x4 * inverse - (x4 - 1.0) * u * w))
        m0 += e3
        square += e3 * e3
        px, py, pz = e3 * nx, e3 * ny, e3 * nz
        ax, ay, az = ax + px, ay + py, az + pz
        xx, yy, zz = xx + px * nx, yy + py * ny, zz + pz * nz
        xy, xz, yz = xy + px * ny, xz + px * nz, yz + py * nz
    energy += 0.5 * k3 * (xx * xx + yy * yy + zz * zz + 2.0 * (xy * xy + xz * xz + yz * yz)
                          - 2.0 * c0 * (ax * ax + ay * ay + az * az) + c0 * c0 * m0 * m0
                          - (1.0 - c0) * (1.0 - c0) * square)
    for s in range(count):
        o = 160 * s
        nx, ny, nz = load(work, o, 8), load(work, o + 8, 8), load(work, o + 16, 8)
        inverse, e3, slope, pair = load(work, o + 24, 8), load(work, o + 32, 8), load(work, o + 40, 8), load(
            work, o + 48, 8)
        vx, vy, vz = xx * nx + xy * ny + xz * nz, xy * nx + yy * ny + yz * nz, xz * nx + yz * ny + zz * nz
        along = ax * nx + ay * ny + az * nz
        twice = vx * nx + vy * ny + vz * nz
        turn = 2.0 * k3 * e3 * inverse
        radial = pair + k3 * slope * (twice - 2.0 * c0 * along + c0 * c0 * m0 - e3 * ((1.0 - c0) * (1.0 - c0)))
        radial -= turn * (twice - c0 * along)
        store(gradient, 24 * s, radial * nx + turn * (vx - c0 * ax))
        store(gradient, 24 * s + 8, radial * ny + turn * (vy - c0 * ay))
        store(gradient, 24 * s + 16, radial * nz + turn * (vz - c0 * az))
    return energy


def tersoff_lanes(count, cutoff2, bonds, parameters, work, gradient):
    """Parameters (14,)."""
    m, gamma, lambda3 = parameters[0], parameters[1], parameters[2]
    c2, d2, c0 = parameters[3] * parameters[3], parameters[4] * parameters[4], parameters[5]
    n, beta, lambda2, big_b = parameters[6], parameters[7], parameters[8], parameters[9]
    big_r, big_d, lambda1, big_a = parameters[10], parameters[11], parameters[12], parameters[13]
    ratio, width = c2 / d2, HALF_PI / big_d if big_d > 0.0 else 1e30
    cubic, stretched = m == 3.0, lambda3 != 0.0
    l3 = lambda3 * lambda3 * lambda3 if cubic else lambda3
    zero = like(0.0, load(bonds, 0, 8))
    energy = zero
    for s in range(count):
        r2 = load(bonds, 32 * s + 24, 8)
        there = r2 < cutoff2
        inverse = rsqrt(r2)
        r = r2 * inverse
        phase = (r - big_r) * width
        inner, outer = phase <= -HALF_PI, phase >= HALF_PI
        phase = select(inner | outer, 0.0, phase)
        fade = select(there, select(inner, 1.0, select(outer, 0.0, 0.5 - 0.5 * sin(phase))), 0.0)
        slope = select(there & ~(inner | outer), -0.5 * width * cos(phase), 0.0)
        repulsion, attraction = 0.5 * big_a * exp(-lambda1 * r), -0.5 * big_b * exp(-lambda2 * r)
        energy += fade * repulsion
        o = 160 * s
        store(work, o, load(bonds, 32 * s, 8) * inverse)
        store(work, o + 8, load(bonds, 32 * s + 8, 8) * inverse)
        store(work, o + 16, load(bonds, 32 * s + 16, 8) * inverse)
        store(work, o + 24, inverse)
        store(work, o + 32, r)
        store(work, o + 40, fade)
        store(work, o + 48, slope)
        store(work, o + 56, slope * repulsion - lambda1 * fade * repulsion)
        store(work, o + 64, fade * attraction)
        store(work, o + 72, slope * attraction - lambda2 * fade * attraction)
        for d in range(3):
            store(gradient, 24 * s + 8 * d, zero)
    for j in range(count):
        o = 160 * j
        jx, jy, jz, j_inverse, rj = load(work, o, 8), load(work, o + 8, 8), load(work, o + 16, 8), load(
            work, o + 24, 8), load(work, o + 32, 8)
        zeta = zero
        for k in range(count):
            if k == j:
                continue
            q = 160 * k
            cosine = jx * load(work, q, 8) + jy * load(work, q + 8, 8) + jz * load(work, q + 16, 8)
            h = cosine - c0
            inner = reciprocal(d2 + h * h)
            g = gamma * (1.0 + ratio - c2 * inner)
            dg = 2.0 * gamma * c2 * inner * inner * h
            stretch, rate = like(1.0, zero), zero
            if stretched:
                gap = rj - load(work, q + 32, 8)
                if cubic:
                    stretch, rate = exp(minimum(l3 * gap * gap * gap, 69.0)), 3.0 * l3 * gap * gap
                else:
                    stretch, rate = exp(minimum(l3 * gap, 69.0)), like(l3, zero)
            store(work, q + 80, cosine)
            store(work, q + 88, g * stretch)
            store(work, q + 96, dg * stretch)
            store(work, q + 104, rate)
            zeta += load(work, q + 40, 8) * g * stretch
        bound = zeta > 1e-200
        safe = select(bound, zeta, 1.0)
        t = exp(n * log(beta * safe))
        order = select(bound, exp((-0.5 / n) * log(1.0 + t)), 1.0)
        attraction = load(work, o + 64, 8)
        energy += order * attraction
        by_zeta = select(bound, -0.5 * attraction * order * t / ((1.0 + t) * safe), 0.0)
        radial = load(work, o + 56, 8) + order * load(work, o + 72, 8)
        gx, gy, gz = zero, zero, zero
        for k in range(count):
            if k == j:
                continue
            q = 160 * k
            kx, ky, kz, k_inverse = load(work, q, 8), load(work, q + 8, 8), load(work, q + 16, 8), load(work, q + 24, 8)
            fade, slope, cosine = load(work, q + 40, 8), load(work, q + 48, 8), load(work, q + 80, 8)
            weight, turn = by_zeta * load(work, q + 88, 8), by_zeta * fade * load(work, q + 96, 8)
            change = weight * fade * load(work, q + 104, 8)
            on_j, on_k = turn * j_inverse, turn * k_inverse
            radial += change - on_j * cosine
            gx, gy, gz = gx + on_j * kx, gy + on_j * ky, gz + on_j * kz
            along = weight * slope - change - on_k * cosine
            p = 24 * k
            store(gradient, p, load(gradient, p, 8) + along * kx + on_k * jx)
            store(gradient, p + 8, load(gradient, p + 8, 8) + along * ky + on_k * jy)
            store(gradient, p + 16, load(gradient, p + 16, 8) + along * kz + on_k * jz)
        p = 24 * j
        store(gradient, p, load(gradient, p, 8) + radial * jx + gx)
        store(gradient, p + 8, load(gradient, p + 8, 8) + radial * jy + gy)
        store(gradient, p + 16, load(gradient, p + 16, 8) + radial * jz + gz)
    return energy
