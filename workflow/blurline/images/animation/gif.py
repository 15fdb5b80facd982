"""GIF frame by frame (GIF89a): only what changes is drawn, with colours of its own, and nothing is ever taken back."""

import io
import struct

import numpy as np
from PIL import Image

from blurline.images.animation import palette
from blurline.images.animation.frame import Frame, bounds, changed
from blurline.images.containers import Metadata
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease

_KEEP = 1 << 2  # disposal: the frame stays, and the next is drawn on it


class Writer:
    """See `blurline.images.animation.frame.Writer`."""

    def __init__(self, data: bytes, first: Decoded, exact: bool, metadata: Metadata) -> None:
        self._parts = [b"GIF89a", struct.pack("<HHBBB", first.info.width, first.info.height, 0x70, 0, 0)]
        loop = first.image.info.get("loop")
        if loop is not None:
            self._parts.append(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0")
        self._shown: np.ndarray | None = None

    def add(self, frame: Frame) -> np.ndarray:
        drawn = changed(frame.pixels, self._shown)
        x1, y1, x2, y2 = bounds(drawn)
        area = np.s_[y1:y2, x1:x2]
        inside = drawn[area] if drawn.any() else np.ones((1, 1), np.bool_)
        indices, colours, clear = palette.indexed(frame.pixels[area], inside, frame.touched[area])
        shown = frame.pixels.copy() if self._shown is None else self._shown.copy()
        window, opaque = shown[area], indices != (-1 if clear is None else clear)
        window[opaque] = colours[indices[opaque]]
        delay = int(frame.source.image.info.get("duration") or 0) // 10
        bits = max(1, (len(colours) - 1 + (clear is not None)).bit_length())
        table = colours.tobytes().ljust(3 << bits, b"\0")
        self._parts += [
            b"!\xf9\x04" + struct.pack("<BHB", _KEEP | (clear is not None), delay, clear or 0) + b"\0",
            b"," + struct.pack("<HHHHB", x1, y1, x2 - x1, y2 - y1, 0x80 | (bits - 1)),
            table,
            _coded(indices),
        ]
        self._shown = shown
        return shown

    def close(self) -> bytes:
        return b"".join([*self._parts, b";"])


def _coded(indices: np.ndarray) -> bytes:
    """LZW code of the indices, uint8 (H, W), in sub-blocks: that of a GIF which Pillow writes."""
    height, width = indices.shape
    image = Image.frombytes("L", (width, height), np.ascontiguousarray(indices).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "GIF", optimize=False, interlace=0)
    written = buffer.getvalue()
    at = 13 + (3 << ((written[10] & 7) + 1))
    if not written[10] & 0x80 or written[at] != 0x2C or written[at + 9] & 0xC0 or written[-1:] != b";":
        raise CannotRelease("GIF could not be written")
    return written[at + 10 : -1]
