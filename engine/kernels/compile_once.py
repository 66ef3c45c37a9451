"""Of many processes that need the same kernel one compiles it, while the others wait and load it from the cache.

Numba itself lets all of them compile, and processes that store different variants of a function at the same time may
lose each other's entries. Under a lock for each function that is not in the cache yet, neither happens. The lock is a
file's, released by the system if its holder dies; where files cannot be locked, all compile, as they would without.
"""

import fcntl
import hashlib
import os
from contextlib import contextmanager

from numba.core.dispatcher import Dispatcher

from engine.kernels.compiled import cache_folder

_compile = Dispatcher.compile
_held: set[str] = set()  # by this process: a function that calls itself is compiled inside its own compilation


def install():
    """From now on, in this process; harmless to repeat."""
    Dispatcher.compile = _compile_once


def _compile_once(self, signature):
    index = getattr(getattr(self._cache, "_cache_file", None), "_index_path", None)
    if index is None or index in _held or _is_cached(self, signature):
        return _compile(self, signature)
    with _lock(index):
        return _compile(self, signature)  # which looks into the cache again first


def _is_cached(dispatcher, signature):
    cache = dispatcher._cache
    file = cache._cache_file
    name = file._load_index().get(cache._index_key(signature, dispatcher.targetctx.codegen()))
    return name is not None and os.path.exists(file._data_path(name))


@contextmanager
def _lock(index):
    folder = cache_folder() / "locks"
    try:
        folder.mkdir(exist_ok=True)
        file = open(folder / hashlib.sha256(index.encode()).hexdigest()[:20], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        yield
        return
    _held.add(index)
    try:
        yield
    finally:
        _held.discard(index)
        file.close()
