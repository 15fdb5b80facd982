"""How many files are fetched at once: overall, and from one host; and hosts that asked for a pause."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class _Host:
    free: asyncio.Semaphore
    users: int = 0
    resumes: float = 0.0  # time.monotonic() from which it may be asked again


class Slots:
    """Turns at fetching. Used by one event loop."""

    def __init__(self, overall: int, per_host: int) -> None:
        self._overall = asyncio.Semaphore(overall)
        self._per_host = per_host
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def take(self, host: str) -> AsyncIterator[bool]:
        """Wait for a turn at a host. Who waits for a busy host holds up nobody else.

        Tells whether others are waiting for the same host, so that a connection to it is worth keeping.
        """
        entry = self._hosts.setdefault(host, _Host(asyncio.Semaphore(self._per_host)))
        entry.users += 1
        try:
            await asyncio.sleep(0)  # those that were started with us want to be counted
            async with entry.free:
                while (pause := entry.resumes - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                async with self._overall:
                    yield entry.users > 1
        finally:
            entry.users -= 1
            if not entry.users and entry.resumes <= time.monotonic():
                self._hosts.pop(host, None)  # a list may name millions of hosts

    def pause(self, host: str, seconds: float) -> None:
        """Let nobody start at a host for so long: it said so to one of us."""
        entry = self._hosts.setdefault(host, _Host(asyncio.Semaphore(self._per_host)))
        entry.resumes = max(entry.resumes, time.monotonic() + seconds)
