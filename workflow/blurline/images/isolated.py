"""Native code in a process of its own: when it crashes, hangs or eats memory, only the image at hand is lost."""

import atexit
import functools
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from blurline.images.errors import CannotRelease

P = ParamSpec("P")
T = TypeVar("T")

CRASHED = "the process that worked on it crashed"
TOO_SLOW = "the process that worked on it took too long"
TOO_LARGE = "more memory than allowed"
PATIENCE = 600.0
"""Seconds that one image may take: hundreds of times what a large one needs, so that a busy machine decides nothing."""

_inside = False


class Worker:
    """A child process that calls functions, one after the other; started when first asked, and again after a crash.

    Parameters
    ----------
    memory
        Bytes of address space that it may have; None for no limit.
    patience
        Seconds that one call may take.
    """

    def __init__(self, memory: int | None = None, patience: float = PATIENCE) -> None:
        self._memory, self._patience = memory, patience
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises in the child; all of it must pickle.

        Raises
        ------
        CannotRelease
            When the child died, took too long, or ran out of memory.
        """
        with self._lock:
            pipe = self._started()
            try:
                pipe.send((function, args, kwargs))
                if not pipe.poll(self._patience):
                    self._end()
                    raise CannotRelease(TOO_SLOW)
                good, result = pipe.recv()
            except (EOFError, OSError) as error:
                self._end()
                raise CannotRelease(CRASHED) from error
        if not good:
            raise result
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._memory), daemon=True)
            with _one_thread():
                self._process.start()
            theirs.close()
        return self._pipe

    def _end(self) -> None:
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have libraries of processes started meanwhile use one thread: that is what a worker is."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with _environment:
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(dict.fromkeys(names, "1"))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


_environment = threading.Lock()


class Workers:
    """One worker for each thread that calls."""

    def __init__(self, memory: int | None = None) -> None:
        self._memory, self._mine, self._all = memory, threading.local(), list[Worker]()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `Worker.call`."""
        worker: Worker | None = getattr(self._mine, "worker", None)
        if worker is None:
            worker = self._mine.worker = Worker(self._memory)
            self._all.append(worker)
        return worker.call(function, *args, **kwargs)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.close()


def room(max_pixels: int) -> int:
    """Bytes of address space for work on one image: what Python and its libraries map, and copies of its pixels."""
    return (2 << 30) + 64 * max_pixels


def apart(function: Callable[P, T]) -> Callable[P, T]:
    """A function that runs in a child process, wherever it is called from; in a worker's child it runs in place."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        if _inside:
            return function(*args, **kwargs)
        return _shared().call(called, *args, **kwargs)

    return called


@functools.cache
def _shared() -> Worker:
    worker = Worker()
    atexit.register(worker.close)
    return worker


def _serve(pipe: Connection, memory: int | None) -> None:
    global _inside
    _inside = True
    # The person's Ctrl-C is for the parent, which closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = True, function(*args, **kwargs)
        except MemoryError:
            answer = False, CannotRelease(TOO_LARGE)
        except Exception as error:
            answer = False, error
        pipe.send(answer)
