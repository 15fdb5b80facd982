"""Running a command and saying what it took."""

import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil


@dataclass(frozen=True)
class Cost:
    """What a command and all that it started took: seconds by the clock, CPU seconds, peak memory in MB.

    Memory is resident, added up over the processes ten times a second; pages that they share count for each.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def measure(command: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end.

    Raises
    ------
    SystemExit
        When it fails, with what it said.
    """
    log = cwd / ".benchmark.log"
    start = monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
        peak, over = [0.0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, over))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
    seconds = monotonic() - start
    over.set()
    watcher.join()
    output = log.read_text()
    log.unlink()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{output}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak[0] / 1e6, output)


def _watch(pid: int, peak: list[float], over: threading.Event) -> None:
    while not over.wait(0.1):
        try:
            root = psutil.Process(pid)
            peak[0] = max(peak[0], sum(_resident(one) for one in [root, *root.children(recursive=True)]))
        except psutil.NoSuchProcess:
            return


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0.0
