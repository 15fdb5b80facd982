"""How far the jobs under way are: each notes it in its scratch folder, and one reader tells the person who waits."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO, TypeVar

from blurline import receipts

T = TypeVar("T")

FILE = "progress"
EVERY = 1.0  # seconds between two notes of a job
SPOKEN = 5.0  # seconds between two lines for a person


def track(items: Iterable[T], note: Path, total: int) -> Iterator[T]:
    """Pass `items` on, and keep in the file `note` how many of `total` there were."""
    done, last = 0, 0.0
    _note(note, done, total)
    for item in items:
        yield item
        done += 1
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            _note(note, done, total)


def _note(path: Path, done: int, total: int) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(f"{done} {total}", encoding="utf-8")
    unfinished.replace(path)


def under_way(root: Path, since: float) -> dict[str, int]:
    """Step → images that jobs now running have done; `since` is a clock time that notes of dead jobs are older than."""
    found: dict[str, int] = {}
    for path in (root / receipts.SCRATCH).glob(f"*/{FILE}"):
        try:
            step = path.parent.name.split("+")[2].split(".", 1)[0]
            if path.stat().st_mtime >= since:
                found[step] = found.get(step, 0) + int(path.read_text(encoding="utf-8").split()[0])
        except (OSError, ValueError, IndexError):
            continue  # the job has just ended
    return found


class Watch:
    """Says every few seconds how far each step is, in one line, for as long as it is started.

    `shards` maps each step to the receipts that are planned and how many images each stands for.
    """

    def __init__(self, root: Path, shards: Mapping[str, Mapping[str, int]], stream: TextIO) -> None:
        self._root, self._shards, self._stream = root, shards, stream
        self._stop = threading.Event()
        self._since = time.time()
        self._start = time.monotonic()
        self._before = self._done()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def line(self) -> str:
        """Each step that has moved since the start and is not finished, its speed and the time it still needs."""
        seconds = time.monotonic() - self._start
        done, running = self._done(), under_way(self._root, self._since)
        parts = []
        for step, planned in self._shards.items():
            total = sum(planned.values())
            now = done[step] + running.get(step, 0)
            moved = now - self._before[step]
            if now < total and (moved or step in running):
                rate = moved / seconds
                left = f", {_duration((total - now) / rate)} left" if rate else ""
                parts.append(f"{step} {now:,} of {total:,} images ({rate:.1f}/s{left})")
        return "; ".join(parts)

    def _run(self) -> None:
        said = ""
        while not self._stop.wait(SPOKEN):
            line = self.line()
            if line and line != said:
                print(f"  … {line}", file=self._stream, flush=True)
            said = line

    def _done(self) -> dict[str, int]:
        return {
            step: sum(images for path, images in planned.items() if (self._root / path).exists())
            for step, planned in self._shards.items()
        }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
