"""Ahead-of-time compilation of a model by torch's Inductor: native code for one machine, beside the model's hash.

A package has dynamic numbers of atoms and neighbours. A local model is one function, (vectors, species, around) ->
(energies, gradient on vectors); where there are latent charges one more gives them, and this one takes what they feel.
Message passing is compiled in segments, each layer forward and its vector–Jacobian product, so that features can be
exchanged between them. Packages are native code: the engine makes its own and keeps
them in its cache by hash, and refuses one made for another torch, processor or number of threads.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from engine.errors import InputError, one_line
from engine.kernels.compiled import cache_folder
from engine.output.file import writing
from plugins.equivariant import devices
from plugins.equivariant import folder as folders
from plugins.equivariant.description import Description

TOLERANCE = {"float32": 2e-5, "float64": 1e-10}  # of the largest number, compiled against eager


def machine(device="cpu") -> dict:
    """What native code depends on; "form" : how the functions are written, to be counted up where that changes."""
    about = {"form": 3, "torch": torch.__version__, "machine": platform.machine(), "device": device}
    if devices.at_hand(device).type == "cpu":
        return about | {"threads": torch.get_num_threads(), "processor": torch.backends.cpu.get_cpu_capability()}
    return about | {"processor": f"{torch.cuda.get_device_name()} {torch.cuda.get_device_capability()}"}


def _readout(name, function, charges):
    """{name: (x, ...) -> energies and the gradient of their sum on x} of a function that ends in the readout.

    With `charges` it takes ∂E/∂q as its last argument, for the gradient, and ``charges`` gives q.
    """
    if not charges:
        def run(x, *rest):
            def total(x):
                each = function(x, *rest)
                return each.sum(), each
            gradient, each = torch.func.grad(total, has_aux=True)(x)
            return each, gradient
        return {name: run}

    def found(x, *rest):
        return function(x, *rest)[1]

    def answered(x, *rest):
        def total(x):
            each, q = function(x, *rest[:-1])
            return each.sum() + (q * rest[-1]).sum(), each
        gradient, each = torch.func.grad(total, has_aux=True)(x)
        return each, gradient
    return {"charges": found, name: answered}


def _layer(model, k):
    """Layer k forward, and its vector–Jacobian product, which recomputes it, so that nothing is kept between calls.

    Features of owned atoms and of ghosts (two at least) are two arguments, as their numbers are independent.
    """
    def forward(owned, ghosts, vectors, rows, species, around):
        return model.layer(k, torch.cat([owned, ghosts]), vectors, rows, species, around)

    def product(owned, ghosts, vectors, rows, species, around, g):
        def layer(o, h, v):
            return forward(o, h, v, rows, species, around)
        return torch.func.vjp(layer, owned, ghosts, vectors)[1](g)
    return forward, product


def _segments(model):
    out = {}
    for k in range(model.description.layers):
        out[f"forward{k}"], out[f"product{k}"] = _layer(model, k)
    return out | _readout("finish", model.finish, model.description.charges)


def functions(model):
    d = model.description
    for layer in getattr(model, "interactions", ()):
        layer.unrolled = True
    return _readout("whole", model, d.charges) if d.architecture == "local" else _segments(model)


def free_sizes(model):
    """Numbers of atoms, neighbours and ghosts unlike any other axis: tracing takes axes of one length for the same."""
    irreps = [x for layer in getattr(model, "interactions", ()) for x in (layer.irreps_in, layer.irreps_out)]
    taken = {1, 3, model.description.channels, *(sum(2 * l + 1 for l, _ in x) for x in irreps)}
    return [k for k in (6, 8, 5, 7, 10, 11, 13) if k not in taken][:3]


def examples(model, atoms=None, neighbours=None, ghosts=None, seed=0):
    """Arguments for every function, on the model's device, and which of their axes are dynamic."""
    d, rng, device = model.description, np.random.default_rng(seed), model.scales.device
    found = _examples(model, d, rng, *((atoms, neighbours, ghosts) if atoms else free_sizes(model)))
    return {name: (tuple(x.to(device) for x in arguments), axes) for name, (arguments, axes) in found.items()}


def _examples(model, d, rng, atoms, neighbours, ghosts):
    dtype = getattr(torch, d.dtype)
    direction = rng.normal(size=(atoms, neighbours, 3))
    length = rng.uniform(0.3, 1.1, (atoms, neighbours, 1)) * d.cutoff
    vectors = torch.tensor(direction / np.linalg.norm(direction, axis=-1, keepdims=True) * length, dtype=dtype)
    species = torch.tensor(rng.integers(0, len(d.species), atoms))
    around = torch.tensor(rng.integers(0, len(d.species), (atoms, neighbours)))
    a, n, h = (torch.export.Dim(name, min=2, max=2**30) for name in ("atoms", "neighbours", "ghosts"))
    edge = {0: a, 1: n}
    if d.architecture == "local":
        return _with_charges(d, "whole", (vectors, species, around), (edge, {0: a}, edge), atoms, rng, a)
    rows = torch.tensor(rng.integers(0, atoms + ghosts, (atoms, neighbours)))
    out = {}
    for k in range(d.layers):
        layer = model.interactions[k]
        size = [sum(2 * l + 1 for l, _ in irreps) for irreps in (layer.irreps_in, layer.irreps_out)]
        owned, others = (torch.tensor(rng.normal(size=(count, size[0], d.channels)), dtype=dtype)
                         for count in (atoms, ghosts))
        g = torch.tensor(rng.normal(size=(atoms, size[1], d.channels)), dtype=dtype)
        common, axes = (owned, others, vectors, rows, species, around), ({0: a}, {0: h}, edge, edge, {0: a}, edge)
        out[f"forward{k}"] = common, axes
        out[f"product{k}"] = (*common, g), (*axes, {0: a})
    last = torch.tensor(rng.normal(size=(atoms, 1, d.channels)), dtype=dtype)
    return out | _with_charges(d, "finish", (last, species), ({0: a}, {0: a}), atoms, rng, a)


def _with_charges(d, name, arguments, axes, atoms, rng, a):
    """Examples for what `_readout` made."""
    if not d.charges:
        return {name: (arguments, axes)}
    felt = torch.tensor(rng.normal(size=atoms), dtype=getattr(torch, d.dtype))
    return {"charges": (arguments, axes), name: ((*arguments, felt), (*axes, {0: a}))}


def _compile(function, arguments, axes, path):
    """Trace with symbolic sizes, so that derivatives become plain operations, then export and compile."""
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.no_grad():
        graph = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*arguments)
        program = torch.export.export(graph, arguments, dynamic_shapes=axes)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def compile_folder(model_folder, out=None, say=lambda text: None, force=False, device="cpu") -> Path:
    """Compile a model folder; returns the folder of packages, made once for this machine and these weights.

    out : where the package goes instead of into the cache, replacing one that is there only with `force`
    device : "cpu" or "cuda"
    """
    if out is not None:
        refuse_to_overwrite(out, force)
    d, arrays = folders.load(model_folder)
    about = {**machine(device), "weights": weights_hash(d, arrays), "species": d.species, "cutoff": d.cutoff,
             "units": "eV, Å", "architecture": d.architecture, "dtype": d.dtype, "layers": d.layers}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    target = Path(out).resolve() if out is not None else cache_folder() / f"aoti_{key}"
    if out is not None:
        return _compile_into(model_folder, target, d, about, say)
    with one_at_a_time(key):  # of the ranks of a run one compiles, the others wait for its package
        if not (target / "package.json").is_file():
            _compile_into(model_folder, target, d, about, say)
    return target


def refuse_to_overwrite(out, force):
    """Only a package may be replaced, and only where that was asked for."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the package")
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    other = [name for name in found if name != "package.json" and not name.endswith(".pt2")]
    if other:
        raise InputError(f"{out} holds '{other[0]}', so it is no package, and nothing is written there; name another folder")
    if found and not force:
        raise InputError(f"{out} holds a package; name another folder, or say --force to replace it")


@contextmanager
def one_at_a_time(name):
    """A lock on this name in the cache, released by the system if its holder dies; none where files cannot be locked."""
    folder = cache_folder() / "locks"
    try:
        folder.mkdir(exist_ok=True)
        file = open(folder / f"aoti_{name}", "w")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        yield
        return
    with file:
        yield


def _compile_into(model_folder, target, d, about, say):
    if not shutil.which(os.environ.get("CXX", "g++")) and not shutil.which("clang++"):
        raise InputError("compiling ahead of time needs a C++ compiler (g++ or clang++), and none is found")
    model = folders.to_model(model_folder).requires_grad_(False).to(about["device"])
    if about["device"] == "cuda":
        devices.find_toolkit()
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix="aoti_tmp_"))
    made, worst, begun = functions(model), 0.0, time.perf_counter()
    try:
        for name, (arguments, axes) in examples(model).items():
            say(f"compiling {name}")
            try:
                _compile(made[name], arguments, axes, temporary / f"{name}.pt2")
            except Exception as error:  # of torch, its compiler or the C++ compiler: there is the plain model still
                raise InputError(f"'{name}' of the model could not be compiled ahead of time ({type(error).__name__}: "
                                 f"{(str(error).strip().splitlines() or ['no message'])[0]})") from error
            worst = max(worst, _difference(made[name], temporary / f"{name}.pt2", examples(model, 19, 12, 17, 1)[name][0]))
        if not worst < TOLERANCE[d.dtype]:
            raise InputError(f"the compiled model differs from the plain one by {worst:.1e}; it is not used")
        about["difference_from_eager"] = worst
        (temporary / "package.json").write_text(json.dumps(about, indent=1))
        old = temporary.with_name(temporary.name + "_old")
        if target.exists():
            os.rename(target, old)
        os.rename(temporary, target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"compiled in {time.perf_counter() - begun:.0f} s, once for this machine; equals eager to {worst:.1e} (allowed "
        f"{TOLERANCE[d.dtype]:.0e}), at other numbers of atoms and neighbours")
    return target


def _difference(function, path, arguments):
    """Largest difference of outputs, relative to their largest number."""
    with torch.no_grad():
        plain, found = function(*arguments), torch._inductor.aoti_load_package(str(path))(*arguments)
    plain, found = ((x,) if isinstance(x, torch.Tensor) else tuple(x) for x in (plain, found))
    return max(float((a - b).abs().max() / (a.abs().max() + 1e-30)) for a, b in zip(plain, found))


def weights_hash(d: Description, arrays) -> str:
    digest = hashlib.sha256(d.identity().encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()[:20]


def load_packages(folder, d: Description, arrays, device="cpu") -> dict:
    """{name: function} of a folder of packages; refused in one line where they are not for this model and machine."""
    folder = Path(folder)
    try:
        about = dict(json.loads((folder / "package.json").read_text()))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder} holds no compiled model: package.json is missing or cannot be read") from None
    for key, value in {**machine(device), "weights": weights_hash(d, arrays)}.items():
        if about.get(key) != value:
            raise InputError(f"{folder} was compiled for {key} = {about.get(key)}, here it is {value}; compile it again")
    names = ["whole"] if d.architecture == "local" else [
        *(f"{part}{k}" for part in ("forward", "product") for k in range(d.layers)), "finish"]
    names += ["charges"] if d.charges else []
    out = {}
    for name in names:
        try:
            out[name] = torch._inductor.aoti_load_package(str(folder / f"{name}.pt2"))
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(f"{folder / name}.pt2 cannot be loaded ({one_line(error)}); compile it again") from None
    return out
