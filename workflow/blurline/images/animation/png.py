"""APNG frame by frame (W3C PNG, third edition, 4.9 and 11.3): each replaces the rectangle that has changed."""

import struct
import zlib

import numpy as np

from blurline.images import codecs
from blurline.images.animation.frame import Frame, bounds, changed
from blurline.images.containers import Metadata, png
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease

_KEEP, _CLEAR, _REPLACE = 0, 1, 0  # two ways to dispose of a frame, and one to blend it


class Writer:
    """See `blurline.images.animation.frame.Writer`."""

    def __init__(self, data: bytes, first: Decoded, exact: bool, metadata: Metadata) -> None:
        chunks = list(png.walk(data))
        names = [name for name, _ in chunks]
        controls = [content for name, content in chunks if name == b"fcTL"]
        # A picture for viewers that know no animation, which is not part of it; it counts as the first frame here.
        self._apart = b"fcTL" not in names[: names.index(b"IDAT")]
        count = first.info.frames - self._apart
        if any(len(control) != 26 for control in controls) or len(controls) < count:
            raise CannotRelease("damaged PNG container")
        self._delays = [control[20:24] for control in controls[:count]]
        _check(controls[:count], first)
        before = dict(reversed(chunks[: names.index(b"IDAT")]))
        (plays,) = struct.unpack_from(">I", before[b"acTL"], 4)
        safe = png.SAFE if metadata == "keep-safe" else {}
        self._head = [
            *(png.chunk(name, before[name]) for name in safe if len(before.get(name, b"")) == png.SAFE[name]),
            *([png.chunk(b"iCCP", b"icc\0\0" + zlib.compress(first.profile, 9))] if first.profile else []),
            png.chunk(b"acTL", struct.pack(">II", count, plays)),
        ]
        self._parts: list[bytes] = []
        self._sequence = self._index = 0
        self._shown: np.ndarray | None = None

    def add(self, frame: Frame) -> np.ndarray:
        # The picture apart is not what the animation begins on.
        first = self._index <= int(self._apart)
        x1, y1, x2, y2 = bounds(changed(frame.pixels, None if first else self._shown))
        area = frame.pixels[y1:y2, x1:x2]
        written = codecs.saved(area[:, :, 0] if frame.grey else area, "PNG")
        chunks = list(png.walk(written))
        pixels = b"".join(content for name, content in chunks if name == b"IDAT")
        if not self._index:
            self._head.insert(0, png.chunk(*chunks[0]))
        if self._index >= self._apart:
            delay = self._delays[self._index - self._apart]
            control = struct.pack(">IIII", x2 - x1, y2 - y1, x1, y1) + delay + bytes((_KEEP, _REPLACE))
            self._parts.append(self._numbered(b"fcTL", control))
        self._parts.append(self._numbered(b"fdAT", pixels) if self._index else png.chunk(b"IDAT", pixels))
        self._index += 1
        self._shown = frame.pixels
        return frame.pixels

    def close(self) -> bytes:
        return b"".join([png.SIGNATURE, *self._head, *self._parts, png.chunk(b"IEND", b"")])

    def _numbered(self, name: bytes, content: bytes) -> bytes:
        self._sequence += 1
        return png.chunk(name, struct.pack(">I", self._sequence - 1) + content)


def _check(controls: list[bytes], first: Decoded) -> None:
    """Whether Pillow's frames are those that a viewer shows: it knows no clear canvas where there is no alpha."""
    whole = (first.image.width, first.image.height, 0, 0)
    for at, control in enumerate(controls):
        covers = struct.unpack_from(">IIII", control, 4) == whole
        followed = controls[at + 1] if at + 1 < len(controls) else None
        cleared = control[24] == _CLEAR and followed is not None
        if (at == 0 and not covers) or (cleared and struct.unpack_from(">IIII", followed or b"", 4) != whole):
            raise CannotRelease("transparency is not supported yet")
