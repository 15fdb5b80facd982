"""Object stores and whatever else fsspec knows: s3://, gs://, abfs://, sftp:// and so on."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import fsspec

from blurline.errors import BlurlineError
from blurline.fetch import addresses, failures, urls
from blurline.fetch.addresses import Blocked, Lookup
from blurline.fetch.failures import FetchFailed
from blurline.fetch.slots import Slots
from blurline.fetch.transfer import Transfer
from blurline.params import Download

PART = 2 * 2**20
"""Bytes asked for at once: most images come in one answer."""
_CONFIGURED = frozenset(
    {
        *("s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oci", "ocilake", "oss", "tos", "tosfs"),
        *("hf", "box", "dropbox", "gdrive", "github", "gist", "lakefs", "wandb"),
    }
)
"""Schemes whose URLs name a bucket, an account or a path: which server is asked is fsspec's configuration, or fixed."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Schemes whose drivers are extras of this package."""


class Stores:
    """Reads through fsspec's drivers, which take endpoint, credentials and the like from fsspec's configuration."""

    def __init__(self, settings: Download, slots: Slots, lookup: Lookup) -> None:
        self._settings = settings
        self._slots = slots
        self._lookup = lookup
        self._open: dict[str, Any] = {}
        self._opening = threading.Lock()

    async def read(self, transfer: Transfer) -> None:
        """See `transfer.Reader`."""
        transfer.restart()
        place = urls.shown(transfer.url).split("/", 3)[2]
        async with self._slots.take(f"{urls.scheme(transfer.url)}://{place}"):
            await asyncio.to_thread(self._read, transfer)

    async def close(self) -> None:
        """Drivers keep their own connections."""

    def _read(self, transfer: Transfer) -> None:
        scheme = urls.scheme(transfer.url)
        with _failing():
            self._check_host(scheme, transfer.url)
            store, path = self._store(scheme, transfer.url)
            first = _first(store, path)
            transfer.body.write(first)
            if len(first) == PART:
                self._read_rest(store, path, transfer)

    def _read_rest(self, store: Any, path: str, transfer: Transfer) -> None:
        """Further parts, up to the size that the store tells; never of two versions."""
        deadline = time.monotonic() + self._settings.total_timeout
        before, size = _version(store, path)
        if size is not None and size > self._settings.max_bytes:
            raise FetchFailed(failures.TOO_LARGE)
        # The first part came before we knew the version.
        transfer.restart()
        while size is None or transfer.body.size < size:
            if time.monotonic() > deadline:
                raise FetchFailed(failures.TIMEOUT, transient=True)
            part = _part(store, path, transfer.body.size)
            transfer.body.write(part)
            if len(part) < PART:
                break
        if _version(store, path) != (before, size) or size not in (None, transfer.body.size):
            raise FetchFailed(failures.CHANGED, transient=True)

    def _store(self, scheme: str, url: str) -> tuple[Any, str]:
        """The driver, and the path as it names it."""
        try:
            kind = fsspec.get_filesystem_class(scheme)
        except ImportError as error:
            extra = f"pip install 'blurline[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else "install it"
            raise BlurlineError(
                f"{scheme}:// needs a driver that is not there ({error}): {extra}, and run again"
            ) from None
        options = kind._get_kwargs_from_urls(url)
        path = kind._strip_protocol(url)
        if not kind.async_impl:
            return fsspec.filesystem(scheme, **options), path  # one for each thread
        # fsspec would make one for each thread, with connections of its own, though one serves all threads.
        with self._opening:
            name = f"{scheme} {sorted(options.items())}"
            if name not in self._open:
                self._open[name] = fsspec.filesystem(scheme, **options)
        return self._open[name], path

    def _check_host(self, scheme: str, url: str) -> None:
        """A bucket's endpoint is the maintainer's choice; a host named in a manifest is checked like any other.

        So is whatever a driver that is not known here takes for a host; a URL without one is refused.
        """
        if scheme in _CONFIGURED or self._settings.allow_private_hosts:
            return
        host = urlsplit(url).hostname
        if not host:
            raise Blocked
        addresses.public(self._lookup(host))


def _part(store: Any, path: str, start: int) -> bytes:
    return bytes(store.cat_file(path, start=start, end=start + PART))


def _first(store: Any, path: str) -> bytes:
    try:
        return _part(store, path, 0)
    except (FileNotFoundError, PermissionError, TimeoutError):
        raise
    except OSError:
        if _version(store, path)[1] == 0:
            return b""  # S3 knows no range of an empty object
        raise


def _version(store: Any, path: str) -> tuple[str, int | None]:
    """What tells one version of a file from another, and its size in bytes if the store knows it."""
    store.invalidate_cache()
    info = store.info(path)
    return str(store.ukey(path)), info.get("size")


@contextmanager
def _failing() -> Iterator[None]:
    """Turn what a driver raises into a reason."""
    try:
        yield
    except (FetchFailed, BlurlineError):
        raise
    except Blocked:
        raise FetchFailed(failures.BLOCKED) from None
    except (FileNotFoundError, IsADirectoryError):
        raise FetchFailed(failures.NOT_FOUND) from None
    except PermissionError:
        raise FetchFailed(failures.DENIED) from None
    except TimeoutError:
        raise FetchFailed(failures.TIMEOUT, transient=True) from None
    except Exception as error:
        # Drivers raise what their own libraries do. An error of the system or network may pass, others do not.
        raise FetchFailed(f"store failed ({type(error).__name__})", transient=isinstance(error, OSError)) from None
