"""Random access to members by URL: an archive is indexed once per process, and threads share the index."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from blurline.archives import chain
from blurline.archives.chain import Link
from blurline.archives.errors import AMBIGUOUS, BAD_URL, MISSING, TOO_MANY_BYTES, Unreadable
from blurline.archives.formats import Archive, Leaf, Member, open_archive, read_all, walk
from blurline.archives.views import Forward, Window

OPEN = 32  # archives kept open, and archives kept open inside of each
KEPT = 32_000_000  # bytes of members that a stream has passed, kept for threads that ask a little late

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def read(url: str, locate: Callable[[str], Path], max_bytes: int) -> bytes:
    """The bytes of the member that a chain means (see `chain`); `locate` gives the path behind its location.

    Raises
    ------
    Unreadable
        When they cannot be had, or are more than `max_bytes`.
    """
    links, location = chain.read(url)
    path = locate(location)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise Unreadable("file not found") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"file not readable ({type(error).__name__})") from None
    as_it_is_now = (str(path), found.st_ino, found.st_size, found.st_mtime_ns)
    return _open.get(as_it_is_now, lambda: _index(lambda: Window.over(path))).read(links, max_bytes)


class _Cache(Generic[T]):
    """The values used last, each made once even if several threads ask at the same time; failures are kept as well."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, _Once[T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            once = self._made.setdefault(key, _Once(make))
            self._made.move_to_end(key)
            while len(self._made) > self._size:
                self._made.popitem(last=False)
        return once.value()


class _Once(Generic[T]):
    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._value: T | None = None
        self._failure: str | None = None

    def value(self) -> T:
        with self._lock:
            if self._failure is not None:
                raise Unreadable(self._failure)
            if self._value is None:
                try:
                    self._value = self._make()
                except Unreadable as error:
                    self._failure = error.reason
                    raise
            return self._value


def _index(start: Callable[[], Window | Forward]) -> "_Indexed | _Streamed":
    archive = open_archive(start())
    return _Indexed(archive) if archive.in_any_order else _Streamed(start)


class _Indexed:
    """An archive whose members are read where they lie."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._index: dict[str, Member | None] = {}
        for member in archive.members():
            self._index[member.name] = None if member.name in self._index else member
        self._inside: _Cache[_Indexed | _Streamed] = _Cache(OPEN)

    def read(self, links: tuple[Link, ...], max_bytes: int) -> bytes:
        link, *rest = links
        if link.scheme != self._archive.scheme:
            raise Unreadable(BAD_URL)
        member = _entry(self._index, link.name)
        if member.problem:
            raise Unreadable(member.problem)
        if rest:
            inside = self._inside.get(link.name, lambda: _index(lambda: self._archive.inner(member)))
            return inside.read(tuple(rest), max_bytes)
        if member.size > max_bytes:
            raise Unreadable(TOO_MANY_BYTES)
        return read_all(self._archive.content(member), member.size, max_bytes)


class _Place(NamedTuple):
    number: int
    problem: str


class _Streamed:
    """An archive that can only be read from its beginning, and those inside it.

    What is asked for in order is found in one pass; only who asks for an earlier member has it start again.
    """

    def __init__(self, start: Callable[[], Window | Forward]) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._index: dict[tuple[Link, ...], _Place | None] = {}
        for place, leaf in enumerate(walk(start())):
            known = leaf.links in self._index
            self._index[leaf.links] = None if known else _Place(place, leaf.member.problem)
        self._leaves: Iterator[Leaf] = iter(())
        self._next = sys.maxsize  # the place of the next leaf: none is left, so the first reader starts a pass
        self._passed: OrderedDict[int, bytes] = OrderedDict()
        self._held = 0

    def read(self, links: tuple[Link, ...], max_bytes: int) -> bytes:
        for length in range(1, len(links)):  # an archive on the way that cannot be entered is a leaf
            if barrier := self._index.get(links[:length]):
                raise Unreadable(barrier.problem or MISSING)
        entry = _entry(self._index, links)
        if entry.problem:
            raise Unreadable(entry.problem)
        place = entry.number
        with self._lock:
            if place in self._passed:
                data = self._passed[place]
                if len(data) > max_bytes:
                    raise Unreadable(TOO_MANY_BYTES)
                return data
            if place < self._next:
                self._leaves, self._next = walk(self._start()), 0
            leaf = self._pass_on_to(place)
            if leaf.member.size > max_bytes:
                raise Unreadable(TOO_MANY_BYTES)
            return read_all(leaf.content(), leaf.member.size, max_bytes)

    def _pass_on_to(self, place: int) -> Leaf:
        reached, self._next = self._next, sys.maxsize  # whatever goes wrong, the next reader starts a new pass
        for number, leaf in enumerate(self._leaves, reached):
            if number == place:
                self._next = place + 1
                return leaf
            if not leaf.member.problem and leaf.member.size <= KEPT // 4:
                self._keep(number, read_all(leaf.content(), leaf.member.size, KEPT))
        raise Unreadable(MISSING)

    def _keep(self, place: int, data: bytes) -> None:
        self._held += len(data) - len(self._passed.pop(place, b""))
        self._passed[place] = data
        while self._held > KEPT:
            _, gone = self._passed.popitem(last=False)
            self._held -= len(gone)


def _entry(index: Mapping[K, T | None], key: K) -> T:
    if key not in index:
        raise Unreadable(MISSING)
    entry = index[key]
    if entry is None:
        raise Unreadable(AMBIGUOUS)
    return entry


_open: _Cache[_Indexed | _Streamed] = _Cache(OPEN)
