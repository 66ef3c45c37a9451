"""The ground floor: state, lists, domains, loop, input and output. It knows no potential or integrator by name."""

__version__ = "0.1.0"
