"""The uniform background that neutralises a net charge in periodic space: said once, as its energy is rarely what is meant."""

import warnings

NEUTRAL = 1e-3  # e of net charge that files with rounded charges have


def tell(label, comm, net):
    """Warn, on one rank, if one of the net charges (S,) e is not zero."""
    worst = max(net, key=abs)
    if abs(worst) > NEUTRAL and comm.rank == 0:
        warnings.warn(f"{label}: the net charge is {worst:.4g} e; a uniform background neutralises it, whose energy and pressure "
                      "hang on the volume", stacklevel=3)
