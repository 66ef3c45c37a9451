"""Handing work to threads from compiled code: what the members of a team of ``engine.kernels.team`` wait in.

Members never leave compiled code and hold no interpreter lock. A launch writes the address of a task and of its
arguments into the control block, and the number of the launch after them. Members look for that number in a short spin
(two launches of a time step follow each other within microseconds) and then sleep on a condition variable, so that an
idle team costs nothing. Every member answers every launch, and only then may the next one begin.
"""
import platform

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.compiler import Flags
from numba.core.typing import signature
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
WORD = 8
# the control block, in words of eight bytes; what different threads write lies on different cache lines
LAUNCH, FUNCTION, DATA, STOP, REMAINING, SLEEPERS, BUSY, FAILED, MUTEX, CONDITION, WORDS = 0, 1, 2, 3, 16, 32, 48, 64, 80, 96, 112
SPINS = 4000        # looks before a member sleeps, about 100 µs

_address = types.int64
pthread_mutex_init = types.ExternalFunction("pthread_mutex_init", signature(types.int32, _address, _address))
pthread_mutex_lock = types.ExternalFunction("pthread_mutex_lock", signature(types.int32, _address))
pthread_mutex_unlock = types.ExternalFunction("pthread_mutex_unlock", signature(types.int32, _address))
pthread_cond_init = types.ExternalFunction("pthread_cond_init", signature(types.int32, _address, _address))
pthread_cond_wait = types.ExternalFunction("pthread_cond_wait", signature(types.int32, _address, _address))
pthread_cond_broadcast = types.ExternalFunction("pthread_cond_broadcast", signature(types.int32, _address))
sched_yield = types.ExternalFunction("sched_yield", signature(types.int32))


def _pointer(builder, address, word):
    place = builder.add(address, builder.mul(word, ir.Constant(I64, WORD)))
    return builder.inttoptr(place, I64.as_pointer())


@intrinsic
def look(typing, control, word):
    """The value of a word of the control block, and everything that was written before it was."""
    def emit(context, builder, sig, args):
        return builder.load_atomic(_pointer(builder, *args), "seq_cst", WORD)
    return types.int64(types.int64, types.int64), emit


@intrinsic
def put(typing, control, word, value):
    """Write a word, after everything that was written before."""
    def emit(context, builder, sig, args):
        builder.store_atomic(args[2], _pointer(builder, *args[:2]), "seq_cst", WORD)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def count_up(typing, control, word, value):
    """Add to a word at once; the value before."""
    def emit(context, builder, sig, args):
        return builder.atomic_rmw("add", _pointer(builder, *args[:2]), args[2], "seq_cst")
    return types.int64(types.int64, types.int64, types.int64), emit


@intrinsic
def exchange(typing, control, word, value):
    """Write a word and give back what it was, at once."""
    def emit(context, builder, sig, args):
        return builder.atomic_rmw("xchg", _pointer(builder, *args[:2]), args[2], "seq_cst")
    return types.int64(types.int64, types.int64, types.int64), emit


@intrinsic
def pause(typing):
    """Tell the processor that this is a loop that waits."""
    name, arguments = {"x86_64": ("llvm.x86.sse2.pause", []), "amd64": ("llvm.x86.sse2.pause", []),
                       "aarch64": ("llvm.aarch64.hint", [1]), "arm64": ("llvm.aarch64.hint", [1])}.get(
                           platform.machine().lower(), (None, []))

    def emit(context, builder, sig, args):
        if name:
            values = [ir.Constant(I32, a) for a in arguments]
            kind = ir.FunctionType(ir.VoidType(), [I32] * len(values))
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            builder.call(function, values)
        return context.get_dummy_value()
    return types.void(), emit


@intrinsic
def call(typing, function, data, part):
    """Do part `part` of a task; 0 if it went well."""
    def emit(context, builder, sig, args):
        kind = ir.FunctionType(I32, [I64, I64])
        code = builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return builder.sext(code, I64)
    return types.int64(types.int64, types.int64, types.int64), emit


@intrinsic
def task(typing, kernel, cuts, shared, private):
    """(address of a function (data, part) that calls kernel(cuts[part], cuts[part + 1], *shared, *(p[part] for p in
    private)), address of its data: the arrays, which live as long as the calling function).

    The kernel is compiled into the caller, not as a function of its own beside it: half the time at a cold start.
    """
    rows = [types.Array(a.dtype, a.ndim - 1, "C") for a in private.types]
    inner = signature(types.none, types.int64, types.int64, *shared.types, *rows)
    addresses = types.UniTuple(types.int64, 2)

    def emit(context, builder, sig, args):
        flags = Flags()
        flags.nrt = True
        flags.error_model = kernel.dispatcher.targetoptions.get("error_model", "python")
        # Numba's own cache of subroutines looks at the code alone, and specialised kernels differ in constants of their modules
        described = context.compile_subroutine(builder, kernel.dispatcher.py_func, inner, flags=flags, caching=False).fndesc
        data = ir.LiteralStructType([a.type for a in args[1:]])
        room = builder.alloca(data)
        for k, value in enumerate(args[1:]):
            builder.store(value, cgutils.gep_inbounds(builder, room, 0, k))
        function = ir.Function(builder.module, ir.FunctionType(I32, [I64, I64]),
                               builder.module.get_unique_name(f"task.{described.mangled_name}"))
        function.linkage = "internal"
        inside = ir.IRBuilder(function.append_basic_block())
        given = inside.load(inside.inttoptr(function.args[0], room.type))
        bounds, ours, parts = (inside.extract_value(given, k) for k in range(3))
        part = function.args[1]
        first = inside.gep(context.make_array(sig.args[1])(context, inside, bounds).data, [part])
        values = [inside.load(first), inside.load(inside.gep(first, [ir.Constant(I64, 1)]))]
        values += [inside.extract_value(ours, k) for k in range(len(shared.types))]
        values += [_row(context, inside, kind, row, inside.extract_value(parts, k), part)
                   for k, (kind, row) in enumerate(zip(private.types, rows, strict=True))]
        status, _ = context.call_internal_no_propagate(inside, described, inner, values)
        inside.ret(status.code)
        return context.make_tuple(builder, addresses, [builder.ptrtoint(function, I64), builder.ptrtoint(room, I64)])
    return addresses(kernel, cuts, shared, private), emit


def _row(context, builder, kind, row, value, part):
    """The array value[part]."""
    whole, out = context.make_array(kind)(context, builder, value), context.make_array(row)(context, builder)
    shape, strides = (cgutils.unpack_tuple(builder, a) for a in (whole.shape, whole.strides))
    start = cgutils.pointer_add(builder, whole.data, builder.mul(part, strides[0]), whole.data.type)
    populate_array(out, start, shape[1:], strides[1:], whole.itemsize, whole.meminfo)
    return out._getvalue()


@njit(cache=True, nogil=True)
def begin(control):
    pthread_mutex_init(control + MUTEX * WORD, 0)
    pthread_cond_init(control + CONDITION * WORD, 0)


@njit(cache=True, nogil=True)
def serve(control, me, spins):
    """What member `me` > 0 does until the team ends."""
    mutex, condition = control + MUTEX * WORD, control + CONDITION * WORD
    seen = 0
    while True:
        looks = 0
        while look(control, LAUNCH) == seen:
            pause()
            looks += 1
            if looks > spins:
                pthread_mutex_lock(mutex)
                count_up(control, SLEEPERS, 1)
                while look(control, LAUNCH) == seen:
                    pthread_cond_wait(condition, mutex)
                count_up(control, SLEEPERS, -1)
                pthread_mutex_unlock(mutex)
        seen += 1
        if look(control, STOP):
            return
        if call(look(control, FUNCTION), look(control, DATA), me):
            put(control, FAILED, 1)
        count_up(control, REMAINING, -1)


@njit(cache=True, nogil=True)
def announce(control):
    """Make members see what has been written to the control block."""
    count_up(control, LAUNCH, 1)
    if look(control, SLEEPERS):
        pthread_mutex_lock(control + MUTEX * WORD)
        pthread_cond_broadcast(control + CONDITION * WORD)
        pthread_mutex_unlock(control + MUTEX * WORD)


@njit(cache=True, nogil=True)
def share(control, size, spins, function, data):
    """Have all parts of a task done, the first one by the caller; 0 if all went well. If another thread of the program is
    using the team, the caller does them all: the same sums in the same order."""
    failed = 0
    if exchange(control, BUSY, 1):
        for part in range(size):
            failed |= call(function, data, part)
        return failed
    put(control, FUNCTION, function)
    put(control, DATA, data)
    put(control, REMAINING, size - 1)
    announce(control)
    failed = call(function, data, 0)
    looks = 0
    while look(control, REMAINING):
        pause()
        looks += 1
        if looks > spins:
            sched_yield()
    failed |= exchange(control, FAILED, 0)
    put(control, BUSY, 0)
    return failed
