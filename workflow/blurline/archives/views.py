"""Bytes to read an archive from: a stretch of a file, in any order, or a stream, once and forwards."""

import io
import os
import stat
from pathlib import Path
from typing import Protocol

from blurline.archives.errors import DAMAGED, NOT_REGULAR, Unreadable

CHUNK = 1 << 18


def open_regular(path: Path) -> io.FileIO | None:
    """A regular file for reading, unbuffered; None for pipes and devices, which might keep whoever reads for ever.

    Raises
    ------
    OSError, ValueError
        As `open`.
    """
    # Without O_NONBLOCK, to open a pipe is to wait for somebody who writes.
    stream = io.FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    return None


class File:
    """A file on disk that threads read by position. `reached` is how far into it anybody has read, in bytes."""

    def __init__(self, path: Path) -> None:
        try:
            stream = open_regular(path)
        except FileNotFoundError:
            raise Unreadable("file not found") from None
        except (OSError, ValueError) as error:
            raise Unreadable(f"file not readable ({type(error).__name__})") from None
        if stream is None:
            raise Unreadable(NOT_REGULAR)
        self._stream = stream
        self.size = os.fstat(stream.fileno()).st_size
        self.reached = 0

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""
        data = b""
        try:
            while len(data) < size and (more := os.pread(self._stream.fileno(), size - len(data), offset + len(data))):
                data = data + more if data else more
        except OSError as error:
            raise Unreadable(f"file not readable ({type(error).__name__})") from None
        self.reached = max(self.reached, offset + len(data))
        return data

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.close()


class View(io.RawIOBase):
    """What tarfile, zipfile and the decompressors read from.

    A single read of more than `longest` bytes is refused: only a header that lies asks for it, and it would be given
    that memory. `last` holds what the last read gave.
    """

    longest = 1 << 20
    last = b""

    def readable(self) -> bool:
        return True

    def _allow(self, size: int) -> None:
        if size > self.longest:
            raise Unreadable(DAMAGED)


class Window(View):
    """A stretch of a file: `size` bytes from `start`. Not shared between threads, but as many as wanted per file."""

    def __init__(self, file: File, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size
        self._position = 0

    @classmethod
    def over(cls, path: Path) -> "Window":
        file = File(path)
        return cls(file, 0, file.size)

    def part(self, start: int, size: int) -> "Window":
        """A stretch of this stretch, cut off where this one ends."""
        return Window(self.file, self.start + start, max(0, min(size, self.size - start)))

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self.size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        self._allow(size)
        self.last = self.file.read(self.start + self._position, size) if size else b""
        self._position += len(self.last)
        return self.last

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True


class Readable(Protocol):
    """A decompressor, or a member of an archive."""

    def read(self, size: int, /) -> bytes: ...


class Forward(View):
    """A stream: seeking goes forwards only, by reading."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._position = 0
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the end, which the next read gives again."""
        while len(self._ahead) < size and (more := self._stream.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = -1, /) -> bytes:
        if size is None or size < 0:
            raise ValueError("a stream is read in pieces")
        self._allow(size)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data = data + more if data else more
        self._position += len(data)
        self.last = data
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise ValueError("a stream only goes forwards")
        while self._position < offset and self.read(min(CHUNK, offset - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def part(self, start: int, size: int) -> "Forward":
        """The next member: what lies between `start` and `start + size`, as long as nobody reads on."""
        self.seek(start)
        return Forward(_Bounded(self, size))


class _Bounded:
    def __init__(self, view: Forward, size: int) -> None:
        self._view, self._left = view, size

    def read(self, size: int, /) -> bytes:
        data = self._view.read(min(size, self._left, CHUNK))
        self._left -= len(data)
        return data
