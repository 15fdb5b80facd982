"""Finding images below a path, in folders and archives, and hashing them."""

import hashlib
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import polars as pl

from blurline.archives import chain
from blurline.archives.errors import LINK, SPECIAL, Unreadable
from blurline.archives.formats import Leaf, is_archive, is_hidden, pieces, read_all, stem, walk
from blurline.archives.views import Window
from blurline.errors import BlurlineError
from blurline.images import decode
from blurline.sources import IMAGE_EXTENSIONS

BATCH = 64  # files hashed by one thread at a time
HEAD = 64  # bytes that tell what a file is
MAX_CLASS = 1024  # bytes of a .cls file
SIDECARS = (".cls", ".json", ".txt")  # what WebDataset puts beside an image
THREADS = min(16, (os.cpu_count() or 1) + 2)

# Kinds of files that are passed over, beside extensions.
HIDDEN, NO_EXTENSION = "hidden", "without extension"
LINKS, SPECIAL_FILES, LINKED_FOLDERS = "link", "special file", "linked folder"

Progress = Callable[[int, int], None]


class Image(NamedTuple):
    """An image found: its path below what was searched, where to fetch it, and what errors call it."""

    path: str
    url: str
    origin: str
    sha256: str


class Skipped(NamedTuple):
    """A file that is no image; `kind` is its extension, or why it was passed over."""

    kind: str


@dataclass
class Found:
    """What lies below a path: `images` has the columns of Image, in a fixed order; `classes` maps samples to classes.

    A sample is a path up to the first dot of its last part, as WebDataset groups files. `samples` says that there are
    such groups, so that an archive's name is no class.
    """

    images: pl.DataFrame
    skipped: Counter[str] = field(default_factory=Counter)
    classes: dict[str, str] = field(default_factory=dict)
    samples: bool = False


class _File(NamedTuple):
    path: Path
    relative: str
    size: int


def search(path: Path, url: Callable[[str], str], progress: Progress) -> Found:
    """Find and hash the images in a folder or an archive, or a single image.

    Parameters
    ----------
    path
        What to search.
    url
        Gives the URL of a file by its path relative to `path` ("" for `path` itself).
    progress
        Called with the bytes dealt with, and all there are.

    Raises
    ------
    BlurlineError
        When anything there cannot be read: nothing is imported by half.
    """
    return _Search(path, url, progress).run()


class _Search:
    def __init__(self, path: Path, url: Callable[[str], str], progress: Progress) -> None:
        self._path, self._url, self._progress = path, url, progress
        self._found = Found(pl.DataFrame())
        self._done = self._total = 0

    def run(self) -> Found:
        files = self._files()
        self._total = sum(file.size for file in files)
        frames: list[pl.DataFrame] = []
        rows: list[Image] = []
        with ThreadPoolExecutor(THREADS) as pool:
            for result in _in_order(pool, self._tasks(files)):
                if isinstance(result, Skipped):
                    self._found.skipped[result.kind] += 1
                    continue
                rows.append(result)
                if len(rows) == 100_000:
                    frames.append(frame(rows))
                    rows = []
        self._found.images = pl.concat([*frames, frame(rows)])
        self._progress(self._total, self._total)
        return self._found

    def _files(self) -> list[_File]:
        if not self._path.is_dir():
            return [_File(self._path, "", self._path.stat().st_size)]
        files: list[_File] = []

        def stop(error: OSError) -> None:
            raise _unreadable(error.filename, error)

        for folder, folders, names in os.walk(self._path, onerror=stop):
            for name in [name for name in folders if is_hidden(name)]:
                folders.remove(name)
                self._found.skipped[HIDDEN] += 1
            folders.sort()
            # os.walk does not enter folders that are links: they may lead round in circles.
            self._found.skipped[LINKED_FOLDERS] += sum(Path(folder, name).is_symlink() for name in folders)
            for name in sorted(names):
                if is_hidden(name):
                    self._found.skipped[HIDDEN] += 1
                    continue
                file = Path(folder, name)
                try:
                    found = file.stat()
                except OSError as error:
                    raise _unreadable(file, error) from None
                if stat.S_ISREG(found.st_mode):
                    files.append(_File(file, file.relative_to(self._path).as_posix(), found.st_size))
                else:  # opening a pipe would wait for ever
                    self._found.skipped[SPECIAL_FILES] += 1
        return files

    def _tasks(self, files: Iterable[_File]) -> Iterator["_Task"]:
        for file in files:
            if is_archive(file.path.name) or (not file.relative and _looks_like_archive(file.path)):
                yield from self._archive(file)
            else:
                yield _Task(True, partial(_hash_file, file, self._url(file.relative)))
            self._done += file.size
            self._progress(self._done, self._total)

    def _archive(self, file: _File) -> Iterator["_Task"]:
        url, shown = self._url(file.relative), str(file.path)
        below = f"{stem(file.relative)}/" if file.relative else ""
        before = after = ""  # the samples of the last image and of the last sidecar
        read = 0
        try:
            view = Window.over(file.path)
            for leaf in walk(view):
                path, origin = below + _tree_path(leaf), _origin(shown, leaf)
                read += leaf.member.size
                self._progress(
                    self._done + min(file.size, read if leaf.in_any_order else view.file.reached), self._total
                )
                extension, sample = _extension(path), _sample(path)
                if extension in SIDECARS and not leaf.member.problem and not is_hidden(path):
                    self._found.samples |= sample == before
                    after = sample
                elif extension in IMAGE_EXTENSIONS:
                    self._found.samples |= sample == after
                    before = sample
                if extension == ".cls" and not leaf.member.problem and not is_hidden(path):
                    self._found.classes[sample] = _class(leaf, origin)
                    continue
                yield _Task(leaf.in_any_order, partial(_hash_leaf, leaf, path, url, origin))
        except Unreadable as error:
            inner = "".join(f": {_legible(name)!r}" for name in error.within)
            raise BlurlineError(
                f"{shown}{inner}: {error.reason}: get the archive again, or unpack what can be saved and import the "
                "folder; nothing was imported"
            ) from None


@dataclass(frozen=True)
class _Task:
    in_any_order: bool  # else it must be run before the next one is made
    run: Callable[[], Image | Skipped]


def _in_order(pool: ThreadPoolExecutor, tasks: Iterable[_Task]) -> Iterator[Image | Skipped]:
    """The results, in order; a few batches are under way at a time."""
    waiting: deque[Future[list[Image | Skipped]] | list[Image | Skipped]] = deque()
    batch: list[_Task] = []

    def results(down_to: int) -> Iterator[Image | Skipped]:
        while len(waiting) > down_to:
            done = waiting.popleft()
            yield from done if isinstance(done, list) else done.result()

    for task in tasks:
        if task.in_any_order:
            batch.append(task)
            if len(batch) < BATCH:
                continue
        if batch:
            waiting.append(pool.submit(_run, batch))
            batch = []
        if not task.in_any_order:
            waiting.append([task.run()])
        yield from results(2 * THREADS)
    waiting.append(_run(batch))
    yield from results(0)


def _run(tasks: list[_Task]) -> list[Image | Skipped]:
    return [task.run() for task in tasks]


def _hash_file(file: _File, url: str) -> Image | Skipped:
    path = file.relative or file.path.name
    try:
        with file.path.open("rb") as stream:
            if not (_extension(path) in IMAGE_EXTENSIONS or decode.is_image(stream.read(HEAD))):
                return Skipped(_kind(path))
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file.path, error) from None
    return _image(path, url, str(file.path), sha256)


def _hash_leaf(leaf: Leaf, path: str, url: str, origin: str) -> Image | Skipped:
    member = leaf.member
    if is_hidden(path):
        return Skipped(HIDDEN)
    if member.problem in (LINK, SPECIAL):
        return Skipped(LINKS if member.problem == LINK else SPECIAL_FILES)
    try:
        if member.problem:
            raise Unreadable(member.problem)
        digest, known = hashlib.sha256(), _extension(path) in IMAGE_EXTENSIONS
        for piece in pieces(leaf.content(), member.size):
            if not (known or decode.is_image(piece[:HEAD])):
                return Skipped(_kind(path))
            known = True
            digest.update(piece)
    except Unreadable as error:
        raise BlurlineError(
            f"{origin}: {error.reason}: unpack the archive and import the folder; nothing was imported"
        ) from None
    if not known:
        return Skipped(_kind(path))
    return _image(path, chain.write(leaf.links, url), origin, digest.hexdigest())


def _image(path: str, url: str, origin: str, sha256: str) -> Image:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BlurlineError(f"{origin}: its name is no UTF-8: rename it; nothing was imported") from None
    return Image(path, url, origin, sha256)


def frame(rows: list[Image]) -> pl.DataFrame:
    """Images as a table with the columns of Image."""
    return pl.DataFrame(rows, schema=dict.fromkeys(Image._fields, pl.String), orient="row")


def _class(leaf: Leaf, origin: str) -> str:
    """The class that WebDataset's .cls file names."""
    try:
        text = read_all(leaf.content(), leaf.member.size, MAX_CLASS).decode().strip()
    except (Unreadable, UnicodeDecodeError):
        text = "\n"
    if not text.isprintable():
        raise BlurlineError(f"{origin}: is no line of text that names a class: mend it; nothing was imported")
    return text


def _tree_path(leaf: Leaf) -> str:
    """A path for a member: archives inside the archive count as folders."""
    *archives, name = [_without_dot(link.name) for link in leaf.links]
    return "/".join([*(stem(archive) for archive in archives), name])


def _without_dot(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _origin(shown: str, leaf: Leaf) -> str:
    archives = "".join(f": {_legible(link.name)!r}" for link in leaf.links[:-1])
    return f"{shown}{archives}: member {leaf.member.number} {_legible(leaf.member.name)!r}"


def _legible(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")


def _extension(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _kind(path: str) -> str:
    return _extension(path) or NO_EXTENSION


def _sample(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _looks_like_archive(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise _unreadable(path, error) from None
    return head.startswith(b"PK\3\4") or head[257:262] == b"ustar"


def _unreadable(path: object, error: OSError) -> BlurlineError:
    why = os.strerror(error.errno) if error.errno else type(error).__name__
    return BlurlineError(f"{path}: cannot be read ({why}): mend it or move it away; nothing was imported")
