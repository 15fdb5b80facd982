"""Running a command and saying what it took."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds by the clock, CPU seconds, peak memory of its largest process in MB."""

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
    start = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    output = log.read_text()
    log.unlink()
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{output}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, output)
