"""TIFF (6.0): files of 16-bit samples, which Pillow cannot write in colour, with no tag but those that pixels need."""

import struct
import zlib

import numpy as np

_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7
_FORMS = {_SHORT: "H", _LONG: "I", _RATIONAL: "I"}
_ROWS = 1 << 18  # bytes of samples in a strip, about
DEFLATE = 8
NONE = 1


def write(
    samples: np.ndarray, compressed: bool, orientation: int, density: tuple[float, float] | None, profile: bytes | None
) -> bytes:
    """A little-endian TIFF of one page.

    Parameters
    ----------
    samples
        uint16, (H, W) or (H, W, C) with 1 (grey), 2 (and alpha), 3 (RGB) or 4 (RGBA) channels.
    compressed
        By deflate, with differences between neighbours; else not at all.
    orientation
        1 to 8.
    density
        Pixels per inch, across and down.
    profile
        ICC profile.
    """
    planes = samples[:, :, None] if samples.ndim == 2 else samples
    height, width, channels = planes.shape
    if compressed:
        planes = planes - np.pad(planes, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    step = max(1, _ROWS // (2 * width * channels))
    parts = [planes[row : row + step].astype("<u2").tobytes() for row in range(0, height, step)]
    strips = [zlib.compress(part) if compressed else part for part in parts]
    starts = [8 + sum(len(strip) for strip in strips[:at]) for at in range(len(strips))]
    tags: dict[int, tuple[int, list[int] | bytes]] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [16] * channels),
        259: (_SHORT, [DEFLATE if compressed else NONE]),
        262: (_SHORT, [2 if channels > 2 else 1]),
        273: (_LONG, starts),
        274: (_SHORT, [orientation]),
        277: (_SHORT, [channels]),
        278: (_LONG, [step]),
        279: (_LONG, [len(strip) for strip in strips]),
    }
    if density:
        tags |= {282: (_RATIONAL, _ratio(density[0])), 283: (_RATIONAL, _ratio(density[1])), 296: (_SHORT, [2])}
    if compressed:
        tags[317] = (_SHORT, [2])
    if channels in (2, 4):
        tags[338] = (_SHORT, [2])
    if profile:
        tags[34675] = (_UNDEFINED, profile)
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + _directory(tags, 8 + len(body))


def _ratio(number: float) -> list[int]:
    return [round(number * 1000), 1000]


def _directory(tags: dict[int, tuple[int, list[int] | bytes]], start: int) -> bytes:
    entries, values = b"", b""
    beyond = start + 2 + 12 * len(tags) + 4
    for tag, (kind, content) in sorted(tags.items()):
        value = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{_FORMS[kind]}", *content)
        count = len(content) // (2 if kind == _RATIONAL else 1)
        if len(value) > 4:
            place = struct.pack("<I", beyond + len(values))
            values += value + bytes(len(value) % 2)
        else:
            place = value.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values
