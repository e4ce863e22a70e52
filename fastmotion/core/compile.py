"""Compiled functions: the only user of Numba's decorators.

Three decorators build all compiled code of the package:

- `scalar`: a small pure function of numbers, inlined into CPU and CUDA kernels alike;
- `cpu_kernel`: a loop nest over arrays on the CPU;
- `cuda_kernel`: a loop nest over arrays on a CUDA device.

All are lazy: nothing is compiled before the first call. CPU kernels are cached on disk, in a folder
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

import functools
import logging
import os
import threading
import types
from collections.abc import Callable
from typing import Any

import numba
from numba import prange

from fastmotion.core import _cache

__all__ = [
    "FAST_MATH",
    "CpuKernel",
    "CudaKernel",
    "cpu_kernel",
    "cuda_kernel",
    "prange",
    "register_warmup",
    "registered_kernels",
    "scalar",
    "simulator_enabled",
    "warmup_cases",
]

logger = logging.getLogger(__name__)

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


class CpuKernel:
    """A lazily compiled CPU function; made by `cpu_kernel`."""

    def __init__(self, func: Callable, *, parallel: bool, fastmath: str | None) -> None:
        functools.update_wrapper(self, func)
        self.py_func = func
        self.parallel = parallel
        self.fastmath = fastmath
        self.name = f"{func.__module__}.{func.__qualname__}"

    @functools.cached_property
    def dispatcher(self) -> Any:
        """The Numba dispatcher behind this kernel."""
        return self._build(self.parallel)

    @functools.cached_property
    def _serial_twin(self) -> Any:
        return self._build(False)

    @property
    def _numba_type_(self) -> Any:
        # Lets one kernel call another from compiled code.
        return self.dispatcher._numba_type_

    def _build(self, parallel: bool) -> Any:
        # The options are part of the function's name, hence of its cache file: one code object
        # compiled with other options must never load this one's machine code.
        variant = f"{'parallel' if parallel else 'serial'}_{self.fastmath or 'strict'}"
        func = _renamed(self.py_func, f"{self.py_func.__qualname__}_{variant}")
        dispatcher = numba.njit(
            func,
            parallel=parallel,
            fastmath=set(FAST_MATH[self.fastmath]),
            error_model="numpy",
            boundscheck=False,
            nogil=True,
        )
        _cache.enable(dispatcher)
        return dispatcher

    def __call__(self, *args: Any) -> Any:
        """Run the kernel; compiles on the first call with new argument types."""
        if not self.parallel:
            return self.dispatcher(*args)
        if _threads.forked:
            return self._serial_twin(*args)
        lock = _threads.entry_lock()
        if lock is None:
            return self.dispatcher(*args)
        with lock:
            return self.dispatcher(*args)

    def __repr__(self) -> str:
        return f"<cpu_kernel {self.name}>"


def _renamed(func: Callable, qualname: str) -> Any:
    assert isinstance(func, types.FunctionType)
    copy = types.FunctionType(
        func.__code__, func.__globals__, func.__name__, func.__defaults__, func.__closure__
    )
    functools.update_wrapper(copy, func)
    del copy.__wrapped__
    copy.__qualname__ = qualname
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


class CudaKernel:
    """A lazily compiled CUDA kernel; made by `cuda_kernel`."""

    def __init__(
        self, func: Callable, *, signatures: tuple[str, ...], max_registers: int | None
    ) -> None:
        functools.update_wrapper(self, func)
        self.py_func = func
        self.signatures = signatures
        self.max_registers = max_registers
        self.name = f"{func.__module__}.{func.__qualname__}"

    @functools.cached_property
    def dispatcher(self) -> Any:
        """The object that ``numba.cuda.jit`` made."""
        from numba import cuda

        if simulator_enabled():
            return cuda.jit(_plain(self.py_func, {}))
        return cuda.jit(self.py_func, max_registers=self.max_registers)

    def __getitem__(self, launch: tuple) -> Any:
        """Return the kernel configured to run on ``(grid, block[, stream[, shared bytes]])``."""
        return self.dispatcher[launch]

    def compile_ptx(self, signature: str, cc: tuple[int, int]) -> str:
        """Return the PTX of one signature for a compute capability; needs no GPU.

        Parameters
        ----------
        signature : str
            Argument types as Numba writes them, as in ``"void(float32[:, ::1], int64)"``.
        cc : tuple of two ints
            Compute capability, ``(8, 0)`` for sm_80.

        Returns
        -------
        str
        """
        from numba import cuda

        if simulator_enabled():
            raise RuntimeError("the CUDA simulator compiles no PTX; unset NUMBA_ENABLE_CUDASIM")
        ptx, _ = cuda.compile(self.py_func, signature, device=False, abi="numba", cc=cc)
        return ptx

    def __repr__(self) -> str:
        return f"<cuda_kernel {self.name}>"


def _plain(func: Any, done: dict) -> Any:
    """Return a copy of a function in which every scalar function is plain Python too."""
    if func in done:
        return done[func]
    names = dict(func.__globals__)
    copy = types.FunctionType(
        func.__code__, names, func.__name__, func.__defaults__, func.__closure__
    )
    done[func] = copy
    for name in func.__code__.co_names:
        value = names.get(name)
        if isinstance(value, numba.core.dispatcher.Dispatcher):
            names[name] = _plain(value.py_func, done)
    return copy


def cuda_kernel(
    func: Callable | None = None,
    *,
    signatures: tuple[str, ...] = (),
    max_registers: int | None = None,
) -> Any:
    """Compile a function of arrays for a CUDA device, on first use; launch ``kernel[grid, block]``.

    Parameters
    ----------
    func : function
        A module-level function.
    signatures : tuple of str, default=()
        Argument types that the drivers launch it with; what the tests compile without a GPU.
    max_registers : int or None, default=None
        Most registers of one thread.

    Returns
    -------
    CudaKernel
    """
    if func is None:
        return functools.partial(cuda_kernel, signatures=signatures, max_registers=max_registers)
    return _register(CudaKernel(func, signatures=signatures, max_registers=max_registers))


def _register(kernel: Any) -> Any:
    known = _kernels.get(kernel.name)
    if known is not None and known.py_func.__code__ != kernel.py_func.__code__:
        raise ValueError(f"there is another kernel of the name {kernel.name}; rename one")
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
    """What this process must know of Numba's threads before it enters a parallel kernel."""

    def __init__(self) -> None:
        self.forked = False
        self._started = False
        self._lock: threading.RLock | None = None

    def entry_lock(self) -> Any:
        """Return the lock to hold inside a parallel kernel, or None where none is needed."""
        if not self._started:
            numba.get_num_threads()  # starts the threads, which fixes the layer
            # workqueue aborts the process when a second Python thread enters.
            if numba.threading_layer() == "workqueue":
                self._lock = threading.RLock()
            self._started = True
        return self._lock

    def after_fork(self) -> None:
        try:
            numba.threading_layer()
        except ValueError:
            return
        self.forked = True


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.after_fork)
