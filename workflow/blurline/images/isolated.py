"""Native code in a process of its own: when it crashes, hangs or eats memory, only the image at hand is lost."""

import atexit
import functools
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from blurline.errors import BlurlineError
from blurline.images.errors import CannotRelease

P = ParamSpec("P")
T = TypeVar("T")

CRASHED = "the process that worked on it crashed"
TOO_SLOW = "the process that worked on it took too long"
TOO_LARGE = "more memory than allowed"
PATIENCE = 600
"""Seconds of CPU time that one image may take: hundreds of times what a large one needs.

Not by the clock, so that a busy machine decides nothing.
"""
_HANGS = 6 * 3600.0  # seconds by the clock after which what uses no CPU time is given up
_STARTS = 300.0  # seconds by the clock that a child may take to start

_START = "import sys; from blurline.images.isolated import serve; serve(int(sys.argv[1]))"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_inside = False


class _Died(Exception):
    """The child is gone, without an answer."""


class Worker:
    """A child process that calls functions, one after the other; started when first asked, and again after a crash.

    Parameters
    ----------
    memory
        Bytes of address space that it may have; None for no limit.
    patience
        Seconds of CPU time that one call may take.
    """

    def __init__(self, memory: int | None = None, patience: int = PATIENCE) -> None:
        self._memory, self._patience = memory, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns or raises in the child; all of it must pickle.

        Raises
        ------
        CannotRelease
            When the child died twice (once may be another's fault: the system's that was out of memory), took too long,
            or ran out of memory.
        BlurlineError
            When no child can be started.
        """
        with self._lock:
            try:
                good, result = self._asked((function, args, kwargs))
            except _Died:
                try:
                    good, result = self._asked((function, args, kwargs))
                except _Died as error:
                    raise CannotRelease(CRASHED) from error
        if not good:
            raise result
        return result  # type: ignore[no-any-return]

    def _asked(self, question: tuple[Any, ...]) -> tuple[bool, Any]:
        pipe = self._started()
        try:
            pipe.send(question)
            if not pipe.poll(_HANGS):
                self._end()
                raise CannotRelease(TOO_SLOW)
            answer: tuple[bool, Any] = pipe.recv()
            return answer
        except (EOFError, OSError) as error:
            if self._end() == -signal.SIGXCPU:
                raise CannotRelease(TOO_SLOW) from error
            raise _Died from error

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
            # Not as multiprocessing starts processes: each would import all that the parent's main module does.
            self._pipe, theirs = Pipe()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=os.environ | _ONE_THREAD,
                )
            try:
                self._pipe.send((sys.path, self._memory, self._patience))
                ready = self._pipe.poll(_STARTS) and self._pipe.recv()
            except (EOFError, OSError):
                ready = False
            if not ready:
                self._end()
                raise BlurlineError(
                    "a child process in which images are decoded could not be started: look above for what it said, "
                    "and whether this machine lets processes start others"
                )
        return self._pipe

    def _end(self) -> int | None:
        """End the child; its exit status, negative for a signal."""
        status = None
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)  # it may be on its way
            self._process.kill()
            status = self._process.wait()
        self._process = self._pipe = None
        return status


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


def serve(descriptor: int) -> None:
    """What the child does: answer over a pipe, until the other end closes it."""
    global _inside
    _inside = True
    # The person's Ctrl-C is for the parent, which closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(descriptor)
    path, memory, patience = pipe.recv()
    sys.path[:] = path
    if memory is not None and sys.platform != "darwin":  # which has no such limit
        _limit(resource.RLIMIT_AS, memory)
    pipe.send(True)
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + patience)
        try:
            answer = True, function(*args, **kwargs)
        except MemoryError:
            answer = False, CannotRelease(TOO_LARGE)
        except Exception as error:
            answer = False, error
        pipe.send(answer)


def _limit(kind: int, value: int) -> None:
    """Lower a limit of this process, as far as the machine's own allows."""
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))
