"""Machine code from Numba's cache without waking Numba's compiler.

Before Numba loads a cached function it fills its tables of everything that it could compile: a hundred modules and, through
its check for a BLAS, SciPy's linear algebra; a quarter of the time from `engine run` to step 1. Loading needs none of
it, and a function that is not in the cache has the tables filled by the compiler itself before it begins. So they stay
empty until then. What code from the cache may refer to by name is there: Numba's own run-time library is started here, and
where packages that extend Numba are installed, whose names only the tables bring, everything is left as it is.
"""

from numba.core.caching import Cache
from numba.core.runtime import rtsys

from engine import registry

_load = Cache.load_overload


def load_overload(cache, signature, context):
    """Numba's ``Cache.load_overload`` with a context that is not refreshed first."""
    import numba.cpython.hashing  # noqa: F401 (the secrets of Python's hashes, by name)

    rtsys.initialize(context)
    context.refresh = lambda: None
    try:
        return _load(cache, signature, context)
    finally:
        context.__dict__.pop("refresh", None)  # a function loaded while this one was has taken it away already


def install():
    if not registry.entry_points("numba_extensions"):
        Cache.load_overload = load_overload
