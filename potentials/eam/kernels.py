"""The three passes of an embedded-atom potential over a half list: densities, embedding, forces."""

from numba import njit


@njit(cache=True, error_model="numpy", inline="always")
def _spline(c, p):
    return ((c[3] * p + c[2]) * p + c[1]) * p + c[0]


@njit(cache=True, nogil=True, error_model="numpy")
def densities(begin, end, x, species, offsets, indices, cutoff2, per_r, f, rho):
    """Add to rho (n_all,); f (T, T, n_r − 1, 4) spline records."""
    last = f.shape[2] - 1
    for i in range(begin, end):
        xi, yi, zi, si = x[i, 0], x[i, 1], x[i, 2], species[i]
        total = 0.0
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = xi - x[j, 0], yi - x[j, 1], zi - x[j, 2]
            r2 = dx * dx + dy * dy + dz * dz
            if r2 < cutoff2:
                s = r2**0.5 * per_r
                m = min(int(s), last)
                p = min(s - m, 1.0)
                sj = species[j]
                total += _spline(f[si, sj, m], p)
                rho[j] += _spline(f[sj, si, m], p)
        rho[i] += total


@njit(cache=True, nogil=True, error_model="numpy")
def embed(begin, end, rho, species, system, per_rho, F, slope, atom_energy, want_energy, want_atom, energy):
    """dF/dρ into slope (n,), energies added; beyond the last density F goes on linearly."""
    last = F.shape[1] - 1
    for i in range(begin, end):
        s = max(rho[i] * per_rho, 0.0)
        m = min(int(s), last)
        p = min(s - m, 1.0)
        c = F[species[i], m]
        slope[i] = ((3.0 * c[3] * p + 2.0 * c[2]) * p + c[1]) * per_rho
        e = _spline(c, p) + slope[i] * (s - m - p) / per_rho
        if want_energy:
            energy[system[i]] += e
        if want_atom:
            atom_energy[i] += e


@njit(cache=True, nogil=True, error_model="numpy")
def forces(
    begin, end, x, species, system, offsets, indices, cutoff2, per_r, f, rphi, slope, want_energy, want_virial, want_atom,
    want_atom_virial, force, energy, virial, atom_energy, atom_virial,
):
    """Pair and embedding forces from dF/dρ of owned atoms and ghosts; energies and virials as asked."""
    last = f.shape[2] - 1
    for i in range(begin, end):
        xi, yi, zi, si = x[i, 0], x[i, 1], x[i, 2], species[i]
        fx = fy = fz = es = 0.0
        wxx = wyy = wzz = wyz = wxz = wxy = 0.0
        for k in range(offsets[i], offsets[i + 1]):
            j = indices[k]
            dx, dy, dz = xi - x[j, 0], yi - x[j, 1], zi - x[j, 2]
            r2 = dx * dx + dy * dy + dz * dz
            if r2 < cutoff2:
                r = r2**0.5
                s = r * per_r
                m = min(int(s), last)
                p = min(s - m, 1.0)
                sj = species[j]
                a, b, c = f[si, sj, m], f[sj, si, m], rphi[si, sj, m]
                to_i = ((3.0 * a[3] * p + 2.0 * a[2]) * p + a[1]) * per_r
                to_j = ((3.0 * b[3] * p + 2.0 * b[2]) * p + b[1]) * per_r
                phi = _spline(c, p) / r
                dphi = ((3.0 * c[3] * p + 2.0 * c[2]) * p + c[1]) * per_r / r - phi / r
                w = -(slope[i] * to_i + slope[j] * to_j + dphi) / r
                gx, gy, gz = w * dx, w * dy, w * dz
                fx += gx
                fy += gy
                fz += gz
                force[j, 0] -= gx
                force[j, 1] -= gy
                force[j, 2] -= gz
                es += phi
                if want_virial:
                    wxx += dx * gx
                    wyy += dy * gy
                    wzz += dz * gz
                    wyz += dy * gz
                    wxz += dx * gz
                    wxy += dx * gy
                if want_atom:
                    atom_energy[i] += 0.5 * phi
                    atom_energy[j] += 0.5 * phi
                if want_atom_virial:
                    # w_i = Σ_j r_ij ⊗ ∂U_j/∂r_ji: the embedding of j acts where i stands (design, per-atom virial)
                    half = 0.5 * dphi
                    on_i, on_j = -(slope[j] * to_j + half) / r, -(slope[i] * to_i + half) / r
                    d = (dx, dy, dz)
                    for u in range(3):
                        for v in range(3):
                            atom_virial[i, u, v] += d[u] * d[v] * on_i
                            atom_virial[j, u, v] += d[u] * d[v] * on_j
        force[i, 0] += fx
        force[i, 1] += fy
        force[i, 2] += fz
        if want_energy:
            energy[system[i]] += es
        if want_virial:
            t = system[i]
            virial[t, 0, 0] += wxx
            virial[t, 1, 1] += wyy
            virial[t, 2, 2] += wzz
            virial[t, 1, 2] += wyz
            virial[t, 2, 1] += wyz
            virial[t, 0, 2] += wxz
            virial[t, 2, 0] += wxz
            virial[t, 0, 1] += wxy
            virial[t, 1, 0] += wxy
