"""The bytes behind a URL: http(s), object stores, files, files inside Python packages."""

import tempfile
from pathlib import Path

from blurline.fetch.engine import Fetched, Fetcher
from blurline.fetch.failures import FetchFailed
from blurline.params import Download

__all__ = ["FetchFailed", "Fetched", "Fetcher", "fetch"]


def fetch(url: str, base: Path, *, max_bytes: int, timeout: float) -> bytes:
    """The bytes at one URL that the maintainers themselves chose, so that its host may be a private one.

    A path without a scheme is relative to the folder `base`; `timeout` is in seconds without an answer.

    Raises
    ------
    FetchFailed
        When they cannot be had, or are more than `max_bytes`.
    """
    settings = Download(
        max_bytes=max_bytes,
        timeout=timeout,
        connect_timeout=timeout,
        total_timeout=86_400.0,
        allow_private_hosts=True,
        honour_opt_out=False,
    )
    with tempfile.TemporaryDirectory() as scratch, Fetcher(base, settings, Path(scratch)) as fetcher:
        (found,) = fetcher.fetch_all([url])
        if isinstance(found, FetchFailed):
            raise found
        return found.body.take()
