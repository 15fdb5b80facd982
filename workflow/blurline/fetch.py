"""Getting the bytes behind a URL: http(s), file, package, a path relative to a folder, or a member of an archive."""

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from blurline.archives import access, chain
from blurline.archives.errors import Unreadable

USER_AGENT = "blurline (privacy-aware image data sets)"


class FetchFailed(Exception):
    """The bytes could not be had. `reason` is short and stable, and holds no URL: it may be published."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def fetch(url: str, base: Path, *, max_bytes: int, timeout: float) -> bytes:
    """The bytes at `url`; a path without a scheme is relative to the folder `base`.

    `package://name/path` is a file inside an installed Python package, found without importing it;
    `tar://member::location` and `zip://…` mean a member of an archive at a local location (see `archives.chain`).

    Raises
    ------
    FetchFailed
        When they cannot be had, or are more than `max_bytes`; `timeout` is in seconds without an answer.
    """
    scheme = match[1].lower() if (match := re.match(r"^([A-Za-z][A-Za-z0-9+.-]*)://", url)) else ""
    if scheme in ("http", "https"):
        return _fetch_http(url, max_bytes, timeout)
    if scheme in chain.SCHEMES:
        try:
            return access.read(url, lambda location: _path(location, base), max_bytes)
        except Unreadable as error:
            raise FetchFailed(error.reason) from None
    return _read(_path(url, base), max_bytes)


def _path(url: str, base: Path) -> Path:
    """The local file behind a URL."""
    scheme = match[1].lower() if (match := re.match(r"^([A-Za-z][A-Za-z0-9+.-]*)://", url)) else ""
    if scheme == "file":
        return Path(unquote(urlsplit(url).path, errors="surrogateescape"))
    if scheme == "package":
        return _in_package(url)
    if scheme:
        raise FetchFailed(f"scheme {scheme} is not supported")
    return base / url


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except FileNotFoundError:
        raise FetchFailed("file not found") from None
    except (OSError, ValueError) as error:
        raise FetchFailed(f"file not readable ({type(error).__name__})") from None
    if len(data) > max_bytes:
        raise FetchFailed("over max_bytes")
    return data


def _in_package(url: str) -> Path:
    name, _, rest = url.removeprefix("package://").partition("/")
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


def _fetch_http(url: str, max_bytes: int, timeout: float) -> bytes:
    import httpx  # loaded only where a URL needs it

    try:
        with httpx.stream(
            "GET", url, timeout=timeout, follow_redirects=True, headers={"User-Agent": USER_AGENT}
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise FetchFailed(f"http {answer.status_code}")
            data = bytearray()
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    raise FetchFailed("over max_bytes")
            return bytes(data)
    except httpx.TimeoutException:
        raise FetchFailed("timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise FetchFailed(f"connection failed ({type(error).__name__})") from None
