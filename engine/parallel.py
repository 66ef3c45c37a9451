"""Ranks: the few collective calls that the engine makes, alone (`Serial`) or under ``mpiexec`` (`MPI`).

``world()`` looks at the environment that a launcher leaves and imports mpi4py only where there is one, so that
``engine run`` without ``mpiexec`` needs no MPI. Every method is collective: all ranks call it, in the same order.
Sums are the same bits on all ranks, and the same bits when the run is repeated on as many ranks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from engine.errors import EngineError, InputError

#: variables that launchers set for each process they start, with the number of processes where they say it
LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_SIZE", "PMI_RANK", "PMIX_RANK",
             "PALS_RANKID")
ASKED = os.environ.get("OMP_NUM_THREADS", "")  # before `share_cores` sets it
#: the number of processes, by the launcher's own word; a batch system's steps count where no MPI launcher has spoken
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK", "PALS_RANKID", "SLURM_PROCID")

HAND_OVER = 21  # message tag


class Serial:
    """One rank: every reduction is the identity. Also the definition of what each call means."""

    rank = 0
    size = 1
    node_ranks = 1  # how many ranks share this node's cores
    node_number = 0  # of this node, in the order of their first ranks
    busy = 0.0  # s spent in communication: packing, messages, waiting for slower ranks; migration and new plans

    @contextmanager
    def communicating(self):
        """All that happens inside is communication's time."""
        before, begin = self.busy, time.perf_counter()
        yield
        self.busy = before + time.perf_counter() - begin

    def sum(self, value):
        """Sum of a number or an array (any shape) over ranks; the same bits on all of them."""
        return value

    def add_up(self, arrays):
        """Replace each of several arrays of float64 by its sum over ranks, in one reduction."""

    def max(self, value):
        return value

    def min(self, value):
        return value

    def any(self, flag) -> bool:
        """True on all ranks if it is on one."""
        return bool(flag)

    def gather(self, thing, root=None):
        """[thing of rank 0, thing of rank 1, ...] on all ranks, or on rank `root` only (None elsewhere)."""
        return [thing]

    def on_node(self, thing):
        """[thing of each rank of this node]"""
        return [thing]

    def gather_rows(self, arrays):
        """{name: (n_r, ...)} of every rank -> {name: (Σ n_r, ...)} in the order of ranks, on rank 0; None elsewhere."""
        return dict(arrays)

    def in_turn(self, items):
        """(rank, item) of every rank's list of (name, value), on rank 0 and one at a time, so that it never holds more of the
        others'; nothing elsewhere. A generator, which every rank must go through."""
        for item in items:
            yield 0, item

    def bcast(self, thing, root=0):
        """Rank `root`'s object on all ranks."""
        return thing

    def exchange(self, send, counts, receive, lengths):
        """Of the flat array `send` the next counts[r] elements go to rank r; `receive` gets lengths[r] from each rank r."""
        receive[:] = send

    def barrier(self):
        pass

    def speaks(self) -> bool:
        """Is this rank the first of its node to ask?"""
        return True

    def abort(self, code=1):
        """End all ranks."""
        sys.exit(code)


class MPI(Serial):
    """All ranks of an MPI communicator."""

    def __init__(self, communicator=None):
        self.mpi = _mpi()
        self.communicator = communicator if communicator is not None else self.mpi.COMM_WORLD
        self.rank, self.size = self.communicator.rank, self.communicator.size
        self.node = self.communicator.Split_type(self.mpi.COMM_TYPE_SHARED)
        self.node_ranks = self.node.size
        self.neighbors = {rank: k for k, rank in enumerate(self.node.allgather(self.rank))}  # ranks of this node: place in it
        first = min(self.neighbors)
        self.node_number = sorted(set(self.communicator.allgather(first))).index(first)
        self._floor = self._open_together()
        self.window = None  # memory that they share, once it is needed: ``engine.domain.window``
        self.busy = 0.0
        self._flag = np.zeros(1, np.int32), np.zeros(1, np.int32)

    def _open_together(self):
        """A file without a name that all ranks of the node hold open; None where they see no folder together."""
        handle, path = tempfile.mkstemp(prefix="engine-") if self.node.rank == 0 else (None, None)
        path = self.node.bcast(path)
        try:
            found = open(path, "rb")
        except OSError:
            found = None
        self.node.Barrier()
        if handle is not None:
            os.close(handle)
            os.unlink(path)
        return found

    def _reduce(self, value, operation):
        start = time.perf_counter()
        array = np.ascontiguousarray(value)
        out = np.empty_like(array)
        self.communicator.Allreduce(array, out, operation)
        self.busy += time.perf_counter() - start
        return out if isinstance(value, np.ndarray) and value.ndim else out.reshape(-1)[0].item()

    def sum(self, value):
        return self._reduce(value, self.mpi.SUM)

    def add_up(self, arrays):
        if not arrays:
            return
        total = self.sum(np.concatenate([a.ravel() for a in arrays]))
        for a, part in zip(arrays, np.split(total, np.cumsum([a.size for a in arrays])[:-1]), strict=True):
            a[...] = part.reshape(a.shape)

    def max(self, value):
        return self._reduce(value, self.mpi.MAX)

    def min(self, value):
        return self._reduce(value, self.mpi.MIN)

    def any(self, flag):
        start = time.perf_counter()
        if self.window is not None and self.node_ranks == self.size:
            found = self.window.any(flag)
        else:
            mine, out = self._flag
            mine[0] = bool(flag)
            self.communicator.Allreduce(mine, out, self.mpi.MAX)
            found = bool(out[0])
        self.busy += time.perf_counter() - start
        return found

    def gather(self, thing, root=None):
        with self.communicating():
            return self.communicator.allgather(thing) if root is None else self.communicator.gather(thing, root)

    def on_node(self, thing):
        with self.communicating():
            return self.node.allgather(thing)

    def gather_rows(self, arrays):
        with self.communicating():
            return self._gather_rows(arrays)

    def _gather_rows(self, arrays):
        out = {}
        counts = self.gather(len(next(iter(arrays.values()))) if arrays else 0)
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            row = array.itemsize * int(np.prod(array.shape[1:]))
            if self.rank == 0:
                out[name] = np.empty((sum(counts), *array.shape[1:]), array.dtype)
                target = (out[name].view(np.uint8).reshape(-1) if row else np.empty(0, np.uint8))
                self.communicator.Gatherv(_bytes(array), [target, [c * row for c in counts]])
            else:
                self.communicator.Gatherv(_bytes(array), None)
        return out if self.rank == 0 else None

    def in_turn(self, items):
        if self.rank:
            self.communicator.send(len(items), 0, HAND_OVER)
            for name, value in items:
                plain = isinstance(value, np.ndarray) and value.dtype.kind not in "OU"
                what = (name, (value.shape, value.dtype), None) if plain else (name, None, value)
                self.communicator.send(what, 0, HAND_OVER)
                if plain:
                    self.communicator.Send([_bytes(value), self.mpi.BYTE], 0, HAND_OVER)
            return
        yield from super().in_turn(items)
        for rank in range(1, self.size):
            for _ in range(self.communicator.recv(None, rank, HAND_OVER)):
                name, kind, value = self.communicator.recv(None, rank, HAND_OVER)
                if kind is not None:
                    value = np.empty(*kind)
                    self.communicator.Recv([value.reshape(-1).view(np.uint8), self.mpi.BYTE], rank, HAND_OVER)
                yield rank, (name, value)

    def bcast(self, thing, root=0):
        with self.communicating():
            return self.communicator.bcast(thing, root)

    def exchange(self, send, counts, receive, lengths):
        start = time.perf_counter()
        item = send.itemsize
        self.communicator.Alltoallv([_bytes(send), [c * item for c in counts]], [_bytes(receive), [n * item for n in lengths]])
        self.busy += time.perf_counter() - start

    def barrier(self):
        with self.communicating():
            self.communicator.Barrier()

    def speaks(self):
        import fcntl

        if self._floor is None:
            return True
        try:
            fcntl.flock(self._floor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def abort(self, code=1):
        sys.stdout.flush()
        sys.stderr.flush()
        self.communicator.Abort(code)
        os._exit(code)  # Abort may return before the launcher has ended this process


def _bytes(array):
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def launched() -> bool:
    """Was this process started by an MPI launcher, with more than one rank, and not by torchrun inside of it?"""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return False
    if any(name in os.environ for name in LAUNCHERS):
        return _announced() != 1
    return (_announced() or 1) > 1


def _announced():
    """How many processes the launcher says that it has started, or None."""
    return next((int(os.environ[name]) for name in SIZES if os.environ.get(name, "").isdigit()), None)


def on_ranks(command):
    """Mark a command of ``engine`` that all ranks go through together; a launcher's ranks are refused the others."""
    command.on_ranks = True
    return command


def refuse(reason):
    """An InputError on the process that its launcher counts as the first; the others leave without a word."""
    if next((os.environ[name] for name in RANKS if name in os.environ), "0") != "0":
        time.sleep(1.0)  # a launcher ends all when one has ended
        sys.exit(InputError.code)
    raise InputError(reason)


def _crowded():
    """Are there more ranks than cores on this node? What a bound rank may not use, its launcher may."""
    local = int(os.environ.get("MPI_LOCALNRANKS", os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", 1)))
    return local > len(affinity() | affinity(os.getppid()))


@lru_cache
def _mpi():
    """mpi4py's MPI module, set to yield where ranks outnumber cores; an InputError if there is none."""
    if _crowded():
        os.environ.setdefault("MPIR_CVAR_POLLS_BEFORE_YIELD", "1")
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "suspicious MPI", RuntimeWarning)  # `world` says so in a line
            from mpi4py import MPI as mpi
    except Exception as error:  # ImportError, or a library that does not load
        reason = str(error).splitlines()[0]
        refuse(f"a launcher has started several ranks, but mpi4py cannot be imported ({reason}); "
                "install it with an MPI: pip install 'engine-md[mpi]'")
    return mpi


@lru_cache
def world():
    """All ranks that the launcher has started: `MPI`, or `Serial` without a launcher. A failing rank ends the others."""
    if not launched():
        return Serial()
    comm = MPI()
    expected = _announced()
    if expected is not None and comm.size != expected:
        library = " ".join(comm.mpi.Get_library_version().split(",")[0].splitlines()[0].split())
        refuse(f"the launcher has started {expected} processes, but mpi4py's MPI ({library}) sees {comm.size}: each would run "
                "the whole alone; use the mpiexec that belongs to that MPI (pip's is beside python), or build mpi4py for the "
                "launcher's: pip install --no-binary mpi4py mpi4py")
    if comm.size == 1:
        return Serial()
    from engine.kernels import compile_once

    compile_once.install()
    _end_together(comm)
    return comm


def _end_together(comm):
    """An exception that nobody catches on one rank ends all ranks."""

    def hook(kind, error, trace):
        end_all(error)

    sys.excepthook = hook


def end_all(error):
    """Where several ranks run: report an error that ends this one, once, and end all. Alone: return.

    Where all ranks fail for the same reason (an input error), rank 0 reports it and ends the others while they wait; where
    others fail, the first of them is heard after the wait, and of several nodes the first one's.
    """
    comm = world() if launched() and world.cache_info().currsize else None
    if comm is None or comm.size == 1:
        return
    if isinstance(error, KeyboardInterrupt):
        comm.abort(130)
    if comm.rank:
        time.sleep(1.0 + min(0.5 * comm.node_number, 3.0))
    if comm.speaks():
        _report(error, comm)
        sys.stderr.flush()
        time.sleep(0.3)  # a launcher that is told to abort may not read what is still in the pipe
    else:
        time.sleep(5.0)  # the one that speaks ends all
    comm.abort(getattr(error, "exit_code", getattr(error, "code", 1)))


def _report(error, comm):
    where = f"rank {comm.rank} of {comm.size}: "
    if isinstance(error, EngineError):
        print(f"engine: {where if comm.rank else ''}{error}", file=sys.stderr)
    elif hasattr(error, "show"):  # usage errors of the command line
        error.show()
    else:
        print(where + "".join(traceback.format_exception(error)), file=sys.stderr, end="")


# -- cores ---------------------------------------------------------------------------------------------------------
def affinity(process=0):
    """The numbers of the cores that a process, by default this one, may use."""
    return os.sched_getaffinity(process) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    """Cores that this process may use."""
    return len(affinity())


def share_cores(comm, threads=None) -> int:
    """Have this rank's kernels, BLAS and torch use its share of the node's cores, or `threads` of them; returns how many.

    A launcher may have bound ranks to cores, to sockets or not at all: the cores that this rank may use are shared with those
    ranks of the node that may use some of them too. It is never more than OMP_NUM_THREADS, if that is set.
    """
    if threads is None:
        mine = affinity()
        sharing = sum(not mine.isdisjoint(others) for others in comm.on_node(mine))
        threads = max(1, len(mine) // sharing)
        threads = min(threads, int(ASKED) or threads) if ASKED.isdigit() else threads
    import numba
    from threadpoolctl import threadpool_limits

    from engine.kernels import team

    team.use(threads, cores())
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    threadpool_limits(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return threads
