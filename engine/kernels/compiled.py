"""Generated kernels as real files, so that Numba can cache their machine code.

Numba caches neither closures nor ``exec``-ed code. A driver that is to be compiled around a plugin's function is
therefore written out as a small module in a per-user folder, named by a hash of everything that determines its
machine code (its text, the sources of the modules that its functions come from, the processor, the versions), and
imported from there. The file is written whole and renamed, so that many processes may do it at once.
"""

import hashlib
import importlib.util
import inspect
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import llvmlite.binding as llvm
import numba

import engine

_modules: dict[str, object] = {}


def cache_folder() -> Path:
    """``$ENGINE_CACHE``, else ``$XDG_CACHE_HOME/engine-md``, else ``~/.cache/engine-md``; a temporary one if that
    cannot be written."""
    base = os.environ.get("ENGINE_CACHE")
    path = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "engine-md"
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK):
            return path
    except OSError:
        pass
    return _temporary()


@lru_cache
def _temporary():
    return Path(tempfile.mkdtemp(prefix="engine-md-"))


@lru_cache
def _machine():
    return "|".join([engine.__version__, numba.__version__, llvm.get_host_cpu_name(),
                     llvm.get_host_cpu_features().flatten(), sys.version])


@lru_cache
def _source_of(module_name):
    """The text of a module and of the modules of this project or plugin that it imports from, which Numba's own cache
    does not watch."""
    seen, queue, texts = set(), [module_name], []
    top = module_name.split(".")[0]
    while queue:
        name = queue.pop()
        module = sys.modules.get(name)
        if name in seen or module is None or not getattr(module, "__file__", None):
            continue
        seen.add(name)
        texts.append(Path(module.__file__).read_text())
        for thing in vars(module).values():
            origin = thing.__name__ if inspect.ismodule(thing) else getattr(thing, "__module__", None)
            if isinstance(origin, str) and origin.split(".")[0] in (top, "engine", "potentials"):
                queue.append(origin)
    return "\n".join(sorted(texts))


def load(source: str, functions: dict | None = None, name: str = "kernel"):
    """Import `source` as a module in which each of `functions` is defined, from the cache if it is there.

    `functions` maps names used in the source to plain Python functions (or Numba ones) that are importable from
    their module by their own name. Returns the module.
    """
    functions = functions or {}
    imports = []
    for local, function in functions.items():
        function = getattr(function, "py_func", function)
        if "<" in function.__qualname__ or "." in function.__qualname__:
            raise TypeError(f"{function.__qualname__} is not defined at the top level of a module: it cannot be cached")
        imports.append(f"from {function.__module__} import {function.__name__} as {local}")
    text = "\n".join(imports) + "\n" + source
    digest = hashlib.sha256()
    for part in [text, _machine(), *(_source_of(getattr(f, "py_func", f).__module__) for f in functions.values())]:
        digest.update(part.encode())
    key = f"{name}_{digest.hexdigest()[:20]}"
    if key in _modules:
        return _modules[key]
    path = cache_folder() / f"{key}.py"
    if not path.exists():
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(f"engine_generated.{key}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    _modules[key] = module
    return module
