"""Animated WebP frame by frame (RFC 9649, 2.7): lossless frames replace what has changed, lossy ones all."""

import struct
from dataclasses import dataclass

import numpy as np

from blurline.images import codecs
from blurline.images import orientation as exif
from blurline.images.animation.frame import Frame, bounds, changed
from blurline.images.containers import Metadata, webp
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease

_ANIMATED, _ICC = 0x02, 0x20  # bits of VP8X
_REPLACE = 0x02  # bit of ANMF: what is beneath counts for nothing
_ALPHA_USED = 0x10  # bit of the fifth byte of VP8L


@dataclass(frozen=True)
class Part:
    """One ANMF chunk: its 16 bytes of place, duration and flags, and what codes its picture."""

    head: bytes
    chunks: tuple[tuple[bytes, bytes], ...]

    @property
    def lossless(self) -> bool:
        return self.chunks[-1][0] == b"VP8L"

    @property
    def opaque(self) -> bool:
        """Whether no pixel can be hidden under alpha."""
        name, content = self.chunks[-1]
        return len(self.chunks) == 1 and (name == b"VP8 " or not content[4] & _ALPHA_USED)

    def covers(self, width: int, height: int) -> bool:
        """Whether the frame is as large as the canvas."""
        return self.head[:12] == bytes(6) + _three(width - 1) + _three(height - 1)


def parts(data: bytes) -> list[Part]:
    """The frames of an animated WebP.

    Raises
    ------
    CannotRelease
        When the file is not well-formed.
    """
    found = []
    for name, content in webp.walk(data):
        if name != b"ANMF":
            continue
        inner = webp.walk(_riff(content[16:]))
        chunks = tuple((kind, payload) for kind, payload in inner if kind in (b"ALPH", b"VP8 ", b"VP8L"))
        names = [kind for kind, _ in chunks]
        if names not in ([b"VP8 "], [b"VP8L"], [b"ALPH", b"VP8 "]) or len(chunks[-1][1]) < 5:
            raise CannotRelease("damaged WEBP container")
        found.append(Part(content[:16], chunks))
    return found


def strip(data: bytes, first: Decoded) -> bytes | None:
    """The same coded frames without anything else; None where pixels may hide under alpha."""
    every = parts(data)
    if not all(part.opaque for part in every) or first.info.orientation != exif.UPRIGHT:
        return None
    writer = Writer(data, first, True, "keep-safe")
    return writer.file([_anmf(part.head[:15] + bytes((part.head[15] & 3,)), part.chunks) for part in every])


class Writer:
    """See `blurline.images.animation.frame.Writer`. A lossy frame that nothing touched keeps its code if it can."""

    def __init__(self, data: bytes, first: Decoded, exact: bool, metadata: Metadata) -> None:
        self._sources = parts(data)
        if len(self._sources) != first.info.frames:
            raise CannotRelease("damaged WEBP container")
        self._lossless = exact or all(part.lossless for part in self._sources)
        self._animation = next(content for name, content in webp.walk(data) if name == b"ANIM")
        self._size = first.info.width, first.info.height
        self._upright = first.info.orientation == exif.UPRIGHT
        self._profile = first.profile
        self._written: list[bytes] = []
        self._shown: np.ndarray | None = None

    def add(self, frame: Frame) -> np.ndarray | None:
        source = self._sources[len(self._written)]
        if self._keeps(source, frame):
            self._written.append(_anmf(source.head[:15] + bytes((_REPLACE,)), source.chunks))
            return frame.pixels
        whole = (0, 0, *self._size)
        x1, y1, x2, y2 = bounds(changed(frame.pixels, self._shown), 2) if self._lossless else whole
        head = b"".join(_three(n) for n in (x1 // 2, y1 // 2, x2 - x1 - 1, y2 - y1 - 1))
        written = codecs.saved(
            frame.pixels[y1:y2, x1:x2],
            "WEBP",
            lossless=self._lossless,
            exact=self._lossless,
            quality=codecs.WEBP_QUALITY,
        )
        chunks = [(name, content) for name, content in webp.walk(written) if name in (b"VP8 ", b"VP8L")]
        self._written.append(_anmf(head + source.head[12:15] + bytes((_REPLACE,)), tuple(chunks)))
        self._shown = frame.pixels
        return frame.pixels if self._lossless else None

    def close(self) -> bytes:
        return self.file(self._written)

    def file(self, frames: list[bytes]) -> bytes:
        """A file of these ANMF chunks."""
        flags = _ANIMATED | (_ICC if self._profile else 0)
        canvas = b"".join(_three(side - 1) for side in self._size)
        if len(self._animation) != 6:
            raise CannotRelease("damaged WEBP container")
        head = [_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + canvas)]
        if self._profile:
            head.append(_chunk(b"ICCP", self._profile))
        head.append(_chunk(b"ANIM", bytes(4) + self._animation[4:]))
        return _riff(b"".join([*head, *frames]))

    def _keeps(self, source: Part, frame: Frame) -> bool:
        whole = source.opaque and source.covers(*self._size)
        return not self._lossless and self._upright and whole and not frame.touched.any()


def _anmf(head: bytes, chunks: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return _chunk(b"ANMF", head + b"".join(_chunk(name, content) for name, content in chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _riff(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")
