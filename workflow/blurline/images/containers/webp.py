"""WebP: a walk over the RIFF chunks (RFC 9649, 2)."""

import struct
from collections.abc import Iterator

from blurline.images import orientation as exif
from blurline.images.containers import icc
from blurline.images.errors import CannotRelease

_ANIMATED, _ICC, _ALPHA, _EXIF = 0x02, 0x20, 0x10, 0x08  # bits of VP8X (2.7.1); XMP has 0x04


def strip(data: bytes, orientation: int, keep_safe: bool) -> bytes:
    """The WebP with its picture, alpha plane and orientation; if safe ones are kept, its ICC profile."""
    chunks: dict[bytes, bytes] = {}
    for name, content in walk(data):
        if name in (b"ANIM", b"ANMF"):
            raise CannotRelease("several frames are not supported yet")
        if name not in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP"):
            continue
        if name in chunks:
            raise _damaged()
        chunks[name] = content
    if (b"VP8 " in chunks) == (b"VP8L" in chunks):
        raise _damaged()
    picture = b"VP8 " if b"VP8 " in chunks else b"VP8L"
    if picture == b"VP8L":
        chunks.pop(b"ALPH", None)  # a lossless picture carries its own alpha; decoders skip the chunk
    extended = chunks.get(b"VP8X")
    profile = icc.clean(chunks.get(b"ICCP")) if extended and keep_safe else None
    if extended is None and (orientation != exif.UPRIGHT or b"ALPH" in chunks):
        raise _damaged()  # both exist in the extended format only
    kept: list[tuple[bytes, bytes]] = []
    if extended is not None:
        if len(extended) != 10 or extended[0] & _ANIMATED:
            raise _damaged()
        flags = extended[0] & _ALPHA | (_ICC if profile else 0) | (_EXIF if orientation != exif.UPRIGHT else 0)
        kept.append((b"VP8X", bytes((flags, 0, 0, 0)) + extended[4:]))
    if profile:
        kept.append((b"ICCP", profile))
    if b"ALPH" in chunks:
        kept.append((b"ALPH", chunks[b"ALPH"]))
    kept.append((picture, chunks[picture]))
    if orientation != exif.UPRIGHT:
        kept.append((b"EXIF", exif.minimal(orientation)))
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in kept
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def is_lossless(data: bytes) -> bool:
    """Whether the picture is coded as VP8L."""
    return any(name == b"VP8L" for name, _ in walk(data))


def _damaged() -> CannotRelease:
    return CannotRelease("damaged WEBP container")


def walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every chunk inside the RIFF; what follows it is not looked at."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise _damaged()
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise _damaged()
    at = 12
    while at < end:
        if at + 8 > end:
            raise _damaged()
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length > end:
            raise _damaged()
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
