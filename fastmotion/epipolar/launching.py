"""Many fits on one device: what their threads ask of a kernel at a time becomes one launch.

The drivers of two-view geometry are written for one pair of images and call kernels as functions.
On a CUDA device one pair is far too little work for a launch. There many pairs run the same driver,
each in a thread of its own; a thread that calls a kernel waits until all others wait, too, and then
each kernel that was asked for is launched once, for all who asked.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastmotion.core.device import CPU, Device, load_kernels
from fastmotion.core.memory import memory_of
from fastmotion.core.parallel import thread_map
from fastmotion.epipolar.residency import Residency

__all__ = ["Kernels", "Launcher", "cpu_kernels", "kernels_of"]

Item = TypeVar("Item")
Part = TypeVar("Part")

_PACKAGE = "fastmotion.epipolar.kernels"
_ADVICE = "fit fewer pairs or matches at a time, or pass device='cpu'"
# Threads of one map. More would make launches larger, but a device has enough to do with so many.
_MOST_THREADS = 64


@dataclass(frozen=True)
class Kernels:
    """The kernels of a device, as drivers call them.

    Attributes
    ----------
    fundamental : module or `_Bound`
        Those of fundamental matrices: `fastmotion.epipolar.kernels.cpu`, or what calls the
        functions of ``cuda`` of that package with the same arguments.
    planar : module or `_Bound`
        Those of homographies.
    map : callable
        ``map(func, items, n_jobs=None)`` returns what a function makes of items, in order. It may
        work on several at once, and the function may call kernels and map in turn.
    device : Device
    """

    fundamental: Any
    planar: Any
    map: Callable[..., list[Any]]
    device: Device


@functools.cache
def cpu_kernels() -> Kernels:
    """Return the kernels of the CPU."""
    cpu = load_kernels(_PACKAGE, "cpu")
    return Kernels(cpu, cpu.planar, thread_map, CPU)


@contextmanager
def kernels_of(device: Device) -> Iterator[Kernels]:
    """Provide the kernels of a device for one call of an estimator.

    On a CUDA device, what fits have put there stays until the end of the block.
    """
    if device.kind == "cpu":
        yield cpu_kernels()
        return
    cuda = load_kernels(_PACKAGE, "cuda")
    memory = memory_of(device)
    launcher = Launcher()
    with memory.scope(advice=_ADVICE):
        residency = Residency(memory)
        fundamental, planar = (
            _Bound(functions, residency, launcher) for functions in (cuda, cuda.planar)
        )
        yield Kernels(fundamental, planar, launcher.map, device)


class _Bound:
    """Functions of many requests, to be called with one, which waits for others to go with."""

    def __init__(self, functions: Any, residency: Residency, launcher: Launcher) -> None:
        self._functions = functions
        self._residency = residency
        self._launcher = launcher
        # One object for each name: requests for it are known by it.
        self._bound: dict[str, Callable[[list[tuple]], Sequence[Any]]] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        bound = functools.partial(getattr(self._functions, name), self._residency)
        function = self._bound.setdefault(name, bound)
        return lambda *args: self._launcher.call(function, args)


class _Request:
    """A call that waits for its result."""

    def __init__(self, function: Callable[[list[tuple]], Sequence[Any]], args: tuple) -> None:
        self.function = function
        self.args = args
        self.result: Any = None
        self.error: BaseException | None = None
        # Held until the request is served: a thread that waits for a lock is woken by nobody else.
        self._waits = threading.Lock()
        self._waits.acquire()

    def wait(self) -> None:
        """Wait until it is served."""
        self._waits.acquire()

    def release(self) -> None:
        """Wake the thread that waits."""
        self._waits.release()


class _Crew:
    """Threads that do the tasks of one map.

    Attributes
    ----------
    n_threads : int
        Those that have not ended.
    awaited : threading.Lock or None
        Held while a thread that was running itself waits for them to end.
    """

    def __init__(self, func: Callable[[Any], Any], items: list[Any]) -> None:
        self._func = func
        self._tasks = iter(enumerate(items))
        self._lock = threading.Lock()
        self.results: list[Any] = [None] * len(items)
        self.errors: list[BaseException] = []
        self.n_threads = 0
        self.awaited: threading.Lock | None = None

    def work(self) -> None:
        """Do tasks until there is none left or one of them has failed."""
        while not self.errors:
            with self._lock:
                task = next(self._tasks, None)
            if task is None:
                return
            try:
                self.results[task[0]] = self._func(task[1])
            except BaseException as error:  # noqa: BLE001 (raised again where map was called)
                self.errors.append(error)


class _Stopped(BaseException):
    """Ends threads whose requests nobody will serve any more."""


class Launcher:
    """A place where threads meet, so that what they ask for is done together.

    The thread that calls `map` from outside does what the others ask for: it alone talks to the
    device. Results do not depend on which requests come together, if those of the functions do not.

    Examples
    --------
    >>> from fastmotion.epipolar.launching import Launcher
    >>> launcher = Launcher()
    >>> def double(requests):
    ...     return [2 * x for (x,) in requests]
    >>> launcher.map(lambda x: launcher.call(double, (x,)), [1, 2, 3])
    [2, 4, 6]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Told when no thread is running.
        self._all_wait = threading.Condition(self._lock)
        self._requests: list[_Request] = []
        self._is_serving = False
        # Threads that wait neither for a result nor for threads that they have started.
        self._n_running = 0
        self._is_stopped = False

    def call(self, function: Callable[[list[tuple]], Sequence[Any]], args: tuple) -> Any:
        """Return what a function of many requests makes of one.

        Parameters
        ----------
        function : callable
            Told a list of tuples of arguments, returns as many results. It is called once for all
            threads that wait for the same function.
        args : tuple

        Raises
        ------
        Exception
            What the function raised, whosever arguments made it do so.
        """
        if not self._is_serving:
            return function([args])[0]
        request = _Request(function, args)
        with self._lock:
            if self._is_stopped:
                raise _Stopped
            self._requests.append(request)
            self._step_aside()
        request.wait()
        if request.error is not None:
            raise request.error
        return request.result

    def map(
        self, func: Callable[[Item], Part], items: Iterable[Item], *, n_jobs: int | None = None
    ) -> list[Part]:
        """Apply a function to every item, in threads, and return the results in order.

        Parameters
        ----------
        func : callable
            May use `call` and `map`.
        items : iterable
        n_jobs : int or None
            Without effect: these threads wait for the device, most of the time.

        Returns
        -------
        list

        Raises
        ------
        BaseException
            The first that the function raised; items that no thread had begun are then left.
        """
        tasks = list(items)
        if len(tasks) <= 1:
            return [func(item) for item in tasks]
        crew = _Crew(func, tasks)
        if self._is_serving:
            self._work_within(crew, len(tasks))
        else:
            self._work_outside(crew, len(tasks))
        if crew.errors:
            raise crew.errors[0]
        return crew.results

    def _work_outside(self, crew: _Crew, n_tasks: int) -> None:
        """Have tasks done, and serve those who do them."""
        self._is_serving = True
        threads: list[threading.Thread] = []
        try:
            self._start(crew, n_tasks, threads)
            while self._wait_for_requests():
                _serve(self._requests)
                self._hand_back()
        except BaseException:
            self._stop()
            raise
        finally:
            for thread in threads:
                thread.join()
            self._is_serving = self._is_stopped = False
            self._requests, self._n_running = [], 0

    def _work_within(self, crew: _Crew, n_tasks: int) -> None:
        """Have tasks done for a thread that is served itself."""
        threads: list[threading.Thread] = []
        try:
            self._start(crew, n_tasks, threads)
        finally:
            with self._lock:
                if crew.n_threads:
                    crew.awaited = threading.Lock()
                    crew.awaited.acquire()
                    self._step_aside()
            if crew.awaited is not None:
                crew.awaited.acquire()
            for thread in threads:
                thread.join()

    def _start(self, crew: _Crew, n_tasks: int, threads: list[threading.Thread]) -> None:
        """Start as many threads as there are tasks, or as may be."""
        for _ in range(min(_MOST_THREADS, n_tasks)):
            thread = threading.Thread(target=self._work, args=(crew,))
            with self._lock:
                self._n_running += 1
                crew.n_threads += 1
            try:
                thread.start()
            except RuntimeError:  # the system gives no more of them
                self._leave(crew)
                if not threads:
                    raise
                return
            threads.append(thread)

    def _work(self, crew: _Crew) -> None:
        try:
            crew.work()
        finally:
            self._leave(crew)

    def _leave(self, crew: _Crew) -> None:
        with self._lock:
            crew.n_threads -= 1
            if crew.n_threads or crew.awaited is None:
                self._step_aside()
            else:  # the last one leaves its place among the running to the thread that waits
                crew.awaited.release()

    def _step_aside(self) -> None:
        self._n_running -= 1
        if not self._n_running:
            self._all_wait.notify()

    def _wait_for_requests(self) -> bool:
        """Wait until no thread is running; return whether they wait, rather than have ended."""
        with self._all_wait:
            self._all_wait.wait_for(lambda: not self._n_running)
            return bool(self._requests)

    def _hand_back(self) -> None:
        with self._lock:
            requests, self._requests = self._requests, []
            self._n_running += len(requests)
        for request in requests:
            request.release()

    def _stop(self) -> None:
        """Let all threads end that wait for the one that served them, or will want to."""
        with self._lock:
            self._is_stopped = True
            for request in self._requests:
                request.error = _Stopped()
        self._hand_back()


def _serve(requests: list[_Request]) -> None:
    """Call each function that is asked for once."""
    by_function: dict[Any, list[_Request]] = {}
    for request in requests:
        by_function.setdefault(request.function, []).append(request)
    for function, asked in by_function.items():
        try:
            for request, result in zip(asked, function([r.args for r in asked]), strict=True):
                request.result = result
        except Exception as error:  # noqa: BLE001 (raised again by those who asked)
            for request in asked:
                request.error = error
