"""The formats: the members of a tar (compressed or not) or zip file, in order, and of the archives inside it."""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, cast

from blurline.archives.chain import DEPTH, Link
from blurline.archives.errors import (
    COMPRESSION,
    DAMAGED,
    ENCRYPTED,
    LINK,
    NOT_SEEKABLE,
    SPECIAL,
    TOO_DEEP,
    TOO_MANY_BYTES,
    TOO_MANY_MEMBERS,
    TRAILING,
    Unreadable,
)
from blurline.archives.views import CHUNK, Forward, Readable, View, Window

EXTENSIONS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".zip")
MAX_MEMBERS = 20_000_000
_LONGEST_DIRECTORY = 1 << 31  # bytes of a zip file's directory
_SNIFF = 512
_ZERO_BLOCK = bytes(tarfile.BLOCKSIZE)
_COMPRESSED: tuple[tuple[bytes, Callable[[View], Readable]], ...] = (
    (b"\x1f\x8b", lambda view: gzip.GzipFile(fileobj=view, mode="rb")),
    (b"BZh", lambda view: bz2.BZ2File(view)),
    (b"\xfd7zXZ\0", lambda view: lzma.LZMAFile(cast(IO[bytes], view))),  # noqa: SIM115
)
_ZIP = (b"PK\3\4", b"PK\5\6")
_ENTRY = b"PK\1\2"  # begins each entry of a zip file's directory
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive and its place there (`number`, from 1); `problem` says why it has no bytes for us, or ""."""

    number: int
    name: str
    size: int
    problem: str
    at: int | zipfile.ZipInfo


class Tar:
    """A tar file. Over a Window its members may be read in any order, over a stream only while they are listed."""

    scheme = "tar"

    def __init__(self, view: Window | Forward) -> None:
        self._view = view
        self.in_any_order = isinstance(view, Window)

    def members(self) -> Iterator[Member]:
        """Every member that is no folder, in order.

        Raises
        ------
        Unreadable
            When the archive does not end as it should: tarfile takes a damaged header for the end of the archive, and
            would leave out what follows.
        """
        view, number = self._view, 0
        with _as_unreadable():
            tar = tarfile.open(fileobj=view, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else tarfile remembers all it has seen
                number += 1
                if number > MAX_MEMBERS:
                    raise Unreadable(TOO_MANY_MEMBERS)
                if not info.isdir():
                    yield Member(number, info.name, info.size, _tar_problem(info), info.offset_data)
            if view.last != _ZERO_BLOCK:
                raise Unreadable(DAMAGED)
            while rest := view.read(CHUNK):  # to the end: only there do the decompressors check their sums
                if rest.strip(b"\0"):
                    raise Unreadable(TRAILING)

    def content(self, member: Member) -> View:
        """The bytes of a member."""
        assert isinstance(member.at, int)
        return self._view.part(member.at, member.size)

    def inner(self, member: Member) -> Window | Forward:
        """A member that is an archive itself."""
        assert isinstance(member.at, int)
        return self._view.part(member.at, member.size)


class _Directory(Window):
    """What zipfile reads a zip file's directory from: refused if it has too many entries.

    zipfile reads all of it at once, and then makes half a kilobyte of each entry, however many the record at the end
    claims that there are. So they are counted, by their signatures, and the claim is not relied on.
    """

    def read(self, size: int = -1, /) -> bytes:
        data = super().read(size)
        if data.count(_ENTRY) > MAX_MEMBERS:
            raise Unreadable(TOO_MANY_MEMBERS)
        return data


class Zip:
    """A zip file. Its members may be read in any order."""

    scheme = "zip"
    in_any_order = True

    def __init__(self, view: Window) -> None:
        self._view = view
        directory = _Directory(view.file, view.start, view.size)
        directory.longest = _LONGEST_DIRECTORY
        with _as_unreadable():
            self._zip = zipfile.ZipFile(directory)

    def members(self) -> Iterator[Member]:
        """Every member that is no folder, in the order of the archive's directory."""
        for number, info in enumerate(self._zip.filelist, 1):
            if not info.is_dir():
                yield Member(number, info.filename, info.file_size, _zip_problem(info), info)

    def content(self, member: Member) -> View:
        """The bytes of a member, CRC checked at their end."""
        assert isinstance(member.at, zipfile.ZipInfo)
        with _as_unreadable():
            return Forward(self._zip.open(member.at))

    def inner(self, member: Member) -> Window | Forward:
        """A member that is an archive itself: with random access if it is stored as it is."""
        assert isinstance(member.at, zipfile.ZipInfo)
        if member.at.compress_type != zipfile.ZIP_STORED:
            stream = self.content(member)
            assert isinstance(stream, Forward)
            return stream
        header = self._view.part(member.at.header_offset, 30).read(30)
        if len(header) < 30:
            raise Unreadable(DAMAGED)
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return self._view.part(member.at.header_offset + 30 + lengths, member.size)


Archive = Tar | Zip


@dataclass(frozen=True)
class Leaf:
    """A file in an archive, or in one inside it; `links` lead to it, from the outermost archive inwards.

    `content` gives its bytes: at any time and in any thread if `in_any_order`, else only until the next leaf.
    """

    links: tuple[Link, ...]
    member: Member
    in_any_order: bool
    content: Callable[[], View]


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive, and not a hidden one."""
    return name.lower().endswith(EXTENSIONS) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a path leads through what is hidden, or left behind by macOS."""
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in name.split("/"))


def stem(name: str) -> str:
    """An archive's name without the extension that makes it one."""
    longest = max((ending for ending in EXTENSIONS if name.lower().endswith(ending)), key=len, default="")
    return name[: len(name) - len(longest)]


def open_archive(view: Window | Forward) -> Archive:
    """The archive in these bytes, told by what they are, not by a name.

    Raises
    ------
    Unreadable
        When it is none, or one that cannot be read here.
    """
    with _as_unreadable():
        head = view.peek(_SNIFF) if isinstance(view, Forward) else view.part(0, _SNIFF).read(_SNIFF)
        if head.startswith(_ZIP):
            if isinstance(view, Forward):
                raise Unreadable(NOT_SEEKABLE)
            return Zip(view)
        if head.startswith(_ZSTD):
            raise Unreadable(COMPRESSION)
        for signature, decompress in _COMPRESSED:
            if head.startswith(signature):
                return Tar(Forward(decompress(view)))
        return Tar(view)


def walk(view: Window | Forward, outer: tuple[Link, ...] = ()) -> Iterator[Leaf]:
    """Every file in an archive and in the archives inside it (told by their names), in order.

    An archive inside that cannot be entered is a leaf with that problem.

    Raises
    ------
    Unreadable
        When the archive, or one inside it, is damaged.
    """
    archive = open_archive(view)
    for member in archive.members():
        links = (*outer, Link(archive.scheme, member.name))
        if is_archive(member.name) and not member.problem:
            inner = archive.inner(member)
            barrier = TOO_DEEP if len(links) >= DEPTH else _barrier(inner)
            if not barrier:
                try:
                    yield from walk(inner, links)
                except Unreadable as error:
                    error.within = (member.name, *error.within)
                    raise
                continue
            member = replace(member, problem=barrier)
        yield Leaf(links, member, archive.in_any_order, _content(archive, member))


def _barrier(view: Window | Forward) -> str:
    """Why an archive cannot be entered where it is, or ""."""
    with _as_unreadable():
        return NOT_SEEKABLE if isinstance(view, Forward) and view.peek(_SNIFF).startswith(_ZIP) else ""


def read_all(content: View, size: int, max_bytes: int) -> bytes:
    """The bytes of a member, of which its header says that there are `size`.

    Raises
    ------
    Unreadable
        When there are more than `max_bytes`, or not as many as the header says.
    """
    data = bytearray()
    with _as_unreadable():
        while chunk := content.read(CHUNK):
            data += chunk
            if len(data) > max_bytes:
                raise Unreadable(TOO_MANY_BYTES)
    if len(data) != size:
        raise Unreadable(DAMAGED)
    return bytes(data)


def pieces(content: View, size: int) -> Iterator[bytes]:
    """The same piece by piece, however many there are (see `read_all`)."""
    left = size
    with _as_unreadable():
        while chunk := content.read(CHUNK):
            left -= len(chunk)
            yield chunk
    if left:
        raise Unreadable(DAMAGED)


def _content(archive: Archive, member: Member) -> Callable[[], View]:
    return lambda: archive.content(member)


def _tar_problem(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return LINK
    return "" if info.isreg() and not info.issparse() else SPECIAL


def _zip_problem(info: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(info.external_attr >> 16):
        return LINK
    if info.flag_bits & 0x1:
        return ENCRYPTED
    # zipfile decompresses the other methods without a limit: 4 kB of bzip2 may be gigabytes.
    return "" if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else COMPRESSION


@contextmanager
def _as_unreadable() -> Iterator[None]:
    """Turn whatever damaged or hostile bytes provoke in the standard library into one exception."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(DAMAGED) from error
