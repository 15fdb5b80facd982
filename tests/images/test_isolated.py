import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from blurline.errors import BlurlineError
from blurline.images import CannotRelease, isolated
from blurline.images.decode import Limits, Undecodable, load
from blurline.images.isolated import Worker, apart


def doubled(number: int) -> int:
    return 2 * number


def process() -> int:
    return os.getpid()


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(76)


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def crash_once(mark: Path) -> str:
    if mark.exists():
        return "done"
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def fill(size: int) -> int:
    return int(np.ones(size, np.uint8)[-1])


@apart
def where() -> tuple[int, int]:
    return os.getpid(), inner()


@apart
def inner() -> int:
    return os.getpid()


def test_a_worker_works_and_is_reused() -> None:
    with Worker() as worker:
        assert worker.call(doubled, 21) == 42
        one = worker.call(process)
        assert one == worker.call(process) != os.getpid()
    assert not psutil.pid_exists(one)


@pytest.mark.parametrize("crash", [segfault, leave])
def test_a_crash_costs_one_call(crash: object) -> None:
    with Worker() as worker:
        with pytest.raises(CannotRelease, match=f"^{isolated.CRASHED}$"):
            worker.call(crash)  # type: ignore[arg-type]
        assert worker.call(doubled, 1) == 2


def test_a_call_that_takes_too_long_is_ended() -> None:
    """Measured in CPU time, anew for each call."""
    with Worker(patience=2) as worker:
        child = worker.call(process)
        for _ in range(3):
            worker.call(spin, 1)
        assert worker.call(process) == child
        with pytest.raises(CannotRelease, match=f"^{isolated.TOO_SLOW}$"):
            worker.call(spin, 60)
        assert not psutil.pid_exists(child)
        assert worker.call(doubled, 1) == 2


def test_a_child_that_was_killed_costs_nothing(tmp_path: Path) -> None:
    """By the system, say, that was out of memory: while it worked, or while it waited."""
    with Worker() as worker:
        assert worker.call(crash_once, tmp_path / "mark") == "done"
        os.kill(worker.call(process), signal.SIGKILL)
        time.sleep(0.2)
        assert worker.call(doubled, 1) == 2


def test_a_child_that_cannot_start_is_not_the_image_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Worker() as worker, pytest.raises(BlurlineError, match="could not be started"):
        worker.call(doubled, 1)


def test_a_worker_is_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with Worker() as worker:
        assert worker.call(os.getenv, "OMP_NUM_THREADS") == worker.call(os.getenv, "OPENBLAS_NUM_THREADS") == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_memory_is_bounded() -> None:
    with Worker(memory=2 << 30) as worker:
        assert worker.call(fill, 1 << 20) == 1
        with pytest.raises(CannotRelease, match=f"^{isolated.TOO_LARGE}$"):
            worker.call(fill, 4 << 30)
        assert worker.call(doubled, 1) == 2


def test_exceptions_come_back_as_they_are() -> None:
    with Worker() as worker:
        with pytest.raises(Undecodable) as caught:
            worker.call(load, b"text", Limits(100, 100))
        assert caught.value.reason == "not an image"
        with pytest.raises(TypeError):
            worker.call(doubled, None)  # type: ignore[arg-type]


def test_a_function_apart_has_a_process_of_its_own_and_only_one() -> None:
    one, within = where()
    assert one == within != os.getpid()
    assert where() == (one, one)


PARENT = """
import os, signal
from blurline.images.isolated import Worker
if __name__ == "__main__":
    print(Worker().call(os.getpid), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """However that ends: the pipe closes."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    child = int(done.stdout)
    end = time.monotonic() + 20
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)
