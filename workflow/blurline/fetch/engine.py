"""Many URLs at once: each to the reader of its scheme, again where that may help, results in the order asked for."""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from blurline.errors import BlurlineError
from blurline.fetch import addresses, bodies, urls
from blurline.fetch.addresses import Lookup
from blurline.fetch.bodies import Body, Shelf
from blurline.fetch.failures import FetchFailed
from blurline.fetch.slots import Slots
from blurline.fetch.transfer import Reader, Transfer
from blurline.params import Download

AHEAD = 2048
"""URLs under way or done before the one that is waited for: one slow server must not hold up the others."""
LONGEST_BACKOFF = 60.0  # seconds

T = TypeVar("T")


@dataclass(frozen=True)
class Fetched:
    """What arrived. `final_url` is None without a redirect; `setbacks` are the reasons of earlier attempts, in order.

    How often it was tried depends on the moment, and is no part of the data: equal bytes make equal shards.
    """

    body: Body
    http_status: int | None
    final_url: str | None
    setbacks: tuple[str, ...]


Outcome = Fetched | FetchFailed | BlurlineError


class Fetcher:
    """Fetches URLs, on a thread of its own. A context manager.

    Parameters
    ----------
    base
        The folder that paths without a scheme are relative to.
    settings
        The limits and manners of the params group `download`.
    scratch
        A folder for what is too large to be held in memory.
    lookup
        How host names are resolved.
    """

    def __init__(self, base: Path, settings: Download, scratch: Path, *, lookup: Lookup = addresses.look_up) -> None:
        self._base = base
        self._settings = settings
        self._lookup = lookup
        self._shelf = Shelf(scratch, settings.max_bytes, bodies.MEMORY)
        self._slots = Slots(settings.concurrency, settings.per_host)
        self._readers: dict[str, Reader] = {}
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(settings.concurrency, "fetch"))
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)

    def fetch_all(self, wanted: Iterable[str]) -> Iterator[Fetched | FetchFailed]:
        """What became of each URL, in their order. Take or clear each body: it holds memory or disk until then.

        Raises
        ------
        BlurlineError
            When this machine cannot do it: a driver is missing, the disk is full.
        """
        todo, waiting = iter(wanted), deque[asyncio.Task[Outcome]]()
        while batch := self._wait(self._next(todo, waiting)):
            for found in batch:
                if isinstance(found, BlurlineError):
                    raise found
                yield found

    async def _next(self, todo: Iterator[str], waiting: "deque[asyncio.Task[Outcome]]") -> "list[Outcome]":
        """Start what may be started, wait for the first, and return it with those after it that are done as well."""
        while len(waiting) < AHEAD and (url := next(todo, None)) is not None:
            waiting.append(self._loop.create_task(self._fetch(url)))
        batch = [await waiting.popleft()] if waiting else []
        while waiting and waiting[0].done():
            batch.append(waiting.popleft().result())
        return batch

    async def _fetch(self, url: str) -> "Outcome":
        transfer = Transfer(url, self._shelf.body())
        setbacks: list[str] = []
        try:
            reader = self._reader(urls.scheme(url))
            while True:
                try:
                    await reader.read(transfer)
                    break
                except FetchFailed as setback:
                    if not setback.transient or len(setbacks) == self._settings.retries:
                        raise
                    setbacks.append(setback.reason)
                    await asyncio.sleep(self._pause(len(setbacks)))
        except BlurlineError as error:
            return error
        except Exception as error:
            transfer.body.clear()
            # Whatever else one odd URL or answer provokes: it is one row, not the run.
            failure = error if isinstance(error, FetchFailed) else FetchFailed(f"unexpected ({type(error).__name__})")
            failure.http_status, failure.final_url = transfer.http_status, transfer.final_url
            failure.attempts = 1 + len(setbacks)
            return failure
        transfer.body.seal()
        return Fetched(transfer.body, transfer.http_status, transfer.final_url, tuple(setbacks))

    def _pause(self, attempts: int) -> float:
        """Seconds to the next attempt: twice as long each time, and never all at once. `Slots` know of Retry-After."""
        backoff = self._settings.backoff
        doubled = min(LONGEST_BACKOFF, backoff * 2.0 ** (attempts - 1))
        return float(doubled + random.uniform(0, backoff))  # noqa: S311 (no secret)

    def _reader(self, scheme: str) -> Reader:
        """Where a URL goes, by its scheme: a further kind of place is a further case here."""
        match scheme:
            case "http" | "https":
                from blurline.fetch.http import Http  # loads aiohttp: only where a URL needs it

                return self._once("http", lambda: Http(self._settings, self._slots, self._lookup))
            case "" | "file" | "package":
                from blurline.fetch.local import Local

                return self._once("local", lambda: Local(self._base))
            case "tar" | "zip":
                from blurline.fetch.members import Members

                return self._once("members", lambda: Members(self._base, self._settings.max_bytes))
            case _ if urls.is_known(scheme):
                from blurline.fetch.stores import Stores

                return self._once("stores", lambda: Stores(self._settings, self._slots, self._lookup))
            case _:
                raise FetchFailed(f"scheme {scheme} is not supported")

    def _once(self, name: str, make: Callable[[], Reader]) -> Reader:
        if name not in self._readers:
            self._readers[name] = make()
        return self._readers[name]

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> "Fetcher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for reader in self._readers.values():
            await reader.close()
        await self._loop.shutdown_default_executor()
