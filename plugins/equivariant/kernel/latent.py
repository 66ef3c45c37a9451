"""Source text of what latent charges (``plugins.equivariant.charges``) add to a kernel.

The readout has two columns for each edge, energy and charge. A first call (`only`) goes forward and sums the second into
`charges` (n,); then somebody finds what the charges do to each other, and a second call takes `potential` (n,), φ = ∂E/∂q,
through the network with the energy. *Seeds* are the derivatives on the two columns, (1, φ of the centre / its scale), as the
kernel multiplies the centre's scale into every gradient at the end.
"""

FUNCTIONS = """
@compiled
def charge(w, te, first, last, o_E, o_seed, a, scales, z, potential, charges):
    \"\"\"Seeds of the edges of centre `a`; the sum of their charges.\"\"\"
    total, seed = 0.0, potential[a] / scales[z]
    for e in range(first, last):
        total += w[o_E + te + e]
        w[o_seed + e] = 1.0
        w[o_seed + te + e] = seed
    charges[a] = total
"""

ARGUMENTS = ", potential, charges, only"
FORWARD = ["for b in range(atoms):",
           "    charge(w, te, first[b], first[b + 1], o_E, o_seed, i + b, scales, species[i + b], potential, charges)",
           "if only:", "    i += atoms", "    continue"]
BACKWARD = []
