"""URLs: their schemes, and how they may be shown."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from blurline.archives import chain

BUILT_IN = ("http", "https", "file", "package", *chain.SCHEMES)

# fsspec's names for what is no place of its own: views of other file systems, the memory, repositories or services of
# this machine, and what we read ourselves (and more carefully). A protocol that is missing here is no way around the
# check of hosts: `stores` exempts by name, and nobody else.
_NO_STORE = frozenset(
    (
        *("http", "https", "file", "local", "memory", "data", "generic", "reference", "dir", "cached", "blockcache"),
        *(
            "filecache",
            "simplecache",
            "tar",
            "zip",
            "libarchive",
            "asynclocal",
            "asyncwrapper",
            "async_wrapper",
            "dask",
            "dvc",
            "git",
            "pyscript",
        ),
    )
)
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme(url: str) -> str:
    """The scheme in lower case; "" for a path."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else ""


def is_known(name: str) -> bool:
    """Whether a scheme is read here, or by a file system that fsspec knows (its driver may not be installed)."""
    return name in BUILT_IN or name in _stores()


@cache
def _stores() -> frozenset[str]:
    from fsspec import available_protocols  # loaded only where a manifest needs it

    return frozenset(available_protocols()) - _NO_STORE


def shown(url: str) -> str:
    """A URL as it may stand in a log or a table: without user, password, query and fragment, where secrets are.

    Of a member of an archive, the names are shown, and the archive's location like any other URL.
    """
    names = ""
    while chain.is_chain(url):
        name, separator, rest = url.partition("::")
        if not separator or "://" in name.partition("://")[2]:
            return f"{names}{scheme(url)}://…"  # no chain: what stands there instead may hold anything
        names, url = names + name + separator, rest
    return names + _shown(url)


def local_path(url: str) -> Path | None:
    """The path in a file:// URL; None if it names a host other than this one."""
    parts = urlsplit(url)
    if parts.netloc.lower() not in ("", "localhost"):
        return None
    return Path(unquote(parts.path, errors="surrogateescape"))


def _shown(url: str) -> str:
    if not scheme(url):
        return url
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"
    except ValueError:
        return f"{scheme(url)}://…"
