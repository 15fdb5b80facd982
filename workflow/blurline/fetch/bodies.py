"""Bytes as they arrive, held in memory while there is room and in files after that."""

import threading
from itertools import count
from pathlib import Path
from typing import BinaryIO

from blurline.errors import BlurlineError
from blurline.fetch.failures import TOO_LARGE, FetchFailed

MEMORY = 64 * 2**20
"""Bytes that all bodies of a shelf hold in memory together."""
LARGE = 2**20
"""A body over this many bytes goes to a file, however much room there is."""


class Shelf:
    """Where bodies are kept until they are taken; its memory does not grow with their number or size."""

    def __init__(self, folder: Path, max_bytes: int, memory: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._free = memory
        self._lock = threading.Lock()
        self._numbers = count()

    def body(self) -> "Body":
        """A new, empty body."""
        return Body(self, self.folder / str(next(self._numbers)))

    def reserve(self, size: int) -> bool:
        """Claim memory (give it back with a negative size); False if there is none left."""
        with self._lock:
            if size > self._free:
                return False
            self._free -= size
            return True


class Body:
    """The bytes of one URL. Written by one thread at a time; taken once."""

    def __init__(self, shelf: Shelf, path: Path) -> None:
        self.size = 0
        self._shelf = shelf
        self._path = path
        self._chunks: list[bytes] = []
        self._file: BinaryIO | None = None
        self._on_disk = False

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises
        ------
        FetchFailed
            When they are more than max_bytes in all.
        BlurlineError
            When the disk takes no more.
        """
        self.size += len(chunk)
        if self.size > self._shelf.max_bytes:
            raise FetchFailed(TOO_LARGE)
        if not self._on_disk and self.size <= LARGE and self._shelf.reserve(len(chunk)):
            self._chunks.append(chunk)
            return
        try:
            self._spill(chunk)
        except OSError as error:
            raise BlurlineError(
                f"data/.tmp: cannot hold what arrives ({error.strerror}): make room on the disk, and run again"
            ) from None

    def seal(self) -> None:
        """No more bytes come: close the file, since many sealed bodies may wait."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def take(self) -> bytes:
        """All bytes; the body is empty afterwards."""
        self.seal()
        data = self._path.read_bytes() if self._on_disk else b"".join(self._chunks)
        self.clear()
        return data

    def clear(self) -> None:
        """Forget all bytes."""
        self.seal()
        self._forget_chunks()
        if self._on_disk:
            self._path.unlink(missing_ok=True)
        self.size, self._on_disk = 0, False

    def _spill(self, chunk: bytes) -> None:
        if self._file is None:
            self._file = open(self._path, "ab")  # noqa: SIM115, PTH123 (closed by seal)
            self._on_disk = True
            self._file.write(b"".join(self._chunks))
            self._forget_chunks()
        self._file.write(chunk)

    def _forget_chunks(self) -> None:
        self._shelf.reserve(-sum(len(chunk) for chunk in self._chunks))
        self._chunks = []
