"""Files of this machine: paths, file://, and package:// for files inside installed Python packages."""

import asyncio
import importlib.util
from pathlib import Path

from blurline.archives.views import open_regular
from blurline.fetch import urls
from blurline.fetch.failures import NOT_FOUND, NOT_REGULAR, OTHER_HOST, FetchFailed
from blurline.fetch.transfer import CHUNK, Transfer


class Local:
    """Reads files; a path without a scheme is relative to the folder `base`."""

    def __init__(self, base: Path) -> None:
        self._base = base

    async def read(self, transfer: Transfer) -> None:
        """See `transfer.Reader`."""
        await asyncio.to_thread(self._read, transfer)

    async def close(self) -> None:
        """Nothing is held open."""

    def _read(self, transfer: Transfer) -> None:
        path = locate(transfer.url, self._base)
        try:
            stream = open_regular(path)
            if stream is None:
                raise FetchFailed(NOT_REGULAR)
            with stream:
                while chunk := stream.read(CHUNK):
                    transfer.body.write(chunk)
        except FileNotFoundError:
            raise FetchFailed(NOT_FOUND) from None
        except (OSError, ValueError) as error:
            raise FetchFailed(f"file not readable ({type(error).__name__})") from None


def locate(url: str, base: Path) -> Path:
    """The local file behind a URL; a path without a scheme is relative to the folder `base`.

    Raises
    ------
    FetchFailed
        When it is no file of this machine (see also `in_package`).
    """
    match urls.scheme(url):
        case "":
            return base / url
        case "file":
            path = urls.local_path(url)
            if path is None:
                raise FetchFailed(OTHER_HOST)
            return path
        case "package":
            return in_package(url)
        case other:
            raise FetchFailed(f"scheme {other} is not supported")


def in_package(url: str) -> Path:
    """The file that a package:// URL names; the package is found without importing it.

    Raises
    ------
    FetchFailed
        When the package is not installed, or the path leaves it.
    """
    name, _, rest = url.partition("://")[2].partition("/")
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise FetchFailed(f"package {name} is not installed")
    folder = Path(folders[0]).resolve()
    path = (folder / rest).resolve()
    if folder not in path.parents:
        raise FetchFailed("path leaves the package")
    return path
