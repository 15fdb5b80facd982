"""Members of archives on this machine: tar://member::location and zip://member::location."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blurline.archives import access
from blurline.archives.errors import Unreadable
from blurline.fetch.failures import FetchFailed
from blurline.fetch.local import locate
from blurline.fetch.transfer import Transfer

THREADS = 4  # few, so that members of a compressed archive are asked for in about their order


class Members:
    """Reads members; the location of an archive is a local file, as for `local.Local`."""

    def __init__(self, base: Path, max_bytes: int) -> None:
        self._base = base
        self._max_bytes = max_bytes
        self._pool = ThreadPoolExecutor(THREADS, "archives")

    async def read(self, transfer: Transfer) -> None:
        """See `transfer.Reader`."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._read, transfer)

    async def close(self) -> None:
        """Wait for the members that are being read."""
        await asyncio.to_thread(self._pool.shutdown)

    def _read(self, transfer: Transfer) -> None:
        try:
            data = access.read(transfer.url, lambda location: locate(location, self._base), self._max_bytes)
        except Unreadable as error:
            raise FetchFailed(error.reason) from None
        transfer.body.write(data)
