"""One URL on its way: what a reader is given, and what it leaves."""

from dataclasses import dataclass
from typing import Protocol

from blurline.fetch.bodies import Body

CHUNK = 256 * 1024
"""Bytes read at once."""


@dataclass
class Transfer:
    """One URL, through all attempts at it.

    `body` takes the bytes. `validator` and `total` (its size in bytes) are of the version whose first bytes are
    already in `body`, so that a later attempt may go on from there. `http_status` and `final_url` tell of the last
    answer; `final_url` is None without a redirect, and shown without query (see `urls.shown`).
    """

    url: str
    body: Body
    validator: str | None = None
    total: int | None = None
    http_status: int | None = None
    final_url: str | None = None

    def restart(self) -> None:
        """Forget the bytes, and which version they are of."""
        self.body.clear()
        self.validator = self.total = None


class Reader(Protocol):
    """Reads the URLs of some schemes."""

    async def read(self, transfer: Transfer) -> None:
        """Bring the whole of `transfer.url` into `transfer.body`, or go on where an earlier attempt broke off.

        Raises
        ------
        FetchFailed
            Saying why, and whether another attempt may end better.
        """

    async def close(self) -> None:
        """Let go of connections."""
