"""What features message passing has, and how their activations are scaled; nothing here needs torch."""

SILU_GAIN, TANH_GAIN = 1.6765, 1.5925  # 1/√<f(x)²> for a normal x


def irreps_of_layers(l_max, parity, layers):
    """Irreps (l, parity) of the features before, between and after the layers; scalars first."""
    allowed = [(l, p) for l in range(l_max + 1) for p in ((1, -1) if parity else ((-1) ** l,))]
    out = [[(0, 1)]]
    for k in range(layers):
        wanted = [(0, 1)] if k == layers - 1 else allowed
        out.append([x for x in wanted if any(p * (-1) ** l2 == x[1] and abs(l - l2) <= x[0] <= l + l2
                                             for l, p in out[-1] for l2 in range(l_max + 1))])
    return out


def paths(irreps_in, irreps_out, l_max):
    """(irrep in, degree of the harmonic, irrep out) of all products that a layer makes, those of an irrep out together."""
    return [(a, l2, c) for c, (lc, pc) in enumerate(irreps_out) for a, (la, pa) in enumerate(irreps_in)
            for l2 in range(l_max + 1) if pa * (-1) ** l2 == pc and abs(la - l2) <= lc <= la + l2]
