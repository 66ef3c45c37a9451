"""How per-atom and per-pair kernels are written, compiled and cached."""

from engine.kernels import loading

loading.install()
