"""Finding images below a URL, in object stores and other file systems that fsspec knows."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from blurline.archives.formats import is_hidden
from blurline.errors import BlurlineError
from blurline.importing.finding import HIDDEN, NO_EXTENSION, THREADS, Found, Image, Progress, frame
from blurline.sources import IMAGE_EXTENSIONS

PIECE = 2**20  # bytes read at once


def search(url: str, hashing: bool, progress: Progress) -> Found:
    """List the images below a URL such as s3://bucket/prefix, by their extensions; all are read only if `hashing`.

    Endpoint, credentials and the like come from fsspec's configuration and from what its drivers look at. Archives are
    not looked into.

    Raises
    ------
    BlurlineError
        When there is no driver, or anything there cannot be listed or read: nothing is imported by half.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        raise BlurlineError(
            f"{url}: a web server lists no folders: write the urls of its images into a list, and import that"
        )
    with _failing(url):
        import fsspec  # loaded only where a URL needs it

        store, root = fsspec.core.url_to_fs(url)
        files: dict[str, dict[str, Any]] = store.find(root, detail=True)
    skipped: Counter[str] = Counter()
    images: list[tuple[str, str]] = []
    for path in sorted(files):
        relative = path.removeprefix(root).lstrip("/") if path != root else ""
        name = relative or PurePosixPath(path).name
        suffix = PurePosixPath(name).suffix.lower()
        if is_hidden(name) or suffix not in IMAGE_EXTENSIONS:
            skipped[HIDDEN if is_hidden(name) else suffix or NO_EXTENSION] += 1
        else:
            images.append((path, relative))
    rows: list[Image] = []
    base = url.rstrip("/")
    with ThreadPoolExecutor(THREADS if hashing else 1) as pool:
        paths = [path for path, _ in images]
        hashes = pool.map(lambda path: _hash(store, path, base), paths) if hashing else [""] * len(paths)
        for (path, relative), sha256 in zip(images, hashes, strict=True):
            address = f"{base}/{relative}" if relative else base
            rows.append(Image(relative or PurePosixPath(path).name, address, address, sha256))
            progress(len(rows), len(images))
    return Found(frame(rows), skipped)


def _hash(store: Any, path: str, base: str) -> str:
    digest = hashlib.sha256()
    with _failing(f"{base}: {path}"), store.open(path, "rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _failing(shown: str) -> Iterator[None]:
    """Drivers raise what their own libraries do."""
    try:
        yield
    except ImportError as error:
        raise BlurlineError(
            f"{shown}: needs a driver that is not there ({error}): install it, and import again"
        ) from None
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BlurlineError(
            f"{shown}: cannot be read ({why}): mend that and import again; nothing was imported"
        ) from None
