"""How per-atom and per-pair kernels are written, compiled and cached."""
