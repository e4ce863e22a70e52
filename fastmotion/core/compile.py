"""Compiled functions: the only user of Numba's decorators.

Five decorators build all compiled code of the package:

- `scalar`: a small pure function of numbers, inlined into CPU and CUDA kernels alike;
- `cpu_function`: a loop over arrays, a part of CPU kernels, and of CUDA kernels if it allocates
  nothing;
- `cpu_kernel`: a loop nest over arrays on the CPU;
- `cuda_function`: what threads do with arrays, a part of CUDA kernels only;
- `cuda_kernel`: a loop nest over arrays on a CUDA device.

All are lazy: nothing is compiled before the first call. Kernels are cached on disk, in a folder
named by the hash of all sources of the package, because Numba itself looks at the kernel's own file
only and would run old machine code after an edit of a helper in another file.

Environment
-----------
FASTMOTION_CACHE_DIR
    Root of the cache. Default: ``fastmotion`` under NUMBA_CACHE_DIR if that is set, else under the
    user's cache directory.
FASTMOTION_DISABLE_CACHE
    1 switches the cache off.
NUMBA_ENABLE_CUDASIM
    1 runs CUDA kernels in Numba's simulator.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numba
import numpy as np
from numba import prange
from numba.core.dispatcher import Dispatcher

from fastmotion.core import cache

__all__ = [
    "FAST_MATH",
    "CpuKernel",
    "CudaKernel",
    "as_kernel_input",
    "cpu_function",
    "cpu_kernel",
    "cuda_function",
    "cuda_kernel",
    "prange",
    "register_warmup",
    "registered_kernels",
    "scalar",
    "simulator_enabled",
    "warmup_cases",
]

# Never "nnan" or "ninf" (and so never "fast"): NaN and infinity are data here.
CONTRACT = frozenset({"contract"})
REASSOCIATE = frozenset({"contract", "reassoc", "nsz", "arcp"})
FAST_MATH = {None: frozenset(), "contract": CONTRACT, "reassociate": REASSOCIATE}

_kernels: dict[str, CpuKernel | CudaKernel] = {}
_warmup_cases: dict[str, list[Callable[[], object]]] = {}


def simulator_enabled() -> bool:
    """Return whether CUDA kernels run in Numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""
    return bool(numba.config.ENABLE_CUDASIM)


def scalar(func: Callable) -> Any:
    """Compile a small pure function of numbers for use inside CPU and CUDA kernels.

    The function is inlined where it is called. CUDA kernels in the simulator call the plain
    Python function instead.

    Parameters
    ----------
    func : function
        Takes and returns numbers (or tuples of them). Constants must be module-level NumPy scalars
        of the width meant: in compiled code ``0.5 * x`` is float64 even for a float32 ``x``.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        Callable from compiled code and from Python; ``.py_func`` is the plain function.
    """
    return numba.njit(func, inline="always", error_model="numpy")


def cpu_function(func: Callable | None = None, *, fastmath: str | None = "contract") -> Any:
    """Compile a function of arrays as a part of kernels.

    CUDA kernels may call it by the name that their module knows it by, if it allocates nothing: it
    then works on arrays of one thread, or on those that the threads share.

    **An array that it writes to must not overlap with another argument**: told so, the compiler
    spares the checks that would otherwise stand before each loop, which cost short rows more than
    the loop itself.

    Parameters
    ----------
    func : function
        A module-level function.
    fastmath : {None, "contract", "reassociate"}, default="contract"
        As for `cpu_kernel`. Reassociate only sums, in functions so small that they are always
        inlined: another part's code is optimised once more on its way to the cache, and sums that
        are reassociated twice round otherwise than those of the process that compiled them.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        Callable from compiled code only; ``.py_func`` is the plain function.
    """
    if func is None:
        return functools.partial(cpu_function, fastmath=fastmath)
    dispatcher = numba.njit(
        func,
        fastmath=set(FAST_MATH[fastmath]),
        error_model="numpy",
        boundscheck=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
    )
    compiler: Any = getattr(dispatcher, "_compiler", None)
    customize = getattr(compiler, "_customize_flags", None)
    if customize is None:  # another Numba, or NUMBA_DISABLE_JIT=1: slower, and as correct
        return dispatcher

    def without_alias(flags: Any) -> Any:
        flags = customize(flags)
        flags.noalias = True
        return flags

    compiler._customize_flags = without_alias
    return dispatcher


class CpuKernel:
    """A lazily compiled CPU function; made by `cpu_kernel`.

    Attributes
    ----------
    py_func : function
        The plain Python function.
    name : str
        ``module.function``, its name in the registry.
    parallel : bool
        Whether its ``prange`` loops run on several threads.
    fastmath : str or None
        Name of its set in `FAST_MATH`.
    """

    def __init__(self, func: Callable, *, parallel: bool, fastmath: str | None) -> None:
        functools.update_wrapper(self, func)
        self.py_func = func
        self.parallel = parallel
        self.fastmath = fastmath
        self.name = _name_of(func)
        self._dispatchers: dict[bool, Any] = {}

    def __call__(self, *args: Any) -> Any:
        """Run the kernel; compiles on the first call with new argument types."""
        if not self.parallel or _threads.forked:
            return self._dispatcher(False)(*args)
        with _threads.entry_lock():
            return self._dispatcher(True)(*args)

    @property
    def dispatcher(self) -> Any:
        """The Numba dispatcher that a call in this process runs; its ``stats`` count cache hits."""
        return self._dispatcher(self.parallel and not _threads.forked)

    @property
    def _numba_type_(self) -> Any:
        # A serial kernel can be called by other kernels. A parallel one cannot: its guards against
        # forks and concurrent threads stand in __call__.
        if self.parallel:
            raise AttributeError(f"{self.name} is parallel; compiled code cannot call it")
        return self.dispatcher._numba_type_

    def _dispatcher(self, parallel: bool) -> Any:
        try:
            return self._dispatchers[parallel]
        except KeyError:
            with _threads.build_lock:
                return self._dispatchers.setdefault(parallel, self._build(parallel))

    def _build(self, parallel: bool) -> Any:
        # The options are part of the function's name and so of its cache file: one code object
        # compiled with other options must never load this one's machine code.
        variant = f"{'parallel' if parallel else 'serial'}_{self.fastmath or 'strict'}"
        dispatcher = numba.njit(
            _renamed(self.py_func, f"{self.py_func.__qualname__}_{variant}"),
            parallel=parallel,
            fastmath=set(FAST_MATH[self.fastmath]),
            error_model="numpy",
            boundscheck=False,
            nogil=True,
        )
        if isinstance(dispatcher, Dispatcher):  # with NUMBA_DISABLE_JIT=1 it is the function
            cache.enable(dispatcher)
        return dispatcher

    def __reduce__(self) -> str:
        return self.py_func.__qualname__  # pickled by reference, as a function is

    def __repr__(self) -> str:
        return f"<cpu_kernel {self.name}>"


def _renamed(func: Callable, qualname: str) -> Callable:
    copy = _with_globals(func, func.__globals__)
    copy.__qualname__ = qualname
    return copy


def _with_globals(func: Callable, names: dict[str, Any]) -> Callable:
    copy = types.FunctionType(func.__code__, names, func.__name__, func.__defaults__)
    copy.__module__ = func.__module__
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy


def cpu_kernel(
    func: Callable | None = None, *, parallel: bool = False, fastmath: str | None = None
) -> Any:
    """Compile a function of arrays for the CPU: on first use, cached on disk, without the GIL.

    Parameters
    ----------
    func : function
        A module-level function.
    parallel : bool, default=False
        Whether ``prange`` loops run on several threads. A sum over the range must be collected in
        fixed blocks and added in order, else it changes with the number of threads.
    fastmath : {None, "contract", "reassociate"}, default=None
        Licence to the compiler: "contract" allows fused multiply-adds; "reassociate" also lets it
        reorder sums, drop the sign of zero and divide by multiplying with a reciprocal.

    Returns
    -------
    CpuKernel
    """
    if fastmath not in FAST_MATH:
        raise ValueError(f"fastmath must be one of {list(FAST_MATH)}, got {fastmath!r}")
    if func is None:
        return functools.partial(cpu_kernel, parallel=parallel, fastmath=fastmath)
    return _register(CpuKernel(func, parallel=parallel, fastmath=fastmath))


def cuda_function(func: Callable | None = None, *, simulated: Callable | None = None) -> Any:
    """Compile a function of arrays as a part of CUDA kernels, inlined where it is called.

    It may use what a kernel may: thread indices, shared memory, barriers.

    Parameters
    ----------
    func : function
        A module-level function.
    simulated : function or None, default=None
        What the simulator runs in its place, where it knows no such instruction.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        Callable from CUDA kernels only; ``.py_func`` is the plain function.
    """
    if func is None:
        return functools.partial(cuda_function, simulated=simulated)
    return numba.njit(simulated if simulated and simulator_enabled() else func, inline="always")


def as_kernel_input(array: np.ndarray) -> np.ndarray:
    """Return an array that kernels only read in a form that makes none of them compile again.

    Numba compiles anew for arrays that are marked read-only, as memory maps, the columns of data
    frames and what joblib hands to its workers are.

    Parameters
    ----------
    array : ndarray
        The kernel must not write to it.

    Returns
    -------
    ndarray
        ``array`` itself, or a view of it without the mark.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmotion.core.compile import as_kernel_input
    >>> frozen = np.broadcast_to(1.0, 3).copy()
    >>> frozen.flags.writeable = False
    >>> as_kernel_input(frozen).flags.writeable
    True
    """
    return array if array.flags.writeable else np.asarray(_Unmarked(array))


class _Unmarked:
    """What NumPy takes for an array in another's memory, which it keeps alive."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


class CudaKernel:
    """A lazily compiled CUDA kernel; made by `cuda_kernel`.

    Attributes
    ----------
    py_func : function
        The plain Python function.
    name : str
        ``module.function``, its name in the registry.
    signatures : tuple of str or numba signatures
        Argument types that it is launched with.
    max_registers : int or None
        Most registers of one thread.
    spills : str or None
        Why its threads may keep registers in memory.
    """

    def __init__(
        self,
        func: Callable,
        *,
        signatures: tuple[Any, ...],
        max_registers: int | None = None,
        spills: str | None = None,
    ) -> None:
        self.__module__ = func.__module__
        self.__doc__ = func.__doc__
        self.py_func = func
        self.signatures = signatures
        self.max_registers = max_registers
        self.spills = spills
        self.name = _name_of(func)
        self._build_lock = threading.Lock()

    @property
    def dispatcher(self) -> Any:
        """What ``numba.cuda.jit`` made of the function."""
        with self._build_lock:
            return self._dispatcher

    @functools.cached_property
    def _dispatcher(self) -> Any:
        from numba import cuda

        if simulator_enabled():
            return cuda.jit(_Translation(_python_form, {cuda: _SimulatedCuda()}).of(self.py_func))
        function = _Translation(_device_form).of(self.py_func)
        dispatcher = cuda.jit(function, max_registers=self.max_registers)
        cache.enable(dispatcher)
        return dispatcher

    def __getitem__(self, launch: tuple) -> Any:
        """Return the kernel configured to run on ``(grid, block[, stream[, shared_bytes]])``."""
        return self.dispatcher[launch]

    def compile(self) -> None:
        """Compile for the current device, or load, what the kernel is launched with."""
        if not simulator_enabled():
            for signature in self.signatures:
                # As a tuple, which is what launches look for on disk.
                self.dispatcher.compile(tuple(signature.args))

    def compile_ptx(self, signature: Any, capabilities: Sequence[tuple[int, int]]) -> list[str]:
        """Return the PTX of one signature for some compute capabilities; needs no GPU.

        Parameters
        ----------
        signature : str or numba signature
            Argument types as Numba writes them, as in ``"void(float32[:, ::1], int64)"``.
        capabilities : sequence of tuples of two ints
            Compute capabilities, ``(8, 0)`` for sm_80.

        Returns
        -------
        list of str

        Raises
        ------
        RuntimeError
            CUDA is simulated in this process.
        """
        from numba import cuda

        if simulator_enabled():
            raise RuntimeError("the CUDA simulator compiles no PTX; unset NUMBA_ENABLE_CUDASIM")
        function = _Translation(_device_form).of(self.py_func)
        with _without_device(capabilities[0]):
            return [
                cuda.compile(function, signature, device=False, abi="numba", cc=cc)[0]
                for cc in capabilities
            ]

    def __reduce__(self) -> str:
        return self.py_func.__qualname__

    def __repr__(self) -> str:
        return f"<cuda_kernel {self.name}>"


class _Translation:
    """Copies of functions in which compiled functions stand in another form.

    Parameters
    ----------
    form : callable
        Told a compiled function and the copy of its Python function, gives what stands for it.
    substitutes : dict, default={}
        What stands for modules.
    """

    def __init__(
        self,
        form: Callable[[Dispatcher, Callable], Any],
        substitutes: dict[types.ModuleType, Any] | None = None,
    ) -> None:
        self._form = form
        self._substitutes = substitutes or {}
        self._copies: dict[Callable, Callable] = {}
        self._forms: dict[Dispatcher, Any] = {}
        self._modules: dict[str, dict[str, Any]] = {}

    def of(self, func: Callable) -> Callable:
        """Return a copy of a function that calls the other forms."""
        if func not in self._copies:
            if func.__module__ not in self._modules:
                self._modules[func.__module__] = {
                    name: self._substitutes.get(value, value)
                    if isinstance(value, types.ModuleType)
                    else value
                    for name, value in func.__globals__.items()
                }
            names = self._modules[func.__module__]
            self._copies[func] = _with_globals(func, names)
            for name in func.__code__.co_names:
                if isinstance(names.get(name), Dispatcher):
                    names[name] = self._form_of(names[name])
        return self._copies[func]

    def _form_of(self, dispatcher: Dispatcher) -> Any:
        if dispatcher not in self._forms:
            self._forms[dispatcher] = self._form(dispatcher, self.of(dispatcher.py_func))
        return self._forms[dispatcher]


class _SimulatedCuda:
    """``numba.cuda`` inside of simulated kernels.

    The simulator puts its own module into the globals of the kernel alone, not into those of the
    functions of other modules that it calls.
    """

    def __getattr__(self, name: str) -> Any:
        from numba.cuda.simulator.kernel import _get_kernel_context

        return getattr(_get_kernel_context(), name)


def _python_form(dispatcher: Dispatcher, copy: Callable) -> Callable:
    # In the simulator kernels run as Python and their arrays are no arrays to compiled code.
    return copy


def _device_form(dispatcher: Dispatcher, copy: Callable) -> Any:
    """Return what CUDA kernels call: an inlined function as one, any other as a device function."""
    from numba import cuda

    if dispatcher.targetoptions.get("inline") == "always":
        return numba.njit(copy, inline="always", error_model="numpy")
    return cuda.jit(copy, device=True)


@contextlib.contextmanager
def _without_device(cc: tuple[int, int]) -> Iterator[None]:
    """Let one function be compiled for several capabilities where there is no device to ask.

    What Numba makes of its source, which takes most of the time, is the same for all of them.
    """
    from numba.cuda import compiler, dispatcher

    made: list[Any] = []
    asked, lowered = dispatcher.get_current_device, compiler._compile_pyfunc_with_fixup

    def lower_once(*args: Any, **options: Any) -> Any:
        if not made:
            made.append(lowered(*args, **options))
        return made[0]

    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=cc)
    compiler._compile_pyfunc_with_fixup = lower_once
    try:
        yield
    finally:
        dispatcher.get_current_device = asked
        compiler._compile_pyfunc_with_fixup = lowered


def cuda_kernel(
    func: Callable | None = None,
    *,
    signatures: tuple[Any, ...] = (),
    max_registers: int | None = None,
    spills: str | None = None,
) -> Any:
    """Compile a function of arrays for a CUDA device, on first use; launch ``kernel[grid, block]``.

    Parameters
    ----------
    func : function
        A module-level function.
    signatures : tuple of str or numba signatures, default=()
        Argument types that the drivers launch it with; what the tests compile without a GPU.
    max_registers : int or None, default=None
        Most registers of one thread.
    spills : str or None, default=None
        Why its threads may keep registers in memory, if they do; the tests refuse it unexplained.

    Returns
    -------
    CudaKernel
    """
    options: dict[str, Any] = {
        "signatures": signatures,
        "max_registers": max_registers,
        "spills": spills,
    }
    if func is None:
        return functools.partial(cuda_kernel, **options)
    return _register(CudaKernel(func, **options))


def _name_of(func: Callable) -> str:
    # Numba's cache tells functions apart by name and bytecode. A closure, or a function given other
    # globals, shares both with its siblings and would load their machine code.
    module = sys.modules.get(func.__module__)
    if func.__closure__ or module is None or vars(module) is not func.__globals__:
        raise TypeError(
            f"{func.__qualname__} must be a function of its module's top level, without a closure; "
            "pass what it needs as arguments or as constants of the module"
        )
    return f"{func.__module__}.{func.__qualname__}"


def _register(kernel: Any) -> Any:
    known = _kernels.get(kernel.name)
    if known is not None and known.py_func.__code__ != kernel.py_func.__code__:
        raise ValueError(f"there is another kernel of the name {kernel.name}; rename one of them")
    _kernels[kernel.name] = kernel
    return kernel


def registered_kernels() -> dict[str, CpuKernel | CudaKernel]:
    """Return the kernels of all modules imported so far, by ``module.function`` name."""
    return dict(_kernels)


def register_warmup(family: str, func: Callable[[], object]) -> Callable[[], object]:
    """Make a call without arguments part of ``fastmotion.warmup()``; usable as a decorator."""
    _warmup_cases.setdefault(family, []).append(func)
    return func


def warmup_cases(family: str) -> tuple[Callable[[], object], ...]:
    """Return the calls registered by a family."""
    return tuple(_warmup_cases.get(family, ()))


class _Threads:
    """What a process must know of Numba's threads before it enters a parallel kernel.

    After a fork the default layer (omp) ends or hangs the child, and the threads of every layer are
    gone; a child of a process that had started them runs the serial form of parallel kernels.
    """

    def __init__(self) -> None:
        self.forked = False
        self.build_lock = threading.RLock()
        self._entry_lock: Any = None

    def entry_lock(self) -> Any:
        """Return the context in which to run a parallel kernel."""
        if self._entry_lock is None:
            with self.build_lock:
                self._entry_lock = self._entry_lock or self._make_entry_lock()
        return self._entry_lock

    def _make_entry_lock(self) -> Any:
        numba.get_num_threads()  # starts the threads, which settles the layer
        # The workqueue layer ends the process when a second Python thread enters.
        is_workqueue = numba.threading_layer() == "workqueue"
        return threading.RLock() if is_workqueue else contextlib.nullcontext()

    def after_fork(self) -> None:
        """Take note, in the child, of a fork."""
        self.build_lock = threading.RLock()  # another thread may have held it
        try:
            numba.threading_layer()
        except ValueError:
            return  # no threads had been started: the child starts its own
        self.forked = True


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.after_fork)
